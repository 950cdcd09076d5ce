"""What is seen of a training at one time, and how it has gone so far. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple

REMEMBERED = 11
"""Looks that are kept, so that the last can be compared with the tenth before it."""

FEW, SOME = 4, 8
"""Looks over which a figure that jumps about is averaged: what changes quickly, and what does so slowly."""

SETTLED = 500
"""The step from which it counts how near the samples came to the images in brightness and saturation."""


class Look(NamedTuple):
    """What is seen at one time; :mod:`ganctl.health.vitals` looks."""

    step: int
    epoch: int
    images: int
    finite: bool
    """Whether the losses, the discriminator's answers and the gradients are."""
    separation: float
    """How well the discriminator tells images from fakes: 1 all, 0.5 none, 0 all of them the wrong way round."""
    separation_square: float
    """Mean of its square."""
    gradients: Mapping[str, float]
    """Norms, by the generator's layers."""
    variety: float
    """How much two samples differ, as a share of how much two images do."""
    twins: float
    """Share of the samples that are near-copies of others."""
    contrast: float
    """Of the samples, as a share of the images'."""
    brightness: float
    """Of the samples, less that of the images; black is 0 and white 1."""
    saturation: float
    """Of the samples, as a share of the images'."""
    jump: float
    """How much the sample of a latent has changed since the last look, as a share of how much two images differ."""


OFFSETS: Mapping[str, Callable[[Look], float]] = MappingProxyType(
    {"brightness": lambda look: look.brightness, "saturation": lambda look: math.log(max(look.saturation, 0.01))}
)
"""How far the samples are from the images, either way: the saturation's as a logarithm."""


class Course:
    """The last looks, and what of the earlier ones is needed to judge them by.

    All of it is in *state*, of plain values that go through JSON, so that a checkpoint can keep it.
    """

    def __init__(self, state: MutableMapping[str, Any]) -> None:
        self._state = state
        self.looks = [Look(*look) for look in state.get("looks", ())]
        self._peaks: dict[str, float] = state.setdefault("peaks", {})
        self._nearest: dict[str, list[Any]] = state.setdefault("nearest", {})

    def add(self, look: Look) -> None:
        """Take in the next look."""
        self.looks = self._state["looks"] = [*self.looks, look][-REMEMBERED:]
        for layer, norm in look.gradients.items():
            if math.isfinite(norm):
                self._peaks[layer] = max(norm, self._peaks.get(layer, 0.0))
        for name in OFFSETS:
            if look.step >= SETTLED and self.distance(name) <= self._nearest.get(name, [math.inf])[0]:
                self._nearest[name] = [self.distance(name), self.offset(name), look.epoch]

    @property
    def now(self) -> Look:
        """The last look."""
        return self.looks[-1]

    @property
    def likeness(self) -> float:
        """Variety as a share of what samples of such contrast should have."""
        return self.now.variety / max(self.now.contrast, 1e-6)

    @property
    def growth(self) -> float:
        """How many times the contrast of ten looks ago there is; infinite before there were ten."""
        whole = len(self.looks) == REMEMBERED
        return self.now.contrast / max(self.looks[0].contrast, 1e-6) if whole else math.inf

    @property
    def fades(self) -> dict[str, float]:
        """What is left of each layer's gradient, as a share of its highest."""
        norms = self.now.gradients.items()
        return {layer: norm / self._peaks[layer] for layer, norm in norms if self._peaks.get(layer)}

    @property
    def spread(self) -> float:
        """Standard deviation of the separation."""
        mean = self._mean(lambda look: look.separation, FEW)
        return math.sqrt(max(0.0, self._mean(lambda look: look.separation_square, FEW) - mean**2))

    @property
    def jump(self) -> float:
        """Mean jump."""
        return self._mean(lambda look: look.jump, SOME)

    def offset(self, name: str) -> float:
        """Return the mean of one of the :data:`OFFSETS`; 0 is as the images are."""
        return self._mean(OFFSETS[name], SOME)

    def distance(self, name: str) -> float:
        """Return the mean size of one of the :data:`OFFSETS`, which does not vanish while its sign changes."""
        return self._mean(lambda look: abs(OFFSETS[name](look)), SOME)

    def nearest(self, name: str) -> tuple[float, int]:
        """Return the offset *name* when the samples stayed nearest to the images in it, and the epoch."""
        _, offset, epoch = self._nearest.get(name, (0.0, self.offset(name), self.now.epoch))
        return offset, epoch

    def drift(self, name: str) -> float:
        """Return how much further from the images than they once were the samples are in *name*."""
        now = self.distance(name)
        return now - self._nearest.get(name, [now])[0]

    def _mean(self, figure: Callable[[Look], float], count: int) -> float:
        last = self.looks[-count:]
        return sum(map(figure, last)) / len(last)
