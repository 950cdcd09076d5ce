"""Means of figures over many steps, accumulated on the device, so that a step never waits to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Meter:
    """Means since last read. Figures that are added together are counted together."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[Tensor, int]] = {}
        self._since: tuple[int, float] = (0, 0.0)

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Add one observation of each of *figures*, which are scalars."""
        names = tuple(figures)
        values = torch.stack([value.detach().float() for value in figures.values()])
        total, count = self._sums.get(names, (0, 0))
        self._sums[names] = total + values, count + 1

    def peek(self) -> dict[str, float]:
        """Return the means so far. This waits for the device."""
        totals: dict[str, tuple[float, int]] = {}
        for names, (sums, count) in self._sums.items():
            for name, value in zip(names, sums.tolist(), strict=True):
                # A figure may come in different company, as a loss does in steps with a penalty and without.
                total, number = totals.get(name, (0.0, 0))
                totals[name] = total + value, number + count
        return {name: total / number for name, (total, number) in totals.items()}

    def read(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = self.peek()
        self._sums = {}
        return means

    def speed(self, images: int, seconds: float) -> dict[str, float]:
        """Return images_per_second since this was last asked, given how many of either there have been in all."""
        before, self._since = self._since, (images, seconds)
        return {"images_per_second": (images - before[0]) / max(seconds - before[1], 1e-9)}

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return all that :meth:`restore` needs, as tensors and as plain values."""
        tensors = {",".join(names): total for names, (total, _) in self._sums.items()}
        return tensors, {"counts": {",".join(n): c for n, (_, c) in self._sums.items()}, "since": list(self._since)}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go back to what :meth:`state` returned."""
        self._sums = {tuple(key.split(",")): (tensors[key], count) for key, count in values["counts"].items()}
        self._since = values["since"][0], values["since"][1]
