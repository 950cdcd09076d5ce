"""The figures in the rows of metrics.jsonl, by what they are drawn over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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


def by_protocol(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each metric by its name and, as JSON, its protocol: what two protocols say is never joined.

    They are in the order of their steps, and of two evaluations at one step the later one's is kept. The protocol that
    was used last comes last.
    """
    found: dict[tuple[str, str], dict[float, Row]] = {}
    for row in rows:
        name, step, value = row.get("name"), number(row.get("step")), number(row.get("value"))
        if row.get("kind") != "metric" or not isinstance(name, str):
            continue
        if step is None or math.isnan(step) or value is None:
            continue
        key = name, json.dumps(row["protocol"], sort_keys=True) if "protocol" in row else ""
        found[key] = found.pop(key, {}) | {step: row}
    return {key: [mine[step] for step in sorted(mine)] for key, mine in found.items()}


def apart(protocols: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each of *protocols* the parts that are not the same in all of them; ``none`` where one has no such."""
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    differing = [key for key in keys if any(other.get(key) != protocols[0].get(key) for other in protocols)]
    return [{key: protocol.get(key, "none") for key in differing} for protocol in protocols]


def number(value: object) -> float | None:
    """Return a figure of a row: nan for null and what is not finite, None for what is no figure."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is too large for float32 was no figure of a training, and would overflow the axes.
    return float(value) if abs(value) < 1e38 else math.nan
