"""The generator's averaged weights, which draw better images than the last ones do."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class EMA:
    """An exponential moving average of a network, whose half-life is a number of images and grows with those drawn.

    The half-life is never more than ``ramp`` of the images drawn so far, so that the noise of the first steps is soon
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

    def decay(self, total: int, more: int) -> float:
        """Return the weight of the old average after *more* images, when it trained on *total* in all."""
        half_life = min(self._half_life, self._ramp * total)
        return float(0.5 ** (more / half_life)) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, total: int, more: int) -> None:
        """Move towards the network, which has been trained on *more* images, *total* in all."""
        mine, theirs = map(list, zip(*self._averaged, strict=True))
        torch._foreach_lerp_(mine, theirs, 1 - self.decay(total, more))
        for copy, original in self._copied:
            copy.copy_(original)
