"""Samples in the terminal, and a run for TensorBoard."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganctl.display import Display
from ganctl.preview import cells
from ganctl.run import Run
from ganctl.trainer import Report

Cli = Callable[..., Result]
SMALL = ("--size", 16, "--batch-size", 8, "--set", "arch.width=4", "--set", "arch.latent_dim=8")


def picture(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "black")
    image.paste((255, 0, 0), (0, 0, width, height // 2))
    return image


def test_two_pixels_are_one_character() -> None:
    assert cells(picture(2, 2), 80, 24) == [[("#ff0000", "#000000")] * 2]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 50), (200, 4), (1, 1)])
def test_a_picture_fits_into_the_window_and_keeps_its_shape(columns: int, rows: int) -> None:
    lines = cells(picture(512, 256), columns, rows)
    assert len(lines) <= rows and all(len(line) == len(lines[0]) <= columns for line in lines)
    if len(lines) > 3:
        assert len(lines[0]) / (2 * len(lines)) == pytest.approx(2, rel=0.3)
    assert lines[0][0][0] == "#ff0000" or len(lines) == 1


def test_a_small_picture_is_not_blown_up() -> None:
    assert len(cells(picture(16, 15), 300, 100)) == 8


def console(width: int, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=20,
        color_system="truecolor",
        legacy_windows=False,
    )


def shown(made: Console, preview: bool) -> str:
    with Display(made, preview=preview) as display:
        display.training(1, 10, 10, 0, dict)
        display.sheet(picture(64, 64))
        display.report(Report(1, 1, 8, 0.1))
    return made.file.getvalue()  # type: ignore[attr-defined]


def test_the_newest_samples_are_above_the_bars_if_asked_for() -> None:
    text = shown(console(40), preview=True)
    assert "▀" in text and "38;2;255;0;0" in text
    assert "▀" not in shown(console(40), preview=False)
    # No line is longer than a narrow window.
    narrow = shown(console(20), preview=True)
    assert max(line.count("▀") for line in narrow.split("\n")) < 20


def test_without_a_terminal_the_preview_says_so_and_draws_nothing(cli: Cli, pictures: Path) -> None:
    result = cli("train", "--data", pictures, *SMALL, "--set", "train.steps=2", "--preview")
    assert result.code == 0, result.err
    assert "--preview shows samples on a terminal only" in result.out
    assert "▀" not in result.out and "\x1b" not in result.out


def test_tensorboard_reads_what_the_run_wrote(cli: Cli, pictures: Path) -> None:
    judged = (
        "--eval-every",
        1,
        "--set",
        "metric.name=swd",
        "--set",
        "metric.images=8",
        "--set",
        "metric.projections=8",
    )
    assert cli("train", "--data", pictures, *SMALL, "--epochs", 2, "--log", "tensorboard", *judged).code == 0
    assert cli("resume", "run", "--epochs", 3).code == 0
    events = EventAccumulator("run/tensorboard", size_guidance={"images": 0, "scalars": 0}).Reload()
    rows = [row for row in Run(Path("run")).rows() if row["kind"] == "epoch"]
    for name in ("loss_g", "score_real"):
        found = {event.step: event.value for event in events.Scalars(f"epoch/{name}")}
        assert found == {row["step"]: pytest.approx(row[name], rel=1e-5) for row in rows}
    assert len(events.Scalars("metric/swd")) == 3
    assert len(events.Images("samples")) == 4
    newest = Image.open(io.BytesIO(events.Images("samples")[-1].encoded_image_string))
    assert newest.tobytes() == Image.open("run/samples/epoch-0003.png").tobytes()
    film = Image.open(io.BytesIO(events.Images("film")[-1].encoded_image_string))
    assert film.format == "GIF" and film.n_frames > 1  # type: ignore[attr-defined]


def test_without_tensorboard_its_extra_is_named_before_anything_is_made(
    cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganctl.commands.training.find_spec", lambda name: None)
    result = cli("train", "--data", pictures, *SMALL, "--log", "tensorboard")
    assert result.code == 1 and re.search(r"pip install 'ganctl\[tensorboard\]'", result.err)
    assert not Path("run").exists()


def test_who_else_gets_figures_is_one_of_two(cli: Cli, pictures: Path) -> None:
    result = cli("train", "--data", pictures, *SMALL, "--log", "wandb")
    assert result.code == 1 and "'none' or 'tensorboard'" in result.err
