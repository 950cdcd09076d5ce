"""Latents -> images: sheets, single pictures and walks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

SHEET = 64
"""Images on a sample sheet, eight by eight, and the batch in which images are drawn."""


def latents(seed: int, count: int, dim: int, truncation: float | None = None) -> Tensor:
    """Return *count* latents (count, dim) from N(0, 1); the first ones are the same for any count and on any device.

    *truncation* redraws numbers beyond it, which gives up variety for fidelity (Brock et al. 2019, arXiv:1809.11096).
    """
    source = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(math.ceil(count / SHEET)):
        block = torch.empty(SHEET, dim)
        if truncation is None:
            block.normal_(generator=source)
        else:
            nn.init.trunc_normal_(block, a=-truncation, b=truncation, generator=source)
        blocks.append(block)
    return torch.cat(blocks)[:count]


def sheet_labels(count: int, classes: int) -> Tensor | None:
    """Return the class numbers (count,) of a sheet, which change from row to row; None without classes."""
    return torch.arange(count) // math.isqrt(SHEET) % classes if classes else None


@torch.inference_mode()
def draw(generator: nn.Module, points: Tensor, labels: Tensor | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks (up to 64, H, W, C) of the images of *points* (N, Z), drawn in eval mode."""
    training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    try:
        for start in range(0, len(points), SHEET):
            few = slice(start, start + SHEET)
            images = generator(points[few].to(device), None if labels is None else labels[few].to(device))
            pixels = images.float().clamp(-1, 1).add(1).mul(127.5).round().byte()
            yield pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    finally:
        generator.train(training)


def picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) as a picture."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images (N, H, W, C) out in rows, as near to a square as their number allows; what is left over is black."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    blank = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    height, width, channels = images.shape[1:]
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def sheet(generator: nn.Module, points: Tensor, labels: Tensor | None = None) -> Image.Image:
    """Draw *points* on one sheet."""
    return picture(grid(np.concatenate(list(draw(generator, points, labels)))))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate spherically between latents *a* and *b* (..., Z), at *t* (T,) from 0 to 1: (T, ..., Z).

    A straight line would pass near the origin, where no latent was in training (White 2016, arXiv:1609.04468).
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    angle = cosine.acos()
    t = t.reshape(-1, *[1] * a.ndim)
    near = angle.sin() < 1e-4
    safe = torch.where(near, 1.0, angle.sin())
    curved = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / safe
    return torch.where(near, (1 - t) * a + t * b, curved)


def walk(seed: int, paths: int, dim: int, frames: int, stops: int) -> Iterator[Tensor]:
    """Yield *frames* sets of latents (paths, dim): walks from stop to stop, the last of which leads to the first."""
    points = latents(seed, stops * paths, dim).reshape(stops, paths, dim)
    for frame in range(frames):
        position = frame * stops / frames
        stop = int(position)
        yield slerp(points[stop], points[(stop + 1) % stops], torch.tensor([position - stop]))[0]
