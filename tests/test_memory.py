"""Memory that is freed stays with a training, and what a GPU is told leaves a CPU alone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from ganctl import device

FAULTS = """
import os, resource
os.environ["NUMPY_MADVISE_HUGEPAGE"] = "0"
import numpy as np
from ganctl import memory
{keep}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(20):
    blocks = [np.ones(16 << 20, np.uint8) for _ in range(4)]  # as a step holds several at once
    del blocks
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_what_is_freed_is_not_cleared_again_by_the_system() -> None:
    def faults(keep: str) -> int:
        script = FAULTS.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)

    assert faults("memory.keep()") < faults("") / 5


def test_a_cpu_keeps_its_precision_and_no_copy_of_the_images() -> None:
    before = torch.get_float32_matmul_precision()
    device.prepare(torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == before
    assert not device.has_room(torch.device("cpu"), 1)
