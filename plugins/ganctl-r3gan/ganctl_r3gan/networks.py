"""R3GAN's networks (Huang et al. 2024, arXiv:2501.05441): grouped residual blocks, and no normalisation anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu

from ganctl.api import Architecture, DataSpec, Judgement, Networks
from ganctl.errors import GanctlError
from ganctl.nn import ClassEmbedding, Head, check_classes

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""What keeps the variance through a leaky ReLU (He et al. 2015)."""
MOST = 4
"""How many times as wide as the stage nearest the image others are, at most."""


def initialised(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """Return *layer* with weights N(0, gain / sqrt(fan in)), all zero for a gain of 0."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(fan_in)) if gain else nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def pointwise(inputs: int, outputs: int, gain: float = 1.0) -> nn.Module:
    """Return a 1x1 convolution without bias."""
    return initialised(nn.Conv2d(inputs, outputs, 1, bias=False), gain)


class BiasedLeaky(nn.Module):
    """Add a learnt offset to each channel, then leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> the same shape."""
        return leaky_relu(maps + self.bias, SLOPE)


class Block(nn.Module):
    """x + f(x), with f a 1x1, a grouped 3x3 and a 1x1 convolution, wider inside; at first f is zero.

    In place of normalisation, the first two layers are scaled by L^(-1/4), L the number of blocks in the network
    (Fixup; Zhang et al. 2019, arXiv:1901.09321).
    """

    def __init__(self, channels: int, expansion: int, group: int, blocks: int) -> None:
        super().__init__()
        inner = channels * expansion
        gain = GAIN * blocks**-0.25
        grouped = nn.Conv2d(inner, inner, 3, padding=1, groups=max(inner // group, 1), bias=False)
        self.layers = nn.Sequential(
            pointwise(channels, inner, gain), BiasedLeaky(inner),
            initialised(grouped, gain), BiasedLeaky(inner),
            pointwise(inner, channels, 0.0),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> the same shape."""
        return maps + self.layers(maps)


class Double(nn.Module):
    """Double the side, bilinearly, which is the filter [1, 3, 3, 1] in each direction."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, C, 2S, 2S)."""
        return interpolate(maps, scale_factor=2, mode="bilinear")


class Halve(nn.Module):
    """Halve the side, by the same filter."""

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", taps[:, None] * taps, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, C, S/2, S/2)."""
        channels = maps.shape[1]
        # Not interpolate(antialias=True), which has no bfloat16.
        return conv2d(maps, self.taps.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


class Generator(nn.Module):
    """Latents (N, Z) -> images (N, C, H, W) in [-1, 1]: learnt maps, weighted by latents, then stages that double."""

    def __init__(self, options: R3Nets, data: DataSpec) -> None:
        super().__init__()
        widths, side = options.stages(data.size)
        self.classes = ClassEmbedding(len(data.classes), options.latent_dim) if options.conditional else None
        self.weights = initialised(nn.Linear(options.latent_dim, widths[-1], bias=False))
        self.basis = nn.Parameter(torch.randn(widths[-1], side, side))
        layers = options.blocks_of(widths[-1], len(widths))
        for before, after in pairwise(reversed(widths)):
            # Either may come first, and on fewer pixels and channels both are cheaper.
            layers += [pointwise(before, after)] * (before != after) + [Double()]
            layers += options.blocks_of(after, len(widths))
        self.layers = nn.Sequential(*layers, pointwise(widths[0], data.channels), nn.Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw."""
        if self.classes is not None:
            latents = latents * self.classes(labels)
        return self.layers(self.basis * self.weights(latents)[:, :, None, None])


class Discriminator(nn.Module):
    """Images (N, C, H, W) -> logits (N,): the generator's stages in reverse, then a weighing of what is left."""

    def __init__(self, options: R3Nets, data: DataSpec) -> None:
        super().__init__()
        widths, side = options.stages(data.size)
        layers = [pointwise(data.channels, widths[0]), *options.blocks_of(widths[0], len(widths))]
        for before, after in pairwise(widths):
            layers += [Halve()] + [pointwise(before, after)] * (before != after)
            layers += options.blocks_of(after, len(widths))
        last = widths[-1]
        self.layers = nn.Sequential(*layers, initialised(nn.Conv2d(last, last, side, groups=last, bias=False)))
        classes = nn.Linear(len(data.classes), last, bias=False) if options.conditional else None
        self.head = Head(initialised(nn.Conv2d(last, 1, 1)), projection=classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | Judgement:
        """Judge."""
        return self.head(self.layers(images), labels)


class R3Nets(Architecture):
    """R3GAN's residual networks: grouped convolutions inside inverted bottlenecks, and no normalisation.

    The paper's for CIFAR-10 have 768 filters in all stages and 2 blocks in each; the filters here double with each
    halving of the side, up to four times the width. Images are bounded by tanh, as ganctl has them, where the paper's
    are cut off. Conditioning multiplies the latents by learnt numbers of their class, and projects in the
    discriminator.
    """

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"optim.g.betas": (0.0, 0.99), "optim.d.betas": (0.0, 0.99)})

    latent_dim: int = Field(default=64, ge=1, le=4096, description="numbers in a latent, from which an image is made")
    width: int = Field(default=64, ge=4, le=1024, description="filters of the stage nearest the image")
    blocks: int = Field(default=2, ge=1, le=16, description="residual blocks of each stage")
    expansion: int = Field(default=2, ge=1, le=8, description="how many times as wide a block is inside")
    group: int = Field(default=16, ge=1, le=64, description="filters in each group of the 3x3 convolutions")
    conditioning: Literal["none", "projection"] = Field(default="none", description="how the networks know classes")

    def build(self, data: DataSpec) -> Networks:
        """Return both networks. Raise :class:`GanctlError` for sizes that do not halve to 4, 5, 6 or 7 px."""
        check_classes(self.conditioning, data)
        return Networks(Generator(self, data), Discriminator(self, data))

    @property
    def conditional(self) -> bool:
        """Whether the networks heed classes."""
        return self.conditioning != "none"

    def stages(self, size: int) -> tuple[list[int], int]:
        """Return the filters of each stage, from the image's on, and the side of the last one's maps."""
        side, count = size, 1
        while side > 7 and side % 2 == 0:
            side, count = side // 2, count + 1
        if not 4 <= side <= 7:
            raise GanctlError(
                f"r3gan halves the side of images down to 4 to 7 px, which {size} does not; choose a --size such as "
                "28, 32, 48, 64, 96, 128 or 256"
            )
        return [self.width * min(2**stage, MOST) for stage in range(count)], side

    def blocks_of(self, channels: int, stages: int) -> list[nn.Module]:
        """Return the blocks of a stage of a network with so many *stages*."""
        total = self.blocks * stages
        group = math.gcd(self.group, channels * self.expansion)
        return [Block(channels, self.expansion, group, total) for _ in range(self.blocks)]
