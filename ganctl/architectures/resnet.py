"""Residual networks as in WGAN-GP and SNGAN (Gulrajani et al. 2017, arXiv:1704.00028; Miyato et al. 2018)."""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ganctl.api import Architecture, DataSpec, Judgement, Networks
from ganctl.errors import GanctlError
from ganctl.nn import ClassEmbedding, Conditioning, Head, Norm, bounded, check_classes, normalised, output_norm

MIN_SIZE, MAX_SIZE = 8, 256


def halvings(size: int) -> list[int]:
    """Return the sides of the feature maps from *size* down to the smallest of 4 or more, halves rounded up."""
    sides = [size]
    while (half := -(-sides[-1] // 2)) >= 4 and half < sides[-1]:
        sides.append(half)
    return sides


class ResNet(Architecture):
    """Residual blocks with 3x3 convolutions, for any size from 8 to 256 px.

    The generator doubles the side of its feature maps in each block, by repeating pixels; the discriminator halves it,
    by averages, and has two more blocks at the smallest size (Gulrajani et al. 2017, arXiv:1704.00028; Miyato et al.
    2018, arXiv:1802.05957, whose normalisation and momentum are the defaults; the five steps of the discriminator to
    one of the generator's, which it had for runs of 100,000 steps, are ``train.d_steps=5``). Filters double with each
    halving, up to ``widest`` times the width; with ``widest=1`` they are the same everywhere, as both papers have them
    at 32 px. For conditioning see ``ganctl show dcgan``.
    """

    api_version = 1
    recipe = MappingProxyType({"optim.g.betas": (0.0, 0.9), "optim.d.betas": (0.0, 0.9)})

    width: int = Field(
        default=64, ge=1, le=1024, description="filters of the layers nearest the image, in both networks"
    )
    g_width: int | None = Field(default=None, ge=1, le=1024, description="the generator's width, where it differs")
    d_width: int | None = Field(default=None, ge=1, le=1024, description="the discriminator's width, where it differs")
    widest: int = Field(default=8, ge=1, le=64, description="the widest layers' filters, as a multiple of the width")
    g_norm: Norm = Field(default="batch", description="normalisation of the generator")
    d_norm: Norm = Field(default="spectral", description="normalisation of the discriminator")
    conditioning: Conditioning = Field(default="none", description="how the networks know classes")

    def build(self, data: DataSpec) -> Networks:
        """Return both networks. Raise :class:`GanctlError` outside 8 to 256 px, or for conditioning without classes."""
        if not MIN_SIZE <= data.size <= MAX_SIZE:
            raise GanctlError(
                f"resnet draws {MIN_SIZE} to {MAX_SIZE} px, not {data.size}; choose such a data.size (--size)"
            )
        check_classes(self.conditioning, data)
        return Networks(Generator(self, data), Discriminator(self, data))

    def widths(self, levels: int, own: int | None) -> list[int]:
        """Return the filters of *levels* blocks, from the one nearest the image on; *own* replaces ``width``."""
        return [(own or self.width) * min(2**i, self.widest) for i in range(levels)]


class Up(nn.Module):
    """(N, inputs, s, s) -> (N, outputs, side, side), where s is half of side."""

    def __init__(self, inputs: int, outputs: int, side: int, norm: Norm) -> None:
        super().__init__()
        self.side = side
        spectral = norm == "spectral"
        self.before = nn.Sequential(*output_norm(norm, inputs), nn.ReLU())
        self.after = nn.Sequential(
            *normalised(convolution(inputs, outputs), norm, outputs),
            nn.ReLU(),
            bounded(convolution(outputs, outputs), spectral),
        )
        self.shortcut = bounded(convolution(inputs, outputs, 1), spectral)

    def forward(self, features: Tensor) -> Tensor:
        """Double the side."""
        # A 1x1 convolution and repeating pixels may change places: it is four times cheaper first.
        shortcut = interpolate(self.shortcut(features), self.side)
        return shortcut + self.after(interpolate(self.before(features), self.side))


class Down(nn.Module):
    """(N, inputs, s, s) -> (N, outputs, s, s), or half of s, rounded up, where it *halves*."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, halves: bool, first: bool = False) -> None:
        super().__init__()
        spectral = norm == "spectral"
        # The first block sees pixels: these are neither normalised nor cut off at zero.
        before = [] if first else [*output_norm(norm, inputs), nn.ReLU()]
        self.residual = nn.Sequential(
            *before,
            *normalised(convolution(inputs, outputs), norm, outputs),
            nn.ReLU(),
            bounded(convolution(outputs, outputs), spectral),
        )
        changes = halves or inputs != outputs
        self.shortcut = bounded(convolution(inputs, outputs, 1), spectral) if changes else nn.Identity()
        self.halves = halves

    def forward(self, features: Tensor) -> Tensor:
        """Halve the side, if this block does."""
        residual = self.residual(features)
        if not self.halves:
            return self.shortcut(features) + residual
        return self.shortcut(halved(features)) + halved(residual)


class Generator(nn.Module):
    """Latents (N, Z), and labels (N,) or shares of classes (N, K) -> images (N, C, size, size) in [-1, 1]."""

    def __init__(self, options: ResNet, data: DataSpec) -> None:
        super().__init__()
        sides = halvings(data.size)[::-1]
        widths = options.widths(len(sides), options.g_width)[::-1]
        self.embedding: ClassEmbedding | None = None
        if options.conditioning != "none":
            self.embedding = ClassEmbedding(len(data.classes), options.latent_dim)
        self.shape = (widths[0], sides[0], sides[0])
        self.stem = bounded(dense(options.latent_dim, widths[0] * sides[0] ** 2), options.g_norm == "spectral")
        self.blocks = nn.Sequential(
            *[Up(*pair, side, options.g_norm) for pair, side in zip(pairwise(widths), sides[1:], strict=True)],
            *output_norm(options.g_norm, widths[-1]),
            nn.ReLU(),
            convolution(widths[-1], data.channels),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw an image from each latent."""
        if self.embedding is not None:
            latents = latents * self.embedding(labels)
        return self.blocks(self.stem(latents).unflatten(1, self.shape))


class Discriminator(nn.Module):
    """Images (N, C, size, size), and labels (N,) -> logits (N,), or with class logits (N, K)."""

    def __init__(self, options: ResNet, data: DataSpec) -> None:
        super().__init__()
        norm, spectral = options.d_norm, options.d_norm == "spectral"
        classes, channels = len(data.classes), data.channels
        self.embedding: ClassEmbedding | None = None
        if options.conditioning == "embedding":
            self.embedding = ClassEmbedding(classes, data.size**2)
            channels += 1
        widths = options.widths(len(halvings(data.size)) - 1, options.d_width)
        blocks: list[nn.Module] = [Down(channels, widths[0], norm, halves=True, first=True)]
        blocks += [Down(*pair, norm, halves=True) for pair in pairwise(widths)]
        blocks += [Down(widths[-1], widths[-1], norm, halves=False) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks, nn.ReLU())

        def ending(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(SumPool(), bounded(dense(inputs, outputs), spectral))

        projects = options.conditioning == "projection"
        self.head = Head(
            ending(widths[-1], 1),
            classifier=ending(widths[-1], classes) if options.conditioning == "auxiliary" else None,
            projection=bounded(dense(classes, widths[-1], bias=False), spectral) if projects else None,
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | Judgement:
        """Judge each image; larger means more real."""
        if self.embedding is not None:
            images = torch.cat([images, self.embedding(labels).reshape(-1, 1, *images.shape[2:])], dim=1)
        return self.head(self.blocks(images), labels)


class SumPool(nn.Module):
    """(N, C, S, S) -> (N, C): under spectral normalisation an average would keep logits near zero."""

    def forward(self, features: Tensor) -> Tensor:
        """Add up positions."""
        return features.sum((2, 3))


def convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """Return a convolution that keeps the side, with Glorot's initial weights."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain=2**0.5 if kernel > 1 else 1.0)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def dense(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer with Glorot's initial weights."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def halved(features: Tensor) -> Tensor:
    """Average squares of two by two pixels; at an odd edge, of what is there."""
    return avg_pool2d(features, 2, ceil_mode=True, count_include_pad=False)
