"""The figures in the rows of metrics.jsonl, by what they are drawn over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Points: TypeAlias = Mapping[float, float]
"""Values by step or epoch; nan, which leaves a gap in the curve, where there is none."""


def figures_by(rows: Iterable[Row], x: str) -> dict[str, Points]:
    """Return each figure of *rows* as points over their *x*; what is no figure is left out, and null is nan."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        place = number(row.get(x))
        if place is None or math.isnan(place):
            continue
        for name, value in row.items():
            if (figure := number(value)) is not None:
                found.setdefault(name, {})[place] = figure
    return {name: dict(sorted(points.items())) for name, points in found.items()}


def number(value: object) -> float | None:
    """Return a figure of a row: nan for null and what is not finite, None for what is no figure."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is too large for float32 was no figure of a training, and would overflow the axes.
    return float(value) if abs(value) < 1e38 else math.nan
