"""The kernels of the layer by which a discriminator sees its images, as a picture. No torch."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from ganctl.errors import GanctlError, plain

SIDE, GAP = 32, 4
"""Pixels of a kernel's longer side in the picture, at least, and between kernels."""


class Mosaic(NamedTuple):
    """Kernels side by side: *pixels* (H, W, 3) from 0 to 1, kernels in a row, and what is seen, in words."""

    pixels: NDArray[np.float32]
    columns: int
    words: str


def mosaic(kernels: NDArray[np.float32]) -> Mosaic:
    """Draw *kernels* (N, C, H, W), as near to a square as can be; grey is 0."""
    limit = float(np.quantile(np.abs(kernels), 0.99)) or 1.0
    count, side = len(kernels), kernels.shape[2:]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    factor = math.ceil(SIDE / max(side))
    height, width = (length * factor + GAP for length in side)
    sheet = np.ones((rows * height - GAP, columns * width - GAP, 3), np.float32)
    for number, kernel in enumerate(kernels):
        top, left = number // columns * height, number % columns * width
        large = np.repeat(np.repeat(kernel.transpose(1, 2, 0), factor, axis=0), factor, axis=1)
        sheet[top : top + height - GAP, left : left + width - GAP] = np.clip(large / limit / 2 + 0.5, 0, 1)
    return Mosaic(sheet, columns, f"{count} kernels of {side[0]}x{side[1]}; grey is 0, full range ±{limit:.2g}")


def first_kernels(checkpoint: Path) -> NDArray[np.float32]:
    """Return the kernels (N, C, H, W) of the layer by which *checkpoint*'s discriminator sees its images' C channels.

    Raise :class:`GanctlError` where there is no such layer, or the file cannot be read.
    """
    try:
        with safetensors.safe_open(checkpoint, framework="numpy") as file:
            channels = json.loads(file.metadata()["ganctl.checkpoint"])["generator"]["data"]["channels"]
            shapes = {
                name: file.get_slice(name).get_shape()
                for name in sorted(file.keys(), key=_in_order)
                if name.startswith("discriminator.") and file.get_slice(name).get_dtype() in ("F16", "F32", "F64")
            }
            # A label may be one more channel, behind those of the image.
            for inputs in (channels, channels + 1):
                for name, shape in shapes.items():
                    if len(shape) == 4 and shape[1] == inputs and min(shape[2:]) > 1:
                        kernels: NDArray[np.float32] = file.get_tensor(name)[:, :channels].astype(np.float32)
                        return np.nan_to_num(kernels)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise GanctlError(f"{plain(checkpoint)} cannot be read: {plain(error)}") from error
    raise GanctlError("the discriminator does not begin with a convolution of the image")


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts layers by number: layers.2 before layers.10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"\.", name)]
