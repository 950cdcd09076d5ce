"""A run folder is for one process at a time, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from ganctl.errors import GanctlError
from ganctl.run import LOCK, InUse, Run, check_out, held, make

Cli = Callable[..., Result]

CONFIG = "[ganctl]\nformat = 1\n"
HOLD = """
from pathlib import Path
from ganctl.run import held
with held(Path("r")):
    input(print(flush=True))
"""


def test_a_folder_is_held_once_and_free_again_with_nothing_left_in_it() -> None:
    folder = Path("r")
    folder.mkdir()
    with held(folder):
        with pytest.raises(InUse, match="r is in use: another ganctl works in it"), held(folder):
            pass
        assert os.listdir(folder) == [LOCK]
    assert os.listdir(folder) == []
    with held(folder):
        pass


def test_a_killed_process_leaves_no_lock_that_holds() -> None:
    folder = Path("r")
    folder.mkdir()
    command = [sys.executable, "-c", HOLD]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    with pytest.raises(InUse), held(folder):
        pass
    process.kill()
    process.communicate()
    assert os.listdir(folder) == [LOCK]
    with held(folder):
        pass


def test_a_run_in_use_is_neither_resumed_nor_overwritten(cli: Cli) -> None:
    with make(Path("r"), False, CONFIG) as run:
        run.metrics.write_text("kept")
        for arguments in (["resume", "r"], ["train", "--out", "r", "--overwrite"]):
            result = cli(*arguments)
            assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), arguments
            assert "r is in use: another ganctl works in it" in result.err
        with pytest.raises(InUse):
            make(Path("r"), True, CONFIG)
        assert run.metrics.read_text() == "kept"
    assert not make(Path("r"), True, CONFIG).metrics.exists()


def test_a_lock_and_half_written_files_are_no_content_and_anything_else_is() -> None:
    folder = Path("r")
    folder.mkdir()
    for name in (LOCK, ".config.toml.77.tmp.toml"):
        (folder / name).touch()
    check_out(folder, False)
    (folder / ".precious").touch()
    with pytest.raises(GanctlError, match="exists; add --overwrite"):
        check_out(folder, False)


def test_a_run_killed_while_it_was_made_is_put_right() -> None:
    run = Run(Path("r"))
    run.path.mkdir()
    run.config.write_text(CONFIG)
    run.sweep()
    assert run.samples.is_dir()
    assert run.checkpoints.is_dir()
