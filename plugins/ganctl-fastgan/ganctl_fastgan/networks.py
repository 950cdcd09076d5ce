"""FastGAN's networks (Liu et al. 2021, arXiv:2101.04775): small maps gate large ones, and a critic redraws.

What the discriminator has seen it also reconstructs, from few numbers, so that it has to look at all of an image, of
which there are not many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, glu, interpolate

from ganctl.api import Architecture, DataSpec, Judgement, Networks
from ganctl.errors import GanctlError
from ganctl.nn import bounded, init_normal

SIZES = (32, 64, 128, 256)
DRAWN = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5}
"""The generator's filters by the side of its maps, in widths."""
SEEN = {8: 16, 16: 8, 32: 4, 64: 2, 128: 1, 256: 0.5}
"""The discriminator's."""
SPAN = 4
"""Doublings from a map to the one that it gates, or all there are."""


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Return a spectrally normalised convolution without bias, which keeps the side, or halves it."""
    padding = (kernel - 1) // 2 if kernel % 2 else kernel // 2 - 1
    return bounded(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))


class GLU(nn.Module):
    """Half of the channels, times the sigmoid of the other half (Dauphin et al. 2017)."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, 2C, S, S) -> (N, C, S, S)."""
        return glu(maps, dim=1)


class Noise(nn.Module):
    """In training, noise that is the same for all channels, as strong as is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> the same shape."""
        if not self.training:
            return maps
        return maps + self.strength * torch.randn(len(maps), 1, *maps.shape[2:], device=maps.device, dtype=maps.dtype)


def drawn(inputs: int, outputs: int, noise: bool = True) -> list[nn.Module]:
    """Return a convolution, noise, a norm and GLU."""
    return [conv(inputs, 2 * outputs, 3), *[Noise()] * noise, nn.BatchNorm2d(2 * outputs), GLU()]


def doubling(inputs: int, outputs: int, noise: bool = True) -> list[nn.Module]:
    """Return layers that double the side."""
    return [nn.Upsample(scale_factor=2), *drawn(inputs, outputs, noise)]


class Gate(nn.Module):
    """Skip-layer excitation: weigh the channels of large maps by what is on small ones."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            bounded(nn.Conv2d(small, large, 4, bias=False)), nn.SiLU(), conv(large, large, 1), nn.Sigmoid()
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """(N, C, S, S) and (N, D, T, T) -> (N, D, T, T)."""
        return large * self.layers(adaptive_avg_pool2d(small, 4))


class Generator(nn.Module):
    """Latents (N, Z) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_dim: int, width: int, data: DataSpec) -> None:
        super().__init__()
        sides = [side for side in DRAWN if side <= data.size]
        widths = [max(int(width * DRAWN[side]), 1) for side in sides]
        start = bounded(nn.ConvTranspose2d(latent_dim, 2 * widths[0], 4, bias=False))
        self.start = nn.Sequential(start, nn.BatchNorm2d(2 * widths[0]), GLU())
        # Every other doubling has a second convolution.
        self.stages = nn.ModuleList(
            nn.Sequential(*doubling(before, after), *(drawn(after, after) if number % 2 == 0 else []))
            for number, (before, after) in enumerate(pairwise(widths))
        )
        self.span = min(SPAN, len(self.stages))
        pairs = zip(widths, widths[self.span :], strict=False)
        self.gates = nn.ModuleList(Gate(small, large) for small, large in pairs)
        self.image = nn.Sequential(conv(widths[-1], data.channels, 3), nn.Tanh())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw."""
        maps = [self.start(latents[:, :, None, None])]
        for number, stage in enumerate(self.stages, 1):
            larger = stage(maps[-1])
            if number >= self.span:
                larger = self.gates[number - self.span](maps[number - self.span], larger)
            maps.append(larger)
        return self.image(maps[-1])


class Down(nn.Module):
    """Halve the side in two ways, and take their mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            conv(inputs, outputs, 4, 2), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2),
            conv(outputs, outputs, 3), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.short = nn.Sequential(
            nn.AvgPool2d(2), conv(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, D, S/2, S/2)."""
        return (self.long(maps) + self.short(maps)) / 2


class Decoder(nn.Sequential):
    """Maps of 8 px (N, D, 8, 8) -> the image that they are of (N, C, S, S)."""

    def __init__(self, inputs: int, width: int, side: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for number in range((side // 8).bit_length() - 1):
            outputs = max(4 * width >> number, 4)
            layers += doubling(inputs, outputs, noise=False)
            inputs = outputs
        super().__init__(*layers, conv(inputs, channels, 3), nn.Tanh())


class Discriminator(nn.Module):
    """Images (N, C, H, W) -> logits (N, 25), of patches.

    In training ``aux`` also holds what it reconstructs, and what of that it has seen: ``whole`` and ``whole_seen``, the
    image at half its side or 128 px, from maps of 8 px; ``part`` and ``part_seen``, a quarter of it, from maps of 16.
    """

    def __init__(self, width: int, decoders: bool, data: DataSpec) -> None:
        super().__init__()
        sides = [side for side in sorted(SEEN, reverse=True) if side <= data.size]
        widths = [max(int(width * SEEN[side]), 1) for side in sides]
        self.start = nn.Sequential(conv(data.channels, widths[0], 3), nn.LeakyReLU(0.2))
        self.downs = nn.ModuleList(Down(*pair) for pair in pairwise(widths))
        last = widths[-1]
        self.logits = nn.Sequential(
            conv(last, last, 1), nn.BatchNorm2d(last), nn.LeakyReLU(0.2), bounded(nn.Conv2d(last, 1, 4, bias=False))
        )
        self.side = min(data.size // 2, 128)
        self.decoders = decoders
        if decoders:
            self.whole = Decoder(last, width, self.side, data.channels)
            self.part = Decoder(widths[-2], width, self.side, data.channels)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Judgement:
        """Judge."""
        maps = [self.start(images)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        logits = self.logits(maps[-1]).flatten(1)
        if not (self.training and self.decoders):
            return Judgement(logits)
        return Judgement(logits, aux=Redrawn(self, images, maps[-2], maps[-1]))


class Redrawn(Mapping[str, Tensor]):
    """What a discriminator reconstructs, computed when it is read: of fakes it never is."""

    def __init__(self, discriminator: Discriminator, images: Tensor, sixteen: Tensor, eight: Tensor) -> None:
        quarters = [int(number) for number in torch.randint(2, (2,), device="cpu")]
        side = discriminator.side
        self._parts: dict[str, Callable[[], Tensor]] = {
            "whole": lambda: discriminator.whole(eight),
            "whole_seen": lambda: resized(images, side),
            "part": lambda: discriminator.part(quarter(sixteen, *quarters)),
            "part_seen": lambda: resized(quarter(images, *quarters), side),
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def quarter(maps: Tensor, top: int, left: int) -> Tensor:
    """Return one of the four quarters of (N, C, S, S): the upper for a *top* of 0, the left for a *left* of 0."""
    half = maps.shape[2] // 2
    return maps[:, :, top * half : (top + 1) * half, left * half : (left + 1) * half]


def resized(images: Tensor, side: int) -> Tensor:
    """Return (N, C, S, S) with another side, by the mean over areas."""
    return interpolate(images, size=(side, side), mode="area")


class FastNets(Architecture):
    """FastGAN's networks, for few images: the generator's small maps gate large ones, the discriminator redraws.

    Liu et al. 2021 (arXiv:2101.04775) train them on 100 images for some hours on one GPU; they have 64 filters. Of 32,
    64, 128 or 256 px, without conditioning on classes. Other losses train them with ``arch.decoders=false``.
    """

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"train.batch_size": 8, "augment.colour": 1.0, "augment.translation": 0.125, "data.flip": True}
    )

    latent_dim: int = Field(default=256, ge=1, le=4096, description="numbers in a latent, from which an image is made")
    width: int = Field(default=64, ge=4, le=512, description="filters of maps of 128 px, in both networks")
    decoders: bool = Field(default=True, description="let the discriminator redraw; off for another loss than fastgan")

    def build(self, data: DataSpec) -> Networks:
        """Return both networks. Raise :class:`GanctlError` for other sizes."""
        if data.size not in SIZES:
            known = ", ".join(map(str, SIZES))
            raise GanctlError(f"fastgan draws {known} px, not {data.size}; choose one of these, with --size")
        networks = Networks(
            Generator(self.latent_dim, self.width, data), Discriminator(self.width, self.decoders, data)
        )
        for network in networks:
            init_normal(network)
        return networks
