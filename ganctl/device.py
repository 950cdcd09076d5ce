"""Where to compute."""

from __future__ import annotations

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


def has_room(chosen: torch.device, size: int) -> bool:
    """Whether *size* bytes are so little of a GPU's free memory that they may be kept there."""
    return chosen.type == "cuda" and size < torch.cuda.mem_get_info(chosen)[0] / 4


def prepare(chosen: torch.device) -> None:
    """Let a GPU be fast: float32 products in TF32, and for each shape the quickest convolution, by trial."""
    if chosen.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
