"""How precisely networks compute, chosen by what is fastest here."""

from __future__ import annotations

import math
import platform
import time
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from ganctl.remembered import remembered

Name = Literal["fp32", "bf16", "fp16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

WORTH = 1.15
"""How many times as fast as float32 a half precision has to be: what it costs in exactness, it should pay back."""

_SECONDS, _MOST = 1.0, 12
"""How long the probe goes on, and how often it tries each precision at most."""


class Precision(NamedTuple):
    """A choice and, where nobody made it, the reason."""

    name: Name
    why: str = ""

    @property
    def dtype(self) -> torch.dtype:
        """What networks compute in."""
        return DTYPES[self.name]


def precision(name: Literal["auto"] | Name, device: torch.device) -> Precision:
    """Return the precision *name*; auto is bf16 on a GPU that has it, and on a CPU that a probe finds faster in it.

    The probe takes a second, once on each machine. Raise :class:`GanctlError` where its result cannot be kept.
    """
    if name != "auto":
        return Precision(name)
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return Precision("bf16", "this GPU computes in it")
    if device.type != "cpu":
        return Precision("fp32", "this device has no bf16")
    threads = torch.get_num_threads()
    key = {"probe": "bf16", "processor": processor(), "threads": threads, "torch": str(torch.__version__)}
    gain = float(remembered(key, lambda: {"gain": torch.tensor(_gain(device))})["gain"])
    times = f"bf16 is {gain:.1f} times as fast as fp32 here"
    return Precision("bf16", times) if gain >= WORTH else Precision("fp32", times)


def _gain(device: torch.device) -> float:
    """Return how many times as fast as in float32 a layer of a middling network is trained in bf16."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Sequential(nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2))
        images = torch.randn(32, 64, 32, 32)
    layer = layer.to(device).to(memory_format=torch.channels_last)
    images = images.to(device, memory_format=torch.channels_last).requires_grad_()

    def step(dtype: torch.dtype) -> float:
        begun = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            answer = layer(images)
        answer.float().sum().backward()
        return time.perf_counter() - begun

    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for dtype in best:
        step(dtype)  # what is compiled for a shape is compiled once
    begun = time.perf_counter()
    for _ in range(_MOST):
        # They take turns, and the best of each counts: other work on the machine makes both slower, not faster.
        best = {dtype: min(seconds, step(dtype)) for dtype, seconds in best.items()}
        if time.perf_counter() - begun > _SECONDS:
            break
    return best[torch.float32] / best[torch.bfloat16]


def processor() -> str:
    """Return what the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
