"""The run folder: what is made, refused, read back and cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganctl import files
from ganctl.errors import GanctlError
from ganctl.run import MetricsLog, Run, check_out, make, open_run

CONFIG = "[ganctl]\nformat = 1\n"


def made(path: Path) -> Run:
    return make(path, False, CONFIG)


def test_without_a_name_the_first_free_one_is_taken() -> None:
    assert [make(None, False, CONFIG).path for _ in range(3)] == [Path("run"), Path("run-2"), Path("run-3")]


def test_a_named_folder_that_exists_is_refused_without_overwrite() -> None:
    made(Path("mine")).metrics.write_text("old")
    for refuse in (lambda: check_out(Path("mine"), False), lambda: make(Path("mine"), False, CONFIG)):
        with pytest.raises(GanctlError, match="mine exists; add --overwrite"):
            refuse()
    check_out(Path("mine"), True)
    assert Path("mine/metrics.jsonl").exists()  # checking removes nothing
    assert not make(Path("mine"), True, CONFIG).metrics.exists()


def test_overwrite_never_removes_what_is_not_a_run() -> None:
    Path("photos").mkdir()
    Path("photos/holiday.jpg").touch()
    with pytest.raises(GanctlError, match="--overwrite replaces only run folders: photos is not a run folder"):
        make(Path("photos"), True, CONFIG)
    assert Path("photos/holiday.jpg").exists()
    Path("file").touch()
    with pytest.raises(GanctlError, match="file is a file"):
        check_out(Path("file"), True)


def test_an_empty_folder_may_be_used_and_so_may_the_current_one_and_a_link() -> None:
    Path("empty").mkdir()
    assert made(Path("empty")).config.exists()
    Path("link").symlink_to("empty")
    assert make(Path("link"), True, CONFIG).config.exists()
    assert Path("link").is_symlink()
    os.chdir("empty")
    assert make(Path(), True, CONFIG).config.exists()


def test_settings_that_cannot_be_written_cost_no_old_run() -> None:
    made(Path("mine")).metrics.write_text("old")
    with pytest.raises(GanctlError, match="not Unicode"):
        make(Path("mine"), True, "source = 'caf\udce9'")
    assert Path("mine/metrics.jsonl").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_refused_at_once() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(GanctlError, match="locked cannot be written to"):
        check_out(Path("locked/run"), False)


def test_a_place_below_a_file_is_refused() -> None:
    Path("file").touch()
    with pytest.raises(GanctlError, match="file cannot be written to"):
        check_out(Path("file/run"), False)


def test_what_a_killed_process_left_half_written_is_swept() -> None:
    run = made(Path("r"))
    for path in (run.checkpoints / ".step-1.safetensors.7.tmp.safetensors", run.samples / ".epoch-0001.png.7.tmp.png"):
        path.touch()
    run.sweep()
    assert not any(run.checkpoints.iterdir())
    assert not any(run.samples.iterdir())


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
    with MetricsLog(run.metrics, keep=10**6) as log:
        log.append({"kind": "step", "step": 4})
    assert [row["step"] for row in run.rows()] == [1, 3, 4]


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
