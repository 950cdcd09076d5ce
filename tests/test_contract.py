"""Plugins that were written for an older contract go on to work, or are told what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sites

from ganctl import api, registry
from ganctl.errors import PluginError

FROZEN = Path(__file__).with_name("golden") / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sites.make(tmp_path_factory.mktemp("contract"), [FROZEN])


def test_plugins_written_for_the_first_contract_conform(site: Path) -> None:
    result = sites.run(site, "plugins", "--check", "first")
    assert result.returncode == 0, result.stdout
    assert len(result.stdout.splitlines()) == 4


def test_plugins_written_for_the_first_contract_train_and_resume(site: Path) -> None:
    names = ["--data", "first", "--arch", "first", "--loss", "first", "--set", "metric.name=first"]
    few = ["--size", "16", "--batch-size", "8", "--eval-every", "1", "--set", "metric.images=64"]
    result = sites.run(site, "train", *names, *few, "--epochs", "1", "--quiet")
    assert result.returncode == 0, result.stderr
    result = sites.run(site, "resume", "run", "--epochs", "2")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row.get("name") == "first"] == [1, 2]
    terms = {"loss_d_r1", "loss_d_r2", "loss_d_flip", "loss_d_class", "loss_g_latents"}
    assert terms <= next(row for row in rows if row["kind"] == "epoch").keys()


def plugin(number: int) -> type[api.Plugin]:
    class Thing(api.Loss):
        """A loss."""

        api_version = number

    return Thing


@pytest.mark.parametrize("number", [2, 3])
def test_the_contract_before_is_spoken_beside_the_last(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "OLDEST_API_VERSION", 2)
    monkeypatch.setattr(api, "API_VERSION", 3)
    monkeypatch.setattr(registry.EntryPoint, "load", lambda self: plugin(number))
    assert registry.load("loss", "bce").api_version == number


@pytest.mark.parametrize(("number", "remedy"), [(1, "upgrade the package"), (4, "upgrade ganctl")])
def test_others_are_refused_in_one_line_with_the_remedy(
    number: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "OLDEST_API_VERSION", 2)
    monkeypatch.setattr(api, "API_VERSION", 3)
    monkeypatch.setattr(registry.EntryPoint, "load", lambda self: plugin(number))
    with pytest.raises(PluginError, match=rf"^loss 'bce' of ganctl .*api_version {number} .*speaks 2 and 3; {remedy}"):
        registry.load("loss", "bce")
