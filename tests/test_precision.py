"""Which precision is chosen, by what, and who is told."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result

from ganctl import precision as precisions
from ganctl.precision import WORTH, precision

Cli = Callable[..., Result]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "cache"))


def probes(monkeypatch: pytest.MonkeyPatch, gain: float) -> list[float]:
    """Make the probe find *gain*; return the list that each probe is added to."""
    made: list[float] = []

    def probe(device: torch.device) -> float:
        made.append(gain)
        return gain

    monkeypatch.setattr(precisions, "_gain", probe)
    return made


@pytest.mark.parametrize(("gain", "name"), [(WORTH + 0.5, "bf16"), (WORTH - 0.1, "fp32"), (0.2, "fp32")])
def test_auto_is_bf16_where_the_probe_finds_it_worth_while(
    gain: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes(monkeypatch, gain)
    chosen = precision("auto", CPU)
    assert chosen.name == name
    assert f"{gain:.1f} times as fast" in chosen.why


def test_the_probe_is_made_once_and_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = probes(monkeypatch, 3.0)
    for name in ("fp32", "bf16", "fp16"):
        assert precision(name, CPU) == (name, "")  # type: ignore[arg-type]
    assert not made
    assert [precision("auto", CPU).name for _ in range(3)] == ["bf16"] * 3
    assert len(made) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)  # another number of threads is another machine
    precision("auto", CPU)
    assert len(made) == 2


def test_the_probe_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    assert precisions._gain(CPU) > 0
    assert torch.equal(before, torch.get_rng_state())


def test_training_says_what_was_chosen_and_records_it(
    cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes(monkeypatch, 2.0)
    small = ("--size", 16, "--batch-size", 8, "--set", "arch.width=4", "--set", "train.steps=1")
    result = cli("train", "--data", pictures, *small)
    assert result.code == 0, result.err
    assert "precision bf16: bf16 is 2.0 times as fast as fp32 here" in result.out
    assert tomllib.loads(Path("run/config.toml").read_text())["train"]["precision"] == "bf16"
    # What is recorded holds, whatever another machine would choose.
    probes(monkeypatch, 0.5)
    assert "precision" not in cli("resume", "run", "--epochs", 2).out
    assert tomllib.loads(Path("run/config.toml").read_text())["train"]["precision"] == "bf16"
