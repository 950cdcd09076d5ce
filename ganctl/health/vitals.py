"""Signs of how a training does, which mean the same under every loss; :mod:`ganctl.health.watch` judges them.

The discriminator's answers count by their order alone, for a critic's have no zero and no scale, and the samples by how
they differ among themselves and from the images, beside how images do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganctl import sampling
from ganctl.health.course import Look

if TYPE_CHECKING:
    from ganctl.trainer import Report, Trainer

EVERY, MEASURED_EVERY = 50, 10
"""Generator steps from one look to the next, at least, and between those whose answers and gradients are measured."""

SAMPLES = 64
"""That are looked at: the first of the sample sheet."""

SETS = 8
"""Of as many images each as there are samples: what the samples are compared with."""

FINE, COARSE = 16, 4
"""Sides to which images are shrunk, in pixels: to tell how two differ, and how one latent's sample changes."""

Pixels = NDArray[np.uint8]
"""Images (N, H, W, C)."""


def answers(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return ``separation``, the share of pairs of an image and a fake in which the image is judged more real.

    It is 1 where the logits (N,) or (N, M) tell all apart, 0.5 where they tell nothing, and 0 where every fake is
    judged more real than every image. Its square is there to tell its spread.
    """
    first, second = (logits.detach()[:SAMPLES].reshape(len(logits[:SAMPLES]), -1).mean(1) for logits in (real, fake))
    difference = first[:, None] - second
    share = ((difference > 0).float() + (difference >= 0).float()).mean() / 2
    return {"separation": share, "separation_square": share.square()}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """Return the norm of the gradient of each layer's weights, by its place among :func:`layers`."""
    found = {place: weight.grad for place, (_, weight) in enumerate(layers(network)) if weight.grad is not None}
    norms = torch._foreach_norm([*found.values()]) if found else ()
    return {f"gradient.{place}": norm for place, norm in zip(found, norms, strict=True)}


def layers(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """List the weights of layers that are trained, which are no mere vectors, with the layers' names."""
    return [
        (name.removesuffix(".original").removesuffix(".weight").removesuffix(".parametrizations"), parameter)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1
    ]


def finite(trainer: Trainer) -> bool:
    """Whether all numbers are finite that a checkpoint would keep of the networks and their optimisers."""
    networks = (trainer.generator, trainer.discriminator, trainer.ema.network)
    states = [network.state_dict() for network in networks]
    for optimiser in (trainer.g_optimiser, trainer.d_optimiser):
        states += [{key: value for key, value in state.items() if key != "step"} for state in optimiser.state.values()]
    values = [value for state in states for value in state.values()]
    tensors = [value for value in values if torch.is_tensor(value) and value.is_floating_point()]
    # Norms take a tenth of the time, and are finite only where all is, though large numbers make them overflow.
    quick = torch.stack(torch._foreach_norm(tensors)).isfinite().all()
    return bool(quick) or all(bool(tensor.isfinite().all()) for tensor in tensors)


class Vitals:
    """Takes the signs of *trainer*'s run by samples drawn on *layout*. It draws no random numbers."""

    def __init__(self, trainer: Trainer, layout: sampling.Layout, conditional: bool) -> None:
        """*conditional* tells whether the generator heeds the labels of *layout*."""
        self._trainer = trainer
        self._points = layout.points[:SAMPLES]
        self._labels = None if layout.labels is None else layout.labels[:SAMPLES]
        classes = self._labels.numpy() if self._labels is not None and conditional else np.full(len(self._points), -1)
        self._groups = {int(label): np.flatnonzero(classes == label) for label in np.unique(classes)}
        self._layers = [name for name, _ in layers(trainer.generator)]
        # More seldom where batches are small: drawing the samples takes less than a hundredth of the time.
        self._longer = max(round(0.7 * len(self._points) / trainer.settings.train.batch_size), 1)
        self._images: _Shape | None = None

    def due(self, step: int) -> bool:
        """Whether to look after *step*."""
        return step > 0 and step % (EVERY * self._longer) == 0

    def look(self, report: Report, generator: nn.Module) -> Look:
        """Return the signs at *report*, by samples of *generator*; answers and gradients are means since last time."""
        figures = self._trainer.meters["health"].read()
        images = self._images = self._images or self._usual()
        samples = np.concatenate(list(sampling.draw(generator, self._points, self._labels)))
        shape = _shape([samples[group] for group in self._groups.values()])
        contrast = _ratio(shape.contrast, images.contrast)
        # A sample with half the contrast is half as far from any other, and yet no copy.
        alike = images.nearest.median() / 4 * min(contrast, 1.0)
        return Look(
            report.step,
            report.epoch,
            report.images,
            finite=all(map(math.isfinite, figures.values())),
            separation=figures.get("separation", math.nan),
            separation_square=figures.get("separation_square", math.nan),
            gradients=self._gradients(figures),
            variety=_ratio(shape.variety, images.variety),
            twins=float((shape.nearest < alike).float().mean()),
            contrast=contrast,
            brightness=shape.brightness - images.brightness,
            saturation=_ratio(shape.saturation, images.saturation),
            # What wanders comes half as far again in twice the time.
            jump=self._jump(samples) / max(images.coarse_variety, _TINY) / math.sqrt(self._longer),
        )

    def _gradients(self, figures: Mapping[str, float]) -> dict[str, float]:
        places = range(len(self._layers))
        return {self._layers[place]: figures[key] for place in places if (key := f"gradient.{place}") in figures}

    def _jump(self, samples: Pixels) -> float:
        """Return how far a sample is from the last one of its latent, on average; keep these for the next time."""
        notes, small = self._trainer.notes, _small(samples, COARSE)
        before = notes.get("samples")
        # Whole numbers take less room, and a checkpoint that was read has no others than the run that goes on.
        notes["samples"] = small.mul(255).round().int().tolist()
        return 0.0 if before is None else float((small - torch.tensor(before) / 255).norm(dim=1).mean())

    def _usual(self) -> _Shape:
        """Return the shape of the images, of which each set has as many, and of the same classes, as samples are."""
        batches = self._trainer.batches
        found = [
            (len(group), batches.first(SETS * len(group), label if label >= 0 else None))
            for label, group in self._groups.items()
        ]
        sets = [[images[number * count :][:count] for count, images in found] for number in range(SETS)]
        shapes = [_shape(parts) for each in sets if (parts := [part for part in each if len(part) > 1])]
        if not shapes:  # one image of a class at most: there is nothing to compare with
            shapes = [_shape([np.concatenate([images for _, images in found])])]
        means = {name: float(np.mean([getattr(shape, name) for shape in shapes])) for name in _Shape._fields[1:]}
        return _Shape(torch.cat([shape.nearest for shape in shapes]), **means)


_TINY = 1e-6


class _Shape(NamedTuple):
    """What a set of images looks like, in units of a pixel's range."""

    nearest: Tensor
    """(N,): the distance of each image from the nearest other one of its group."""
    variety: float
    """Mean distance of two images of a group."""
    coarse_variety: float
    """The same of images shrunk to 4 pixels."""
    contrast: float
    """Mean standard deviation of the lightness within an image."""
    brightness: float
    """Mean lightness."""
    saturation: float
    """Mean difference between a pixel's strongest and its weakest channel."""


def _shape(groups: Sequence[Pixels]) -> _Shape:
    """Return the shape of *groups*, which are such images as should differ: those of a class, or all."""
    nearest, variety, coarse = [], [], []
    for images in groups:
        rows = _small(images, FINE)
        distances = torch.cdist(rows, rows)
        others = ~torch.eye(len(images), dtype=torch.bool)
        nearest.append(distances.masked_fill(~others, math.inf).min(1).values)
        variety.append(distances[others])
        coarse.append(torch.pdist(_small(images, COARSE)))
    pixels = torch.from_numpy(np.concatenate(groups)).float() / 255
    light = pixels.mean(3).flatten(1)
    return _Shape(
        torch.cat(nearest),
        variety=_mean(torch.cat(variety)),
        coarse_variety=_mean(torch.cat(coarse)),
        contrast=float(light.std(1).mean()),
        brightness=float(light.mean()),
        saturation=float((pixels.amax(3) - pixels.amin(3)).mean()),
    )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def _small(images: Pixels, side: int) -> Tensor:
    """Return *images* shrunk to *side* pixels, as rows of numbers in [0, 1]."""
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return nn.functional.adaptive_avg_pool2d(planes, min(side, planes.shape[-1])).flatten(1)


def _ratio(samples: float, images: float) -> float:
    """Return how much *samples* have of what *images* have; 1 where these have nothing of it."""
    return samples / images if images > _TINY else 1.0
