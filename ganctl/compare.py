"""Runs side by side: the settings in which they differ, and the figures that they came to. No torch."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from ganctl.config import flatten
from ganctl.errors import GanctlError, plain
from ganctl.figures import Row, apart, by_protocol
from ganctl.run import Run, open_run

NOTE = (
    "Best is the lowest loss, the score or accuracy nearest 0.5, as an even game has it, and the highest speed; "
    "figures are means over an epoch. Metrics are of the runs' own protocol, real images against real ones below them."
)

BOOKKEEPING = ("log_every", "sample_every", "checkpoint_every", "checkpoint_minutes", "eval_every", "keep", "log")
"""Of the table train: what does not change what is learned."""

PLACE = ("kind", "step", "epoch", "images", "seconds")
"""What a row of metrics.jsonl says of itself; the rest are figures."""

Rows: TypeAlias = list[tuple[str, ...]]
"""Of a table; the first is its header."""


class Figure(NamedTuple):
    """What became of a figure over the epochs. A value that is not finite is None, and worse than any other."""

    final: float | None
    best: float | None
    best_epoch: int | None
    worst: float | None
    worst_epoch: int | None


NO_FIGURE = Figure(None, None, None, None, None)


class Measured(NamedTuple):
    """What became of a metric over the evaluations."""

    figure: Figure
    floor: float | None
    """Of real images against real ones."""
    protocol: Mapping[str, Any]


class Column(NamedTuple):
    """One run. What has no row yet is None."""

    run: str
    settings: Mapping[str, Any]
    """Those in which the runs differ, by dotted key; a run that has no value lacks the key."""
    steps: int | None
    images: int | None
    minutes: float | None
    figures: Mapping[str, Figure]
    metrics: Mapping[str, Measured]
    """Those that every run which has them has by one protocol."""


def find_runs(paths: Iterable[Path]) -> list[Run]:
    """Return the runs at *paths*, each once; a folder that is no run stands for those in it.

    Raise :class:`GanctlError` for a path where there is neither.
    """
    runs: dict[Path, Run] = {}
    for path in paths:
        inside = []
        if path.is_dir() and not Run(path).config.is_file():
            inside = sorted((folder for folder in path.iterdir() if Run(folder).config.is_file()), key=_by_number)
            if not inside:
                raise GanctlError(f"{plain(path)} is neither a run folder nor a folder of them")
        for folder in inside or [path]:
            runs.setdefault(folder.resolve(), open_run(folder))
    return list(runs.values())


def _by_number(path: Path) -> list[float | str]:
    """Order names as people do: slope=0.05 before slope=0.1, and width=8 before width=16."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.name)
    return [float(part) if number % 2 else part for number, part in enumerate(parts)]


class Comparison(NamedTuple):
    """Runs side by side."""

    columns: list[Column]
    refused: list[str]
    """Of metrics that are not compared, because their protocols differ, in which part they do."""


def compare(runs: Sequence[Run]) -> Comparison:
    """Read *runs*, of which any may be still in training."""
    settings = [_settings(run) for run in runs]
    differing = [
        key
        for key in dict.fromkeys(key for each in settings for key in each)
        if any(key not in each or each[key] != settings[0].get(key) for each in settings)
    ]
    names = [plain(run.path.resolve().name) for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    measured, refused = _metrics(names, runs)
    columns = [
        _column(name, {key: each[key] for key in differing if key in each}, run, metrics)
        for name, each, run, metrics in zip(names, settings, runs, measured, strict=True)
    ]
    return Comparison(columns, refused)


def _metrics(names: Sequence[str], runs: Sequence[Run]) -> tuple[list[dict[str, Measured]], list[str]]:
    """Return the metrics of each run that can be compared, and why the others cannot."""
    found = [_by_protocol(run) for run in runs]
    measured: list[dict[str, Measured]] = [{} for _ in runs]
    refused: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for mine in found for name in mine):
        # The newest protocol comes last.
        having = [number for number, mine in enumerate(found) if name in mine]
        first, *others = (list(found[number][name]) for number in having)
        shared = [protocol for protocol in first if all(protocol in other for other in others)]
        if not shared:
            reason = _refusal([names[number] for number in having], [first, *others])
            refused.setdefault(reason, []).append(plain(name))
            continue
        for number in having:
            measured[number][name] = _measured(found[number][name][shared[-1]])
    lines = [
        f"{', '.join(metrics)} {'are' if metrics[1:] else 'is'} not compared: {reason}"
        for reason, metrics in refused.items()
    ]
    return measured, [f"{line}; ganctl evaluate measures a run anew" for line in lines]


def _by_protocol(run: Run) -> dict[str, dict[str, list[Row]]]:
    """Return the rows of each metric of *run* by its protocol, of which the one that was used last comes last."""
    found: dict[str, dict[str, list[Row]]] = {}
    for (name, protocol), rows in by_protocol(run.rows()).items():
        whole = [r for r in rows if isinstance(r.get("epoch"), int) and isinstance(r.get("lower_is_better"), bool)]
        if protocol and whole:
            found.setdefault(name, {})[protocol] = whole
    return found


def _refusal(names: Sequence[str], protocols: Sequence[Sequence[str]]) -> str:
    """Say in what the newest protocols of a metric differ, by the first two runs of which they do."""
    newest = [json.loads(each[-1]) for each in protocols]
    other = next(number for number, protocol in enumerate(newest) if protocol != newest[0])
    one, two = apart([newest[0], newest[other]])
    return ", ".join(
        f"{plain(key)} is {plain(one[key])} in {names[0]} and {plain(two[key])} in {names[other]}" for key in one
    )


def _measured(rows: Sequence[Row]) -> Measured:
    """Return what became of a metric in *rows* of one protocol."""
    sign = 1 if rows[-1]["lower_is_better"] else -1
    course = [(_number(row.get("value")), int(row["epoch"])) for row in rows]
    protocol = rows[-1]["protocol"]
    return Measured(_figure(course, lambda value: sign * value), _number(rows[-1].get("floor")), protocol)


def _settings(run: Run) -> dict[str, Any]:
    tables = {name: table for name, table in run.tables().items() if name not in ("ganctl", "metric")}
    return {key: value for key, value in flatten(tables) if key not in {f"train.{name}" for name in BOOKKEEPING}}


def _column(name: str, settings: Mapping[str, Any], run: Run, metrics: Mapping[str, Measured]) -> Column:
    rows = [row for row in run.rows() if row.get("kind") in ("step", "epoch")]
    place = rows[-1] if rows else {}
    steps, images, seconds = (_number(place.get(key)) for key in ("step", "images", "seconds"))
    return Column(
        name,
        settings,
        None if steps is None else int(steps),
        None if images is None else int(images),
        None if seconds is None else round(seconds / 60, 2),
        _figures([row for row in rows if row["kind"] == "epoch" and isinstance(row.get("epoch"), int)]),
        metrics,
    )


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Return what became of each figure in *rows*, one an epoch, which are in order."""
    figures = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in PLACE):
        course = [(_number(row[name]), int(row["epoch"])) for row in rows if name in row]
        figures[name] = _figure(course, _badness(name))
    return figures


def _figure(course: Sequence[tuple[float | None, int]], badness: Callable[[float], float]) -> Figure:
    """Return what became of a figure over its values and their epochs, which are in order."""
    finite = [(value, epoch) for value, epoch in course if value is not None]
    best, best_epoch = min(finite, key=lambda at: badness(at[0]), default=(None, None))
    lost = next((epoch for value, epoch in course if value is None), None)
    worst, worst_epoch = max(finite, key=lambda at: badness(at[0])) if lost is None else (None, lost)
    return Figure(course[-1][0], best, best_epoch, worst, worst_epoch)


def _badness(name: str) -> Callable[[float], float]:
    """Return what is the lower, the better the figure called *name* is."""
    if name.startswith("score_") or name == "accuracy_d":
        return lambda value: abs(value - 0.5)
    if name == "images_per_second":
        return lambda value: -value
    return lambda value: value


def _number(value: object) -> float | None:
    """Return *value* if it is a finite number. (Of an integer beyond all floats, there is no float.)"""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    return None


def table(columns: Sequence[Column]) -> Rows:
    """Return a table with a column a run, its cells in words."""
    rows = [("", *(column.run for column in columns))]
    for key in _keys(column.settings for column in columns):
        rows.append((key, *("" if key not in c.settings else plain(c.settings[key]) for c in columns)))
    rows.append(("steps", *("" if column.steps is None else f"{column.steps:,}" for column in columns)))
    rows.append(("images", *("" if column.images is None else f"{column.images:,}" for column in columns)))
    rows.append(("minutes", *("" if column.minutes is None else f"{column.minutes:.1f}" for column in columns)))
    for key in _keys(column.metrics for column in columns):
        measured = [column.metrics.get(key) for column in columns]
        figures = [None if one is None else one.figure for one in measured]
        rows += _rows_of(key, figures)
        floors = ("" if one is None or one.floor is None else _cell(one.floor) for one in measured)
        rows.append((f"{plain(key)} of real images", *floors))
    for key in _keys(column.figures for column in columns):
        rows += _rows_of(key, [column.figures.get(key) for column in columns])
    return rows


def _rows_of(key: str, figures: Sequence[Figure | None]) -> Rows:
    return [
        (plain(key), *("" if f is None else _cell(f.final) for f in figures)),
        (f"{plain(key)} best", *("" if f is None else _cell(f.best, f.best_epoch) for f in figures)),
        (f"{plain(key)} worst", *("" if f is None else _cell(f.worst, f.worst_epoch) for f in figures)),
    ]


def _keys(tables: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))


def _cell(value: float | None, epoch: int | None = None) -> str:
    words = "not finite" if value is None else f"{value:.4g}"
    return words if epoch is None else f"{words} (epoch {epoch})"


def fitting(rows: Rows) -> Iterator[Rows]:
    """Cut a table, between columns, into such as the terminal is wide enough for; each has the first column."""
    room = shutil.get_terminal_size().columns
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    chosen: list[int] = []
    for number in range(1, len(widths)):
        if chosen and widths[0] + sum(widths[n] for n in chosen) + widths[number] > room:
            yield [(row[0], *(row[n] for n in chosen)) for row in rows]
            chosen = []
        chosen.append(number)
    yield [(row[0], *(row[n] for n in chosen)) for row in rows]


def as_json(columns: Sequence[Column]) -> str:
    """Return a list of objects, one a run."""
    objects = [
        column._asdict()
        | {
            "figures": {name: figure._asdict() for name, figure in column.figures.items()},
            "metrics": {
                name: one.figure._asdict() | {"floor": one.floor, "protocol": one.protocol}
                for name, one in column.metrics.items()
            },
        }
        for column in columns
    ]
    return json.dumps(objects, indent=2, default=str) + "\n"


def as_csv(columns: Sequence[Column]) -> str:
    """Return a row a run, a cell a value; what a run does not have, or is not finite, is empty."""
    settings = _keys(column.settings for column in columns)
    every = [{name: one.figure for name, one in column.metrics.items()} | dict(column.figures) for column in columns]
    figures = _keys(every)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{name}_{part}" for name in figures for part in Figure._fields]
    writer.writerow(["run", *settings, "steps", "images", "minutes", *parts])
    for column, mine in zip(columns, every, strict=True):
        row = [column.run, *(column.settings.get(key) for key in settings)]
        row += [column.steps, column.images, column.minutes]
        writer.writerow(row + [value for name in figures for value in mine.get(name, NO_FIGURE)])
    return text.getvalue()


def as_markdown(columns: Sequence[Column]) -> str:
    """Return a Markdown table with a column a run."""
    header, *rows = ([_escaped(cell) for cell in row] for row in table(columns))
    lines = [header, ["---", *["---:"] * len(columns)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{NOTE}\n"


def _escaped(cell: str) -> str:
    """Return *cell* so that Markdown shows it as it is; an underscore within a word means nothing there."""
    return re.sub(r"[\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", cell)


FORMS: Mapping[str, Callable[[Sequence[Column]], str]] = MappingProxyType(
    {"json": as_json, "csv": as_csv, "md": as_markdown}
)
"""Files' endings, and what to write to such a file."""


def form_of(path: Path) -> str:
    """Return the form in which to write *path*, by its name. Raise :class:`GanctlError` where that does not tell."""
    form = path.suffix[1:].lower()
    if form not in FORMS:
        raise GanctlError(f"-o {plain(path)}: name a .json, .csv or .md, or add --json, --csv or --markdown")
    return form
