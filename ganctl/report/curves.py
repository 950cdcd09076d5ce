"""The rows of runs -> charts: which curves stand in the same axes, and their points. Plain data, ready for JSON."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ganctl.errors import plain
from ganctl.figures import Points, Row, apart, by_protocol, figures_by, number

COLOURS, DASHES = 8, 4
"""Kinds of colour and of dash in the page's style sheet; after so many curves the next kind of dash begins."""
FLOOR = 2 * COLOURS - 1
"""The look of a metric's floor: the last colour, a grey, dashed."""
FEWEST_POINTS, MOST_POINTS, POINTS = 50, 1500, 60_000
"""Of one curve at least and at most, and of all curves together."""
LONGEST = 500
"""Characters of a protocol's part that are shown."""

KNOWN = {
    "loss_g": ("generator, loss_g", 1),
    "loss_d": ("discriminator, loss_d", 0),
    "loss_d_real": ("loss_d_real", 2),
    "loss_d_fake": ("loss_d_fake", 3),
    "score_real": ("D(x), of real images", 2),
    "score_fake": ("D(G(z)), of fakes", 3),
    "accuracy_d": ("discriminator", 0),
}
"""What has the same name and colour in every chart."""
NO_TERMS = {"kind", "step", "epoch", "images", "seconds", "images_per_second"}

SCORES = "mean score: how probably real they are"
ACCURACY = "share of images that the discriminator judges rightly"


class Curve(NamedTuple):
    """A line: what it is called, how it looks, and its points over each of the things that it can be drawn over."""

    label: str
    look: int
    steps: list[float]
    images: list[float | None]
    minutes: list[float | None]
    values: list[float | None]


class Chart(NamedTuple):
    """One pair of axes."""

    title: str
    unit: str
    share: bool
    """Whether values go from 0 to 1."""
    curves: list[Curve]

    def data(self) -> dict[str, Any]:
        """Return what the page draws."""
        looks = [{"look": c.look % COLOURS, "dash": c.look // COLOURS % DASHES} for c in self.curves]
        return {
            "share": self.share,
            "curves": [curve._asdict() | look for curve, look in zip(self.curves, looks, strict=True)],
        }


class Metric(NamedTuple):
    """The values of one metric by one protocol."""

    name: str
    protocol: Mapping[str, str]
    lower_is_better: bool | None
    floor: float | None
    """What real images reach against real ones."""
    values: Points
    """By steps, in their order."""
    epochs: Points

    @property
    def best(self) -> float | None:
        """The step of the best value, if it is known which is better."""
        finite = [step for step, value in self.values.items() if math.isfinite(value)]
        if self.lower_is_better is None or not finite:
            return None
        sign = 1 if self.lower_is_better else -1
        return min(finite, key=lambda step: sign * self.values[step])


def metrics(rows: Iterable[Row]) -> dict[tuple[str, str], Metric]:
    """Return what the rows of kind ``metric`` say, by name and protocol."""
    return {key: _metric(mine) for key, mine in by_protocol(rows).items()}


def _metric(rows: Sequence[Row]) -> Metric:
    """Return what *rows* of one name and protocol say."""
    newest = rows[-1]
    lower, floor = newest.get("lower_is_better"), number(newest.get("floor"))
    points = figures_by(rows, "step")
    return Metric(
        plain(newest["name"]),
        _texts(newest.get("protocol")),
        lower if isinstance(lower, bool) else None,
        floor if floor is not None and math.isfinite(floor) else None,
        points["value"],
        {step: points.get("epoch", {}).get(step, math.nan) for step in points["value"]},
    )


def _texts(protocol: object) -> dict[str, str]:
    """Return a protocol as keys and texts, whatever a row has in its place."""
    if not isinstance(protocol, Mapping):
        return {}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in protocol.items()}
    return {plain(key)[:LONGEST]: plain(text)[:LONGEST] for key, text in texts.items()}


class Group(NamedTuple):
    """What runs reached in one metric by one protocol: figures that can be compared."""

    name: str
    protocol: Mapping[str, str]
    apart: Mapping[str, str]
    """The parts of the protocol that tell this group from others of the same name."""
    runs: Mapping[int, Metric]
    """By the runs' numbers."""

    @property
    def differs(self) -> str:
        """What tells this group from others of its name, in words."""
        return ", ".join(f"{key}: {value}" for key, value in self.apart.items())

    @property
    def first(self) -> Metric:
        """One of the runs' metrics; name, protocol, floor and direction are the same in all."""
        return next(iter(self.runs.values()))


def groups(rows: Sequence[Iterable[Row]]) -> list[Group]:
    """Put the metrics of several runs' *rows* together where name and protocol agree."""
    joined: dict[tuple[str, str], dict[int, Metric]] = {}
    for run, mine in enumerate(rows):
        for key, metric in metrics(mine).items():
            joined.setdefault(key, {})[run] = metric
    found = []
    for name, same in groupby(sorted(joined.items()), key=lambda item: item[0][0]):
        of_name = [runs for _, runs in same]
        protocols = [next(iter(runs.values())).protocol for runs in of_name]
        for runs, protocol, differing in zip(of_name, protocols, apart(protocols), strict=True):
            found.append(Group(plain(name), protocol, differing, runs))
    return found


def foremost(scored: Iterable[Group]) -> list[Group]:
    """Return of each metric the group of the most evaluations."""
    found: dict[str, Group] = {}
    for group in sorted(scored, key=lambda group: sum(len(metric.values) for metric in group.runs.values())):
        found[group.name] = group
    return list(found.values())


def charts(names: Sequence[str], rows: Sequence[Sequence[Row]], scored: Sequence[Group]) -> list[Chart]:
    """Return the charts of runs called *names*: of one, each network's curves; of several, each figure's, a line a run.

    *scored* are the groups of their metrics, of which each gets axes of its own if there is a line to draw.
    """
    found = [figures_by((row for row in mine if row.get("kind") == "step"), "step") for mine in rows]
    count = sum(map(len, found)) + sum(len(group.runs) + 1 for group in scored)
    most = min(max(POINTS // max(count, 1), FEWEST_POINTS), MOST_POINTS)
    axes = [_Axes(mine, most) for mine in found]
    drawn = _of_one(found[0], axes[0]) if len(names) == 1 else _of_several(names, found, axes)
    for group in scored:
        if all(len(metric.values) < 2 for metric in group.runs.values()):
            continue
        if len(names) == 1:
            curves = [axes[0].curve("generated images", 1, group.first.values)]
        else:
            curves = [axes[run].curve(names[run], run, metric.values) for run, metric in group.runs.items()]
        first = group.first
        if first.floor is not None:
            steps = sorted({step for metric in group.runs.values() for step in metric.values})
            longest = next(run for run, metric in group.runs.items() if steps[-1] in metric.values)
            floor = dict.fromkeys(steps, first.floor)
            curves.append(axes[longest].curve("real against real", FLOOR, floor))
        better = {True: "lower is better", False: "higher is better", None: ""}[first.lower_is_better]
        drawn.append(Chart(group.name, "; ".join(filter(None, (better, group.differs))), False, curves))
    return [chart for chart in drawn if chart.curves]


def _of_one(found: Mapping[str, Points], axes: _Axes) -> list[Chart]:
    def known(*names: str) -> list[Curve]:
        return [axes.curve(*KNOWN[name], found[name]) for name in names if name in found]

    terms = known("loss_d_real", "loss_d_fake")
    others = sorted(name for name in found if name not in NO_TERMS and name not in KNOWN)
    terms += [axes.curve(plain(name), look, found[name]) for look, name in enumerate(others, start=4)]
    return [
        Chart("Losses", "of both networks", False, known("loss_g", "loss_d")),
        Chart("Terms of the losses", "what they are sums of", False, terms),
        Chart("Scores", SCORES, True, known("score_real", "score_fake")),
        Chart("Accuracy", ACCURACY, True, known("accuracy_d")),
    ]


def _of_several(names: Sequence[str], found: Sequence[Mapping[str, Points]], axes: Sequence[_Axes]) -> list[Chart]:
    def of(key: str) -> list[Curve]:
        return [axes[run].curve(names[run], run, mine[key]) for run, mine in enumerate(found) if key in mine]

    return [
        Chart("Loss of the generator", "loss_g", False, of("loss_g")),
        Chart("Loss of the discriminator", "loss_d", False, of("loss_d")),
        Chart("Score of real images, D(x)", SCORES, True, of("score_real")),
        Chart("Score of fakes, D(G(z))", SCORES, True, of("score_fake")),
        Chart("Accuracy", ACCURACY, True, of("accuracy_d")),
    ]


class _Axes:
    """What a run's curves can be drawn over: its images and minutes at each step."""

    def __init__(self, found: Mapping[str, Points], most: int) -> None:
        self._images, self._seconds = (_finite(found.get(name, {})) for name in ("images", "seconds"))
        self._most = most

    def curve(self, label: str, look: int, points: Points) -> Curve:
        points = _thinned(points, self._most)
        minutes = [None if (s := _between(self._seconds, step)) is None else s / 60 for step in points]
        return Curve(
            label,
            look,
            list(points),
            [_rounded(_between(self._images, step)) for step in points],
            [_rounded(value) for value in minutes],
            [_rounded(value) for value in points.values()],
        )


def _finite(points: Points) -> tuple[list[float], list[float]]:
    kept = {step: value for step, value in points.items() if math.isfinite(value)}
    return list(kept), list(kept.values())


def _between(points: tuple[list[float], list[float]], step: float) -> float | None:
    """Return the value at *step*, on the straight line between its neighbours; None behind the last of them."""
    steps, values = points
    place = bisect_left(steps, step)
    if place == len(steps) or step < 0:
        return None
    if steps[place] == step:
        return values[place]
    before, start = (steps[place - 1], values[place - 1]) if place else (0.0, 0.0)
    return start + (values[place] - start) * (step - before) / (steps[place] - before)


def _thinned(points: Points, most: int) -> Points:
    """Return at most *most* points, each the mean of as many that follow each other, at the place of the last."""
    each = math.ceil(len(points) / most)
    if each <= 1:
        return points
    places, values = list(points), list(points.values())
    found = {}
    for start in range(0, len(places), each):
        there = [value for value in values[start : start + each] if math.isfinite(value)]
        found[places[start : start + each][-1]] = sum(there) / len(there) if there else math.nan
    return found


def _rounded(value: float | None) -> float | None:
    """Return *value* to six digits, which no eye tells from more; None, which is JSON, if it is not finite."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
