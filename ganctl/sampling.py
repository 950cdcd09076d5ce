"""Latents -> images: sheets, single pictures and walks."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

COLUMNS, MOST_ROWS = 8, 32
"""Of a sample sheet, which has eight rows unless it needs more for a row per class."""

BATCH = 64
"""Images that are drawn at a time."""


def latents(seed: int, count: int, dim: int, truncation: float | None = None) -> Tensor:
    """Return *count* latents (count, dim) from N(0, 1); the first ones are the same for any count and on any device.

    *truncation* redraws numbers beyond it, which gives up variety for fidelity (Brock et al. 2019, arXiv:1809.11096).
    """
    source = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(math.ceil(count / BATCH)):
        block = torch.empty(BATCH, dim)
        if truncation is None:
            block.normal_(generator=source)
        else:
            nn.init.trunc_normal_(block, a=-truncation, b=truncation, generator=source)
        blocks.append(block)
    return torch.cat(blocks)[:count]


class Layout(NamedTuple):
    """What is drawn on a sheet: latents (N, Z), labels (N,) if there are classes, and images in a row."""

    points: Tensor
    labels: Tensor | None
    columns: int


def layout(
    generator: nn.Module, dim: int, classes: int, seed: int, count: int | None = None, truncation: float | None = None
) -> Layout:
    """Lay out a sheet of *count* latents, the class changing from row to row where the generator heeds it.

    Without a *count* it is eight by eight, or higher where that takes a row per class, up to 32.
    """
    conditional = tells_classes(generator, dim, classes)
    if count is None:
        count = COLUMNS * min(max(COLUMNS, classes if conditional else 0), MOST_ROWS)
    columns = COLUMNS if conditional and count > COLUMNS else math.ceil(math.sqrt(count))
    labels = torch.arange(count) // columns % classes if classes else None
    return Layout(latents(seed, count, dim, truncation), labels, columns)


@torch.no_grad()
def tells_classes(generator: nn.Module, dim: int, classes: int) -> bool:
    """Whether *generator* draws the same latent differently for different classes."""
    if classes < 2:
        return False
    # With other weights, because those that heed the class may be zero before training.
    twin = copy.deepcopy(generator).eval()
    source = torch.Generator().manual_seed(0)
    for weight in twin.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=source).to(weight))
    device = next(twin.parameters()).device
    point = latents(0, 1, dim).to(device)
    one, other = (twin(point, torch.tensor([label], device=device)) for label in (0, 1))
    return not torch.equal(one, other)


@torch.inference_mode()
def draw(generator: nn.Module, points: Tensor, labels: Tensor | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks (up to 64, H, W, C) of the images of *points* (N, Z), drawn in eval mode."""
    training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    try:
        for start in range(0, len(points), BATCH):
            few = slice(start, start + BATCH)
            images = generator(points[few].to(device), None if labels is None else labels[few].to(device))
            pixels = images.float().clamp(-1, 1).add(1).mul(127.5).round().byte()
            yield pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    finally:
        generator.train(training)


def picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) as a picture."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def grid(images: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Lay images (N, H, W, C) out in rows of *columns*, by default as near to a square as can be; the rest is black."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    blank = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    height, width, channels = images.shape[1:]
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def sheet(
    generator: nn.Module, points: Tensor, labels: Tensor | None = None, columns: int | None = None
) -> Image.Image:
    """Draw *points* on one sheet."""
    return picture(grid(np.concatenate(list(draw(generator, points, labels))), columns))


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
    for stop, onward in _legs(frames, stops):
        yield slerp(points[stop], points[(stop + 1) % stops], torch.tensor([onward]))[0]


def class_walk(labels: Sequence[int], classes: int, paths: int, frames: int) -> Iterator[Tensor]:
    """Yield *frames* sets of shares of each class (paths, classes): from each of *labels* to the next, and round."""
    corners = torch.nn.functional.one_hot(torch.tensor(labels), classes).float()
    for stop, onward in _legs(frames, len(labels)):
        yield torch.lerp(corners[stop], corners[(stop + 1) % len(labels)], onward).expand(paths, classes)


def _legs(frames: int, stops: int) -> Iterator[tuple[int, float]]:
    """Yield for each frame of a walk around *stops* the last stop passed and the share of the way to the next."""
    for frame in range(frames):
        stop, onward = divmod(frame * stops / frames, 1)
        yield int(stop), onward
