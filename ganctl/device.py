"""Where and how precisely to compute."""

from __future__ import annotations

from typing import Literal

import torch

from ganctl.errors import GanctlError


def device(name: str) -> torch.device:
    """Return the device called *name*; auto is a GPU if there is one. Raise :class:`GanctlError` if it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = torch.device(name)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise GanctlError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; --device cpu works"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise GanctlError("--device mps: torch sees no Metal device here; --device cpu works")
    return chosen


def precision(name: Literal["auto", "fp32", "bf16", "fp16"], chosen: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Return the precision to use: auto is bf16 on a CUDA device that has it, and float32 elsewhere."""
    if name == "auto":
        return "bf16" if chosen.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return name


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
