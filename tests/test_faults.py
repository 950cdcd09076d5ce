"""What breaks in mid-training costs no more than the steps since the last checkpoint; see faults.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).with_name("faults.py")


@pytest.mark.parametrize("tries", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_no_fault_loses_more_than_the_steps_since_the_last_checkpoint(tries: int) -> None:
    command = [sys.executable, str(FAULTS), "--tries", str(tries), "--seed", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"\| 0 \| 0 \|\n", done.stdout)) == 8


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
def test_bytes_reach_the_disk_before_the_name_does_and_the_name_before_anything_else() -> None:
    script = "from pathlib import Path\nfrom ganctl import files\nfiles.write(Path('f.txt'), b'content')"
    calls = "--trace=openat,write,fsync,rename,renameat,renameat2,close,unlink,unlinkat"
    done = subprocess.run(["strace", calls, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    forms = (r'write\(\d+, "content"', r"fsync\(", r'rename.*"f\.txt"', r'openat\(.*"\.?", O_RDONLY', r"fsync\(")
    place = -1
    for form in forms:  # each after the one before it
        place = next(i for i, line in enumerate(lines) if i > place and re.search(form, line))
