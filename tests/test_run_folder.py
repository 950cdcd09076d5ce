"""The run folder: what is made, refused, read back and cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganctl import files
from ganctl.errors import GanctlError
from ganctl.run import MetricsLog, Run, choose, clear, open_run

CONFIG = "[ganctl]\nformat = 1\n"


def made(path: Path) -> Run:
    run = Run(path)
    run.create(CONFIG)
    return run


def test_without_a_name_the_first_free_one_is_taken() -> None:
    assert choose(None, False).path == Path("run")
    made(Path("run"))
    made(Path("run-2"))
    assert choose(None, False).path == Path("run-3")


def test_a_named_folder_that_exists_is_refused_without_overwrite() -> None:
    made(Path("mine"))
    with pytest.raises(GanctlError, match="mine exists; add --overwrite"):
        choose(Path("mine"), False)
    run = choose(Path("mine"), True)
    assert run.config.exists()  # choosing removes nothing
    clear(run)
    assert not run.path.exists()


def test_overwrite_never_removes_what_is_not_a_run() -> None:
    Path("photos").mkdir()
    Path("photos/holiday.jpg").touch()
    with pytest.raises(GanctlError, match="--overwrite replaces only run folders: photos is not a run folder"):
        choose(Path("photos"), True)
    Path("file").touch()
    with pytest.raises(GanctlError, match="file is a file"):
        choose(Path("file"), True)


def test_an_empty_folder_may_be_used() -> None:
    Path("empty").mkdir()
    run = choose(Path("empty"), False)
    clear(run)
    run.create(CONFIG)
    assert open_run(Path("empty")).config.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused_at_once() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(GanctlError, match="locked cannot be written to"):
        choose(Path("locked/run"), False)


def test_a_place_below_a_file_is_refused() -> None:
    Path("file").touch()
    with pytest.raises(GanctlError, match="file cannot be written to"):
        choose(Path("file/run"), False)


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (lambda path: None, "there is no run folder"),
        (lambda path: path.touch(), "is a file, not a run folder"),
        (lambda path: path.mkdir(), "it has no config.toml"),
        (lambda path: (path.mkdir(), (path / "config.toml").write_text("x = ")), "cannot be read"),
        (lambda path: (path.mkdir(), (path / "config.toml").write_text("x = 1")), "was not written by ganctl"),
        (
            lambda path: (path.mkdir(), (path / "config.toml").write_text("[ganctl]\nformat = 2")),
            "format 2, from a newer ganctl",
        ),
    ],
)
def test_what_is_no_run_folder_gets_one_line(prepare: object, complaint: str) -> None:
    path = Path("x")
    prepare(path)  # type: ignore[operator]
    with pytest.raises(GanctlError, match=complaint) as refusal:
        open_run(path)
    assert "\n" not in str(refusal.value)


def test_rows_are_read_back_and_torn_lines_are_skipped() -> None:
    run = made(Path("r"))
    with MetricsLog(run.metrics) as log:
        log.append({"kind": "step", "step": 1, "loss_g": float("nan")})
        kept = log.sync()
        log.append({"kind": "step", "step": 2})
    with run.metrics.open("a") as file:
        file.write('{"kind": "st')
    assert [row["step"] for row in run.rows()] == [1, 2]
    assert next(run.rows())["loss_g"] is None
    with MetricsLog(run.metrics, keep=kept) as log:
        log.append({"kind": "step", "step": 3})
    assert [row["step"] for row in run.rows()] == [1, 3]


def test_a_file_appears_whole_or_not_at_all() -> None:
    path = Path("f.txt")
    files.write(path, b"old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir() == ["f.txt"]
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_file_that_cannot_be_written_gets_one_line() -> None:
    with pytest.raises(GanctlError, match=r"cannot write nowhere/f\.txt: No such file or directory"):
        files.write(Path("nowhere/f.txt"), b"")
