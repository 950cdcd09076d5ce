"""DCGAN: an all-convolutional generator and discriminator (Radford, Metz & Chintala 2016, arXiv:1511.06434)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from ganctl.api import Architecture, DataSpec, Networks
from ganctl.errors import GanctlError
from ganctl.nn import Norm, has_own_bias, init_normal, normalised

MIN_SIZE, MAX_SIZE = 16, 256


def halvings(size: int, kernel: int) -> list[int]:
    """Return the sides of the feature maps from *size* down to the smallest of 4 or more: 64 -> [64, 32, 16, 8, 4].

    A strided convolution with an odd kernel and ``padding = (kernel - 1) // 2`` rounds half an odd side up, and one
    with an even kernel rounds it down; the generator's transposed convolution undoes either with its output padding.
    """
    sides = [size]
    while (half := (sides[-1] + kernel % 2) // 2) >= 4:
        sides.append(half)
    return sides


class Generator(nn.Module):
    """Latents (N, Z) -> images (N, C, size, size) in [-1, 1]."""

    def __init__(self, data: DataSpec, latent_dim: int, widths: Sequence[int], kernel: int, norm: Norm) -> None:
        super().__init__()
        sides = halvings(data.size, kernel)[::-1]
        bias = not has_own_bias(norm)
        layers = [
            *normalised(nn.ConvTranspose2d(latent_dim, widths[0], sides[0], bias=bias), norm, widths[0]),
            nn.ReLU(inplace=True),
        ]
        for i, (side, target) in enumerate(pairwise(sides)):
            last = i == len(widths) - 1
            width = data.channels if last else widths[i + 1]
            padding = (kernel - 1) // 2
            up = nn.ConvTranspose2d(
                widths[i], width, kernel, stride=2, padding=padding, bias=bias and not last,
                output_padding=target - ((side - 1) * 2 - 2 * padding + kernel),
            )  # fmt: skip
            layers += [up, nn.Tanh()] if last else [*normalised(up, norm, width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        init_normal(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw an image from each latent."""
        return self.layers(latents[:, :, None, None])


class Discriminator(nn.Module):
    """Images (N, C, size, size) -> logits (N,)."""

    def __init__(self, data: DataSpec, widths: Sequence[int], kernel: int, norm: Norm, slope: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = data.channels
        for i, width in enumerate(widths):
            # The first layer sees pixels and is not batch-normalised, or a uniform tint would be invisible to it.
            own: Norm = norm if i or norm == "spectral" else "none"
            down = nn.Conv2d(
                channels, width, kernel, stride=2, padding=(kernel - 1) // 2, bias=i > 0 and not has_own_bias(norm)
            )
            layers += [*normalised(down, own, width), nn.LeakyReLU(slope, inplace=True)]
            channels = width
        head = nn.Conv2d(channels, 1, halvings(data.size, kernel)[-1], bias=False)
        layers += normalised(head, "spectral" if norm == "spectral" else "none", 1)
        self.layers = nn.Sequential(*layers)
        init_normal(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Judge each image; larger means more real."""
        return torch.flatten(self.layers(images))


class DCGAN(Architecture):
    """Strided convolutions, batch normalisation, ReLU in the generator and LeakyReLU in the discriminator.

    At 64 px with 64 filters and 100 latents it is the network of Radford et al. 2016 (arXiv:1511.06434): 3.58 M
    parameters in the generator and 2.77 M in the discriminator. Other sizes, 16 to 256 px, have as many layers as it
    takes to halve the side to between 4 and 7 px. Filters double with each halving, up to eight times the width.
    """

    api_version = 1

    latent_dim: int = Field(default=100, ge=1, le=4096, description="numbers in a latent, from which an image is made")
    width: int = Field(
        default=64, ge=1, le=1024, description="filters of the layer nearest the image, in both networks"
    )
    g_width: int | None = Field(default=None, ge=1, le=1024, description="the generator's width, where it differs")
    d_width: int | None = Field(default=None, ge=1, le=1024, description="the discriminator's width, where it differs")
    kernel: int = Field(default=4, ge=3, le=7, description="side of the convolutions' kernels, in pixels")
    slope: float = Field(default=0.2, ge=0, lt=1, description="of the discriminator's LeakyReLU below zero")
    g_norm: Norm = Field(default="batch", description="normalisation of the generator")
    d_norm: Norm = Field(default="batch", description="normalisation of the discriminator")

    def build(self, data: DataSpec) -> Networks:
        """Return both networks, initialised with N(0, 0.02). Raise :class:`GanctlError` outside 16 to 256 px."""
        if not MIN_SIZE <= data.size <= MAX_SIZE:
            raise GanctlError(
                f"dcgan draws {MIN_SIZE} to {MAX_SIZE} px, not {data.size}; choose such a data.size (--size)"
            )
        levels = len(halvings(data.size, self.kernel)) - 1
        multiples = [min(2**i, 8) for i in range(levels)]
        g_widths = [(self.g_width or self.width) * m for m in reversed(multiples)]
        d_widths = [(self.d_width or self.width) * m for m in multiples]
        return Networks(
            Generator(data, self.latent_dim, g_widths, self.kernel, self.g_norm),
            Discriminator(data, d_widths, self.kernel, self.d_norm, self.slope),
        )
