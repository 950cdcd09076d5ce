"""ganctl bench: what it measures, against what can be counted by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Result
from PIL import Image

from ganctl import bench
from ganctl.api import Dataset, Record
from ganctl.data.decode import Target

Cli = Callable[..., Result]
STAGES = ["pack", "batch", "step", "sample", "evaluate", "checkpoint", "video"]
SIZE, WIDTH, LATENTS, BATCH = 16, 4, 10, 8


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    monkeypatch.setattr(bench, "SHEETS", 4)
    monkeypatch.setattr(bench, "_BIG", 1 << 20)


def measured(cli: Cli, data: Path, *more: object) -> Result:
    settings = [f"arch.width={WIDTH}", f"arch.latent_dim={LATENTS}"]
    sets = [part for setting in settings for part in ("--set", setting)]
    return cli("bench", "--data", data, "--size", SIZE, "--batch-size", BATCH, "--precision", "fp32", *sets, *more)


def test_every_stage_has_a_rate_and_a_limit(cli: Cli, pictures: Path) -> None:
    result = measured(cli, pictures, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert [stage["name"] for stage in found["stages"]] == STAGES
    for stage in found["stages"]:
        assert stage["rate"] > 0 and stage["limit"] > 0
        assert stage["share"] == pytest.approx(stage["rate"] / stage["limit"])
    assert found["ceilings"]["convolution"].keys() == {"fp32"}
    assert 0 < found["waiting"] < 1


def test_the_arithmetic_of_a_step_is_that_of_its_passes(cli: Cli, pictures: Path) -> None:
    # Multiplications and additions of each layer for one image; kernels are 4 by 4.
    first, second, head = 2 * 16 * 3 * WIDTH * 64, 2 * 16 * WIDTH * 2 * WIDTH * 16, 2 * 16 * 2 * WIDTH
    stem, up, last = 2 * LATENTS * 2 * WIDTH * 16, 2 * 16 * 2 * WIDTH * WIDTH * 16, 2 * 16 * WIDTH * 3 * 64
    # Real and fake: forward, weights, and all inputs but the images. Then forward, and all inputs, for the generator.
    discriminator = 2 * (3 * (first + second + head) - first) + 2 * (first + second + head)
    generator = 3 * (stem + up + last) - stem
    found = json.loads(measured(cli, pictures, "--json").out)
    assert found["gflop"] * 1e9 == BATCH * (discriminator + generator)


def test_the_table_says_which_machine_networks_and_limits(cli: Cli, pictures: Path) -> None:
    result = measured(cli, pictures, "--arch", "resnet", "--loss", "hinge")
    assert result.code == 0, result.err
    for words in ("resnet with hinge, 16 px, batch 8, fp32", "GFLOP/s", "GB/s", "of its limit", *STAGES):
        assert words in result.out
    assert not Path("run").exists()


class Endless(Dataset):
    """Grey squares that come in order and never end."""

    api_version = 1

    def records(self) -> Iterator[Record]:
        for number in itertools.count():
            yield Record(str(number), image=Image.new("L", (8, 8), number % 256))


def test_a_stream_is_measured_without_reading_it_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "RECORDS", 300)
    stage = bench._pack(Endless(), Target(8, 1))
    assert 0 < stage.rate < float("inf") and 0 < stage.limit < float("inf")


def test_wrong_settings_are_refused_as_in_training(cli: Cli, pictures: Path) -> None:
    result = measured(cli, pictures, "--loss", "bcee")
    assert result.code == 1 and "bce" in result.err
