"""The sliced Wasserstein distance of patches, at each scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from ganctl.api import Metric

SMALLEST = 16
"""Side of the coarsest scale."""
PATCH = 7
MOST_PER_IMAGE = 128
"""Patches, as in the paper; fewer from each of many images."""
LEVELS = 1024
"""Of the quantile functions that are compared: sets need not have the same number of images."""

_IMAGES, _DIRECTIONS = 256, 64
"""That are worked on at a time."""


class SWD(Metric):
    """Sliced Wasserstein distance, times 1000, between patches of the images' Laplacian pyramids; it needs no weights.

    It is that of Karras et al. 2018 (arXiv:1710.10196), the mean over scales down to 16 pixels: patches of 7x7, each
    colour brought to mean 0 and variance 1 within its set, so it tells how like the textures are, and not the light.
    """

    api_version = 1
    projections: int = Field(default=256, ge=1, le=100_000, description="random directions onto which patches are put")
    patches: int = Field(default=131_072, ge=1024, le=2**24, description="of a set and scale, at most 128 an image")

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the quantiles (LEVELS, projections) of each scale's patches, in each direction."""
        source = torch.Generator().manual_seed(0)
        each = min(MOST_PER_IMAGE, -(-self.patches // len(features)))
        found: dict[str, list[Tensor]] = {}
        for images in torch.split(features, _IMAGES):
            for name, band in _pyramid(images.float().div(127.5).sub(1)):
                found.setdefault(name, []).append(_patches(band, each, source))
        return {name: self._quantiles(torch.cat(parts)) for name, parts in found.items()}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the mean distance of the quantile functions, which is the Wasserstein distance in each direction."""
        scales = [(real[name] - fake[name]).abs().mean() for name in real]
        return {"swd": 1000 * float(torch.stack(scales).mean())}

    def _quantiles(self, patches: Tensor) -> Tensor:
        """Return (LEVELS, projections) of *patches* (N, C, 7, 7)."""
        patches = patches - patches.mean((0, 2, 3), keepdim=True)
        # A colour that does not vary, as in flat images, stays 0.
        flat = (patches / patches.std((0, 2, 3), keepdim=True).clamp(min=1e-6)).flatten(1)
        directions = torch.randn(flat.shape[1], self.projections, generator=torch.Generator().manual_seed(0))
        directions = directions / directions.norm(dim=0)
        places = ((torch.arange(LEVELS) + 0.5) * len(flat) / LEVELS).long()
        return torch.cat(
            [(flat @ some).sort(0).values[places] for some in torch.split(directions, _DIRECTIONS, dim=1)], dim=1
        )


def _pyramid(images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each scale of *images* (N, C, H, W), the finest first: what the next one lacks; the last is whole."""
    while images.shape[-1] // 2 >= SMALLEST:
        coarse = _halved(images)
        grown = interpolate(coarse, images.shape[-2:], mode="bilinear", align_corners=False)
        yield f"{images.shape[-1]}px", images - grown
        images = coarse
    yield f"{images.shape[-1]}px", images


def _halved(images: Tensor) -> Tensor:
    """Return *images* blurred by the pyramid's filter (Burt & Adelson 1983), every other pixel."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = images.shape[1]
    weight = (row[:, None] * row).expand(channels, 1, 5, 5)
    return conv2d(pad(images, (2, 2, 2, 2), mode="reflect"), weight, stride=2, groups=channels)


def _patches(images: Tensor, each: int, source: torch.Generator) -> Tensor:
    """Cut *each* patches (N * each, C, 7, 7) from every one of *images*, at random places."""
    count, _, height, width = images.shape
    rows = torch.randint(height - PATCH + 1, (count, each, 1, 1), generator=source) + torch.arange(PATCH)[:, None]
    columns = torch.randint(width - PATCH + 1, (count, each, 1, 1), generator=source) + torch.arange(PATCH)
    cut = images.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None, None], rows, columns]
    return cut.flatten(0, 1).permute(0, 3, 1, 2)
