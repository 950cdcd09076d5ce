"""DCGAN: an all-convolutional generator and discriminator (Radford, Metz & Chintala 2016, arXiv:1511.06434)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle

from ganctl.api import Architecture, DataSpec, Judgement, Networks
from ganctl.errors import GanctlError
from ganctl.nn import (
    ClassEmbedding,
    Conditioning,
    Head,
    Norm,
    WholeMap,
    bounded,
    check_classes,
    has_own_bias,
    init_normal,
    normalised,
)

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


class DCGAN(Architecture):
    """Strided convolutions, batch normalisation, ReLU in the generator and LeakyReLU in the discriminator.

    At 64 px with 64 filters and 100 latents it is the network of Radford et al. 2016 (arXiv:1511.06434): 3.58 M
    parameters in the generator and 2.77 M in the discriminator. Other sizes, 16 to 256 px, have as many layers as it
    takes to halve the side to between 4 and 7 px. Filters double with each halving, up to eight times the width.

    Conditioning multiplies the latents by learnt numbers of their class. ``embedding`` shows the discriminator a class
    as one more channel of the image (Mirza & Osindero 2014, arXiv:1411.1784); with ``auxiliary`` it has to tell the
    class (Odena et al. 2017, arXiv:1610.09585; for ``--loss acgan``); with ``projection`` it weighs its features by it
    (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    api_version = 1

    latent_dim: int = Field(default=100, ge=1, le=4096, description="numbers in a latent, from which an image is made")
    width: int = Field(
        default=64, ge=1, le=1024, description="filters of the layer nearest the image, in both networks"
    )
    g_width: int | None = Field(default=None, ge=1, le=1024, description="the generator's width, where it differs")
    d_width: int | None = Field(default=None, ge=1, le=1024, description="the discriminator's width, where it differs")
    kernel: Annotated[int, Field(ge=3, le=7)] | Literal["growing"] = Field(
        default=4, description="side of the convolutions' kernels, 3 to 7 pixels, or growing: 2i + 1 in layer i"
    )
    slope: float = Field(default=0.2, ge=0, lt=1, description="of LeakyReLU below zero")
    g_activation: Literal["relu", "leaky"] = Field(default="relu", description="the generator's activation")
    g_norm: Norm = Field(default="batch", description="normalisation of the generator")
    g_norm_last: bool = Field(default=False, description="normalise after the generator's activations, not before")
    d_norm: Norm = Field(default="batch", description="normalisation of the discriminator")
    stem: Literal["transposed", "dense"] = Field(
        default="transposed", description="how the generator begins: a transposed convolution, or a dense layer"
    )
    last: Literal["transposed", "conv"] = Field(
        default="transposed", description="what draws the image: the last doubling, or a convolution after it"
    )
    output: Literal["tanh", "sigmoid"] = Field(
        default="tanh", description="the generator's last activation; a sigmoid's range is scaled to that of the images"
    )
    head: Literal["conv", "dense"] = Field(
        default="conv", description="how the discriminator ends: a convolution, or flattened, dropout and dense"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="after each of the discriminator's convolutions")
    head_dropout: float = Field(default=0.0, ge=0, lt=1, description="before a dense head")
    conditioning: Conditioning = Field(default="none", description="how the networks know classes")

    def build(self, data: DataSpec) -> Networks:
        """Return both networks, initialised with N(0, 0.02).

        Raise :class:`GanctlError` outside 16 to 256 px, and for conditioning without classes.
        """
        if not MIN_SIZE <= data.size <= MAX_SIZE:
            raise GanctlError(
                f"dcgan draws {MIN_SIZE} to {MAX_SIZE} px, not {data.size}; choose such a data.size (--size)"
            )
        if self.head_dropout and self.head != "dense":
            raise GanctlError("arch.head_dropout comes before a dense head; set arch.head=dense, or arch.dropout")
        check_classes(self.conditioning, data)
        networks = Networks(Generator(self, data), Discriminator(self, data))
        for network in networks:
            init_normal(network)
        return networks

    def hints(self, data: DataSpec) -> Sequence[str]:
        """Warn of the checkerboards of kernels that the stride does not divide."""
        if self.kernel == "growing" or self.kernel % 2:
            return [
                f"arch.kernel={self.kernel} and stride 2 overlap unevenly, which can leave a checkerboard in images; "
                "4 does not"
            ]
        return ()

    def sides(self, size: int) -> list[int]:
        """Return the sides of the feature maps, from the image's on."""
        return halvings(size, self.kernels(1)[0])

    def kernels(self, count: int) -> list[int]:
        """Return the kernels of *count* layers in the order in which they are passed."""
        return [2 * i + 3 if self.kernel == "growing" else self.kernel for i in range(count)]

    def widths(self, levels: int, own: int | None) -> list[int]:
        """Return the filters of *levels* layers, from the one nearest the image on; *own* replaces ``width``."""
        return [(own or self.width) * min(2**i, 8) for i in range(levels)]


class DenseStem(nn.Linear):
    """Latents (N, Z, 1, 1) -> the first feature map (N, width, side, side)."""

    def __init__(self, latent_dim: int, width: int, side: int, bias: bool) -> None:
        super().__init__(latent_dim, width * side**2, bias)
        self.shape = (width, side, side)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents."""
        return super().forward(latents.flatten(1)).reshape(-1, *self.shape)


class TransposedStem(nn.ConvTranspose2d):
    """Latents (N, Z, 1, 1) -> the first feature map (N, width, side, side), by a transposed convolution.

    Of a single pixel that is a product of matrices, and several times as fast as one.
    """

    def forward(self, latents: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map latents."""
        inputs, *shape = self.weight.permute(0, 2, 3, 1).shape
        maps = latents.flatten(1) @ self.weight.permute(0, 2, 3, 1).reshape(inputs, -1)
        maps = maps.reshape(-1, *shape).permute(0, 3, 1, 2)
        return maps if self.bias is None else maps + self.bias[:, None, None]


class TransposedLast(nn.ConvTranspose2d):
    """Feature maps (N, C, S, S) -> images (N, few channels, 2S, 2S), by a transposed convolution of stride 2.

    With a kernel of 4 it is also a convolution to the four pixels that each position becomes (Shi et al. 2016,
    arXiv:1609.07009). To few channels that is twice as fast forward, but slower backward, and so for drawing only.
    """

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Draw images."""
        if torch.is_grad_enabled() or self.kernel_size != (4, 4):
            return super().forward(maps, output_size)
        # An even pixel sees the position before its own and its own, an odd one its own and the next.
        flipped = self.weight.flip(2, 3)
        kernels = [pad(flipped[:, :, y::2, x::2], (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        joined = torch.stack(kernels, 2).flatten(1, 2).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        return pixel_shuffle(conv2d(maps, joined, padding=1), 2)


class Generator(nn.Module):
    """Latents (N, Z), and labels (N,) or shares of classes (N, K) -> images (N, C, size, size) in [-1, 1]."""

    def __init__(self, options: DCGAN, data: DataSpec) -> None:
        super().__init__()
        sides = options.sides(data.size)[::-1]
        widths = options.widths(len(sides) - 1, options.g_width)[::-1]
        self.embedding: ClassEmbedding | None = None
        if options.conditioning != "none":
            self.embedding = ClassEmbedding(len(data.classes), options.latent_dim)

        def hidden(layer: nn.Module, width: int) -> list[nn.Module]:
            leaky = options.g_activation == "leaky"
            activation = nn.LeakyReLU(options.slope, inplace=True) if leaky else nn.ReLU(inplace=True)
            layer, *norm = normalised(layer, options.g_norm, width)
            return [layer, activation, *norm] if options.g_norm_last else [layer, *norm, activation]

        bias = not has_own_bias(options.g_norm)
        if options.stem == "dense":
            layers = hidden(DenseStem(options.latent_dim, widths[0], sides[0], bias), widths[0])
        else:
            layers = hidden(TransposedStem(options.latent_dim, widths[0], sides[0], bias=bias), widths[0])
        *kernels, last_kernel = options.kernels(len(sides))
        for i, (side, target) in enumerate(pairwise(sides)):
            draws = i == len(widths) - 1 and options.last == "transposed"
            width = data.channels if draws else widths[min(i + 1, len(widths) - 1)]
            padding = (kernels[i] - 1) // 2
            up = (TransposedLast if draws else nn.ConvTranspose2d)(
                widths[i], width, kernels[i], stride=2, padding=padding, bias=bias and not draws,
                output_padding=target - ((side - 1) * 2 - 2 * padding + kernels[i]),
            )  # fmt: skip
            layers += [up] if draws else hidden(up, width)
        if options.last == "conv":
            before, after = (last_kernel - 1) // 2, last_kernel // 2
            layers.append(nn.ZeroPad2d((before, after, before, after)))
            layers.append(nn.Conv2d(widths[-1], data.channels, last_kernel, bias=False))
        self.layers = nn.Sequential(*layers)
        self.sigmoid = options.output == "sigmoid"

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw an image from each latent."""
        if self.embedding is not None:
            latents = latents * self.embedding(labels)
        images = self.layers(latents[:, :, None, None])
        return 2 * images.sigmoid() - 1 if self.sigmoid else images.tanh()


class Discriminator(nn.Module):
    """Images (N, C, size, size), and labels (N,) -> logits (N,), or with class logits (N, K)."""

    def __init__(self, options: DCGAN, data: DataSpec) -> None:
        super().__init__()
        norm, spectral = options.d_norm, options.d_norm == "spectral"
        sides = options.sides(data.size)
        widths = options.widths(len(sides) - 1, options.d_width)
        channels, classes = data.channels, len(data.classes)
        self.sigmoid = options.output == "sigmoid"
        self.embedding: ClassEmbedding | None = None
        if options.conditioning == "embedding":
            self.embedding = ClassEmbedding(classes, data.size**2)
            channels += 1

        layers: list[nn.Module] = []
        for i, (width, kernel) in enumerate(zip(widths, options.kernels(len(widths)), strict=True)):
            # The first layer sees pixels and is not batch-normalised, or a uniform tint would be invisible to it. Where
            # each image is normalised on its own afterwards, only an offset lets its contrast be seen.
            own: Norm = norm if i or spectral else "none"
            bias = norm in ("layer", "instance") if i == 0 else not has_own_bias(norm)
            down = nn.Conv2d(channels, width, kernel, stride=2, padding=(kernel - 1) // 2, bias=bias)
            layers += [*normalised(down, own, width), nn.LeakyReLU(options.slope, inplace=True)]
            layers += [nn.Dropout(options.dropout)] if options.dropout else []
            channels = width
        self.layers = nn.Sequential(*layers)

        def ending(outputs: int) -> nn.Module:
            if options.head == "conv":
                return bounded(WholeMap(channels, outputs, sides[-1], bias=False), spectral)
            dense = bounded(nn.Linear(channels * sides[-1] ** 2, outputs), spectral)
            return nn.Sequential(nn.Flatten(), nn.Dropout(options.head_dropout), dense)

        projects = options.conditioning == "projection"
        self.head = Head(
            ending(1),
            classifier=ending(classes) if options.conditioning == "auxiliary" else None,
            projection=bounded(nn.Linear(classes, channels, bias=False), spectral) if projects else None,
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | Judgement:
        """Judge each image; larger means more real."""
        if self.sigmoid:
            images = (images + 1) / 2
        if self.embedding is not None:
            images = torch.cat([images, self.embedding(labels).reshape(-1, 1, *images.shape[2:])], dim=1)
        return self.head(self.layers(images), labels)
