"""What is shown on a terminal of 80 columns, without one, and when quiet."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ganctl.display import Display, clock, figures_line
from ganctl.trainer import Report

FIGURES = {
    "loss_g": 2.345,
    "loss_d": 0.678,
    "loss_d_real": 0.3,
    "score_real": 0.81,
    "score_fake": 0.19,
    "accuracy_d": 0.9,
    "images_per_second": 512.3,
}


def shown(terminal: bool, quiet: bool = False, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, color_system=None, highlight=False)
    with Display(console, quiet) as display:
        display.progress("packing", 1, 2)
        display.progress("packing", 2, 2)
        display.note("a [red]name[/red] \\[x]")
        display.training(epochs=12, steps=24, steps_per_epoch=2, done=0, peek=lambda: FIGURES)
        for step in range(4):
            rows = {"epoch": FIGURES} if step == 2 else {}
            display.report(Report(step, (step + 1) // 2, 64 * step, 61.0 * step, rows))  # type: ignore[arg-type]
        display.trained()
        display.table([("key", "[bold]value")], ("setting", ""))
    return file.getvalue()


def test_without_a_terminal_there_is_one_line_for_each_thing_and_no_control_character() -> None:
    text = shown(terminal=False)
    assert text.splitlines()[:3] == [
        "packing: 2",
        "a [red]name[/red] \\[x]",
        "epoch  1/12  G 2.345  D 0.678  D(x) 0.81  D(G(z)) 0.19  img/s 512  2:02",
    ]
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[bold]value" in text


def test_on_a_terminal_of_80_columns_every_line_fits_and_both_bars_and_the_figures_are_there() -> None:
    text = shown(terminal=True)
    assert "epoch 1/12" in text
    assert "steps" in text
    assert "G 2.345" in text
    assert "\x1b" in text
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) == 80  # the bars take what there is


def test_quiet_shows_nothing() -> None:
    assert shown(terminal=True, quiet=True) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (62, "1:02"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_figures_that_are_missing_are_left_out() -> None:
    assert figures_line({"loss_g": 1.0, "other": 3.0}) == "G 1.000"
