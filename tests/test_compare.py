"""Runs side by side: what differs, what came of it, and how that is written down."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

Cli = Callable[..., Result]


def make(path: str, rows: list[dict[str, Any]] | None = None, **arch: object) -> None:
    """Write what a run leaves behind, as far as it is compared."""
    folder = Path(path)
    folder.mkdir(parents=True)
    options = "".join(f"{key} = {json.dumps(value)}\n" for key, value in arch.items())
    text = f'[data]\nsource = "faces"\n[arch]\nname = "dcgan"\n{options}[train]\nseed = 0\nkeep = {len(path)}\n'
    (folder / "config.toml").write_text(f'{text}[ganctl]\nformat = 1\npython = "{len(path)}"\n')
    if rows is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def epochs(**figures: list[float | None]) -> list[dict[str, Any]]:
    """Rows of as many epochs of ten steps as each figure has values."""
    count = len(next(iter(figures.values())))
    return [
        {"kind": "epoch", "step": 10 * n, "epoch": n, "images": 640 * n, "seconds": 30.0 * n}
        | {name: values[n - 1] for name, values in figures.items()}
        for n in range(1, count + 1)
    ]


def compared(cli: Cli, *paths: str) -> list[dict[str, Any]]:
    result = cli("compare", *paths, "--json")
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)  # type: ignore[no-any-return]


def test_final_best_and_worst_are_what_they_mean_for_each_figure(cli: Cli) -> None:
    rows = epochs(
        loss_g=[3.0, 1.0, 2.0],
        loss_d=[0.5, -0.5, 0.1],
        score_real=[0.9, 0.4, 0.7],
        score_fake=[0.05, 0.3, 0.6],
        accuracy_d=[1.0, 0.55, 0.2],
        images_per_second=[90.0, 120.0, 100.0],
    )
    make("r", [{"kind": "step", "step": 5, "epoch": 1, "images": 320, "loss_g": 99.0}, *rows])
    (column,) = compared(cli, "r")
    assert {key: column[key] for key in ("run", "settings", "steps", "images", "minutes")} == {
        "run": "r", "settings": {}, "steps": 30, "images": 1920, "minutes": 1.5,
    }  # fmt: skip
    assert {name: tuple(figure.values()) for name, figure in column["figures"].items()} == {
        "loss_g": (2.0, 1.0, 2, 3.0, 1),
        "loss_d": (0.1, -0.5, 2, 0.5, 1),
        "score_real": (0.7, 0.4, 2, 0.9, 1),
        "score_fake": (0.6, 0.6, 3, 0.05, 1),
        "accuracy_d": (0.2, 0.55, 2, 1.0, 1),
        "images_per_second": (100.0, 120.0, 2, 90.0, 1),
    }
    assert list(column["figures"]["loss_g"]) == ["final", "best", "best_epoch", "worst", "worst_epoch"]


def test_only_settings_that_differ_are_shown_and_none_of_the_bookkeeping(cli: Cli) -> None:
    make("a", epochs(loss_g=[1.0]), slope=0.1, width=8)
    make("bb", epochs(loss_g=[1.0]), slope=0.3, width=8, kernel="growing")
    assert [column["settings"] for column in compared(cli, "a", "bb")] == [
        {"arch.slope": 0.1},
        {"arch.slope": 0.3, "arch.kernel": "growing"},
    ]
    shown = cli("compare", "a", "bb")
    assert re.search(r"^ +a +bb *$", shown.out, re.MULTILINE)
    assert re.search(r"^arch\.slope +0\.1 +0\.3 *$", shown.out, re.MULTILINE)
    assert re.search(r"^arch\.kernel +growing *$", shown.out, re.MULTILINE)
    assert "arch.width" not in shown.out
    assert "Best is the lowest loss, the score or accuracy nearest 0.5" in shown.out


def test_a_folder_stands_for_the_runs_in_it_in_the_order_of_their_numbers(cli: Cli) -> None:
    for slope in (0.5, 0.05, 0.1):
        make(f"s/slope={slope}", slope=slope)
    for width in (16, 8):
        make(f"s/width={width}", slope=0.2)
    Path("s/slope=0.5.log").touch()
    Path("s/other").mkdir()
    names = ["slope=0.05", "slope=0.1", "slope=0.5", "width=8", "width=16"]
    assert [column["run"] for column in compared(cli, "s")] == names
    assert [column["run"] for column in compared(cli, "s/width=8", "s")] == ["width=8", *names[:3], "width=16"]


def test_runs_of_the_same_name_are_told_apart_by_their_paths(cli: Cli) -> None:
    make("a/run")
    make("b/run")
    assert [column["run"] for column in compared(cli, "a/run", "b/run")] == ["a/run", "b/run"]
    os.chdir("a/run")
    assert [column["run"] for column in compared(cli, ".")] == ["run"]


def test_what_is_missing_is_blank_and_what_is_not_finite_is_said_and_the_worst(cli: Cli) -> None:
    make("new")
    make("nan", epochs(loss_g=[1.0, None, 0.5], loss_d=[None, None, None], r1=[0.1, 0.2, 0.3]))
    make("odd")
    lines = ['{"kind": "epoch", "epoch": 1, "step": 1, "loss_g": NaN, "loss_d": 1e999, "big": 1' + "0" * 400 + "}"]
    lines += [
        '{"kind": "epoch", "epoch": "one", "loss_g": 3}',
        '{"kind": "metric", "loss_g": 3}',
        "[3]",
        '{"kind": "ep',
    ]
    Path("odd/metrics.jsonl").write_text("\n".join(lines))
    new, nan, odd = compared(cli, "new", "nan", "odd")
    assert (new["steps"], new["images"], new["minutes"], new["figures"]) == (None, None, None, {})
    assert tuple(nan["figures"]["loss_g"].values()) == (0.5, 0.5, 3, None, 2)
    assert tuple(nan["figures"]["loss_d"].values()) == (None, None, None, None, 1)
    assert all(tuple(odd["figures"][name].values()) == (None, None, None, None, 1) for name in ("loss_g", "big"))
    shown = cli("compare", "new", "nan")
    assert re.search(r"^loss_g +0\.5 *$", shown.out, re.MULTILINE)
    assert re.search(r"^loss_g worst +not finite \(epoch 2\) *$", shown.out, re.MULTILINE)
    assert re.search(r"^loss_d best +not finite *$", shown.out, re.MULTILINE)


def test_csv_has_a_row_a_run_and_flat_columns(cli: Cli) -> None:
    make("a,b", epochs(loss_g=[2.0, 1.5]), note='say "x", or\nnot')
    make("c", None, note="y")
    result = cli("compare", "a,b", "c", "--csv")
    assert result.code == 0
    first, second = csv.DictReader(io.StringIO(result.out))
    assert first == {
        "run": "a,b", "arch.note": 'say "x", or\nnot', "steps": "20", "images": "1280", "minutes": "1.0",
        "loss_g_final": "1.5", "loss_g_best": "1.5", "loss_g_best_epoch": "2", "loss_g_worst": "2.0",
        "loss_g_worst_epoch": "1",
    }  # fmt: skip
    assert second == dict.fromkeys(first, "") | {"run": "c", "arch.note": "y"}


def test_markdown_is_a_column_a_run_with_every_cell_escaped(cli: Cli) -> None:
    make("a|b", epochs(loss_g=[1.0]), note="*x* <b> `c` \\ _d_")
    make("c", epochs(loss_g=[1.0]), note="\x1b[31m")
    result = cli("compare", "a|b", "c", "--markdown")
    lines = result.out.splitlines()
    assert lines[:3] == [
        "|  | a\\|b | c |",
        "| --- | ---: | ---: |",
        "| arch.note | \\*x\\* \\<b\\> \\`c\\` \\\\ \\_d\\_ | \\\\x1b\\[31m |",
    ]
    assert "| loss_g best | 1 (epoch 1) | 1 (epoch 1) |" in lines
    assert lines[-1].startswith("Best is")


def test_more_runs_than_the_terminal_is_wide_make_several_tables(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for number in range(5):
        make(f"run-{number}", epochs(loss_g=[1.0 + number]), slope=number / 10)
    result = cli("compare", *(f"run-{number}" for number in range(5)))
    assert max(map(len, result.out.splitlines()[:-3])) <= 60
    lines = [line for line in result.out.splitlines() if line.startswith("arch.slope")]
    assert len(lines) > 1
    assert " ".join(lines).replace("arch.slope", "").split() == ["0.0", "0.1", "0.2", "0.3", "0.4"]


def test_output_goes_to_the_file_in_the_form_of_its_name(cli: Cli) -> None:
    make("r", epochs(loss_g=[1.0]))
    for name, flag in (("t.json", "--json"), ("t.csv", "--csv"), ("t.md", "--markdown")):
        assert cli("compare", "r", "-o", name).out == ""
        assert Path(name).read_text() == cli("compare", "r", flag).out
    assert cli("compare", "r", "--csv", "-o", "t.txt").code == 0
    assert Path("t.txt").read_text() == Path("t.csv").read_text()


def test_wrong_usage_and_what_is_no_run_get_one_line(cli: Cli) -> None:
    make("r")
    Path("empty").mkdir()
    Path("file").touch()
    for arguments, code, complaint in (
        (["r", "--json", "--csv"], 2, "choose one of --json, --csv and --markdown"),
        (["r", "-o", "t.txt"], 1, "name a .json, .csv or .md, or add --json"),
        (["r", "empty"], 1, "empty is neither a run folder nor a folder of them"),
        (["nowhere"], 1, "there is no run folder nowhere"),
        (["file"], 1, "file is a file, not a run folder"),
    ):
        result = cli("compare", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (code, "", 1), arguments
        assert complaint in result.err
    assert cli("compare").code == 2
    assert sorted(os.listdir()) == ["empty", "file", "r"]


def test_comparing_imports_nothing_heavy() -> None:
    make("r", epochs(loss_g=[1.0]))
    code = (
        "import sys; from ganctl.cli import app\n"
        "try: app(['compare', 'r'])\n"
        "finally: assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
