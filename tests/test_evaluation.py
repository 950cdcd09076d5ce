"""Evaluation of runs, files and folders by the real commands, in training and after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from safetensors.torch import load_file

from ganctl.run import Run

Cli = Callable[..., Result]
SMALL = ("--size", 16, "--batch-size", 8, "--set", "arch.width=4", "--set", "arch.latent_dim=8")
JUDGED = ("--eval-every", 1, "--set", 'metric.name=["swd","fd-efflite0"]', "--set", "metric.images=16")
JUDGED += ("--set", "metric.projections=8")


def rows(run: Path, kind: str = "metric") -> list[dict[str, Any]]:
    return [dict(row) for row in Run(run).rows() if row.get("kind") == kind]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A run of four epochs that was evaluated after each."""
    from ganctl.cli import app

    run = tmp_path_factory.mktemp("evaluated") / "run"
    with pytest.raises(SystemExit) as end:
        app([str(word) for word in
             ("train", "--data", pictures, *SMALL, *JUDGED, "--epochs", 4, "--out", run, "--quiet")])  # fmt: skip
    assert not end.value.code
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "here" / "judged"))


def test_each_epoch_has_figures_with_their_floor_and_whole_protocol(trained: Path) -> None:
    found = rows(trained)
    assert [(row["epoch"], row["name"]) for row in found] == [
        (epoch, name) for epoch in (1, 2, 3, 4) for name in ("swd", "fd-efflite0")
    ]
    protocol = found[1]["protocol"]
    assert protocol["extractor"].startswith("EfficientNet-Lite0") and len(protocol["weights"]) == 64
    assert protocol["resize"] == "96x96, bicubic with antialiasing" and protocol["precision"] == "float32"
    assert (protocol["reals"], protocol["reals_of"], protocol["split"]) == (24, 24, "training images")
    assert (protocol["fakes"], protocol["ema"], protocol["seed"]) == (16, True, 1618033)
    assert all(row["floor"] > 0 and row["lower_is_better"] for row in found)


def test_evaluating_a_run_says_what_its_training_said_of_the_last_epoch(cli: Cli, run: Path) -> None:
    before = rows(run)
    result = cli("evaluate", run)
    assert result.code == 0, result.err
    added = rows(run)[len(before) :]
    assert added == before[-2:]
    for words in ("real against real", "training images", "1618033"):
        assert words in result.out


def test_the_best_checkpoint_is_kept_and_can_be_exported_and_named_by_its_step(
    cli: Cli, run: Path, pictures: Path
) -> None:
    first = [row for row in rows(run) if row["name"] == "swd"]
    best = min(first, key=lambda row: row["value"])
    result = cli("export", run, "--checkpoint", "best", "-o", "best.safetensors")
    assert result.code == 0 and f"step {best['step']}," in result.out
    result = cli("evaluate", "best.safetensors", "--data", pictures,
                 "--metric", "swd", "--images", 16, "--set", "metric.projections=8")  # fmt: skip
    assert result.code == 0, result.err
    assert f"{best['value']:.4g}" in result.out


def test_without_evaluation_there_is_no_best_and_the_remedy_is_named(cli: Cli, run: Path) -> None:
    (run / "checkpoints" / "best.safetensors").unlink()
    result = cli("export", run, "--checkpoint", "best")
    assert result.code == 1 and "--eval-every" in result.err


def test_the_training_says_what_each_evaluation_found_and_where_the_best_was(cli: Cli, pictures: Path) -> None:
    result = cli("train", "--data", pictures, *SMALL, *JUDGED, "--epochs", 2)
    assert result.code == 0, result.err
    assert "epoch 1: swd" in result.out and "of real images, the best so far)" in result.out
    assert "best at epoch" in result.out
    assert "16 generated images are no more than the 112 numbers" in result.out


def test_a_resumed_run_has_the_figures_and_the_best_of_an_undisturbed_one(
    cli: Cli, trained: Path, pictures: Path
) -> None:
    short = Path("short")
    assert cli("train", "--data", pictures, *SMALL, *JUDGED, "--epochs", 2, "--out", short).code == 0
    assert cli("resume", short, "--epochs", 4).code == 0
    assert rows(short) == rows(trained)
    # Not the whole file, for its header tells how long training took.
    best = [load_file(run / "checkpoints" / "best.safetensors") for run in (short, trained)]
    assert best[0].keys() == best[1].keys()
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())
    assert (short / "generator.safetensors").read_bytes() == (trained / "generator.safetensors").read_bytes()


def test_figures_that_were_added_to_a_run_survive_its_resume(cli: Cli, pictures: Path) -> None:
    assert cli("train", "--data", pictures, *SMALL, "--epochs", 1).code == 0
    assert cli("evaluate", "run", "--metric", "swd", "--images", 16).code == 0
    assert cli("resume", "run", "--epochs", 2).code == 0
    (row,) = rows(Path("run"))
    assert row["name"] == "swd" and row["epoch"] == 1


def test_a_folder_of_images_is_compared_with_others(cli: Cli, run: Path, pictures: Path) -> None:
    assert cli("sample", run, "-n", 20, "-o", "drawn/").code == 0
    result = cli("evaluate", "drawn", "--data", pictures, "--metric", "swd")
    assert result.code == 0, result.err
    assert "20 generated images" in result.out and "images given by --data" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("drawn",), 1, "add --data SOURCE"),
        (("judged", "--metric", "fd-eflite0"), 1, "fd-efflite0"),
        (("judged", "--images", 1), 1, "metric.images"),
        (("judged", "--set", "train.device=gpu"), 1, "train.device"),
        (("nowhere",), 1, "nowhere"),
        (("judged", "--set", "metric.neighbors=3", "--metric", "coverage"), 1, "metric.neighbours"),
    ],
)
def test_bad_input_gets_one_line(
    cli: Cli, run: Path, pictures: Path, arguments: tuple[object, ...], code: int, words: str
) -> None:
    shutil.copytree(pictures, "drawn")
    result = cli("evaluate", *arguments)
    assert result.code == code and words in result.err
    assert len(result.err.splitlines()) == 1, result.err


def test_compare_shows_metrics_of_one_protocol_and_says_where_two_differ(cli: Cli, run: Path, pictures: Path) -> None:
    other = ("train", "--data", pictures, *SMALL, *JUDGED, "--epochs", 2, "--seed", 1)
    assert cli(*other, "--out", "other").code == 0
    result = cli("compare", run, "other", "--json")
    mine, theirs = json.loads(result.out)
    assert mine["metrics"]["fd-efflite0"]["final"] == rows(run)[-1]["value"]
    assert mine["metrics"]["swd"]["best"] == min(row["value"] for row in rows(run) if row["name"] == "swd")
    assert theirs["metrics"]["swd"]["floor"] == rows(Path("other"))[0]["floor"]
    assert "of real images" in cli("compare", run, "other").out

    assert cli(*other, "--set", "metric.images=12", "--out", "fewer").code == 0
    result = cli("compare", run, "fewer")
    assert "swd best" not in result.out
    assert "swd, fd-efflite0 are not compared: fakes is 16 in judged and 12 in fewer" in result.out
    assert json.loads(cli("compare", run, "fewer", "--json").out)[0]["metrics"] == {}
    # Measured anew by the other's protocol, they do compare.
    assert cli("evaluate", run, "--images", 12).code == 0
    assert "swd best" in cli("compare", run, "fewer").out
