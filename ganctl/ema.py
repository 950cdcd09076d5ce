"""The generator's averaged weights, which draw better images than the last ones do."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class EMA:
    """An exponential moving average of a network, whose half-life is a number of images and grows with those seen.

    The half-life is never more than ``ramp`` of the images seen so far, so that the noise of the first steps is soon
    forgotten (``ema_rampup`` in Karras et al. 2020, arXiv:2006.06676). Running statistics are averaged with the
    weights that they belong to; counters are copied.
    """

    def __init__(self, network: nn.Module, half_life: float, ramp: float = 0.05) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._half_life = half_life
        self._ramp = ramp
        mine, theirs = self.network.state_dict(), network.state_dict(keep_vars=True)
        pairs = [(mine[name], theirs[name]) for name in mine]
        self._averaged: list[tuple[Tensor, Tensor]] = [p for p in pairs if p[0].is_floating_point()]
        self._copied: list[tuple[Tensor, Tensor]] = [p for p in pairs if not p[0].is_floating_point()]

    def decay(self, seen: int, shown: int) -> float:
        """Return the weight of the old average after *shown* more images, when *seen* have been in all."""
        half_life = min(self._half_life, self._ramp * seen)
        return float(0.5 ** (shown / half_life)) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, seen: int, shown: int) -> None:
        """Move towards the network, which has been trained on *shown* more images, *seen* in all."""
        mine, theirs = map(list, zip(*self._averaged, strict=True))
        torch._foreach_lerp_(mine, theirs, 1 - self.decay(seen, shown))
        for copy, original in self._copied:
            copy.copy_(original)
