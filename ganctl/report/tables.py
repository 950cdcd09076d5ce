"""What runs say of themselves: facts, metrics, settings, networks, health, and how to repeat them."""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ganctl.config import BUILT_IN, flatten
from ganctl.errors import plain
from ganctl.figures import Row, number
from ganctl.report.curves import Group
from ganctl.run import Run

LONGEST = 500
"""Characters of a setting's value that are shown."""
MOST_EPOCHS = 200
"""Rows of the table of epochs."""

FIGURES = ("loss_g", "loss_d", "loss_d_real", "loss_d_fake", "score_real", "score_fake", "accuracy_d")
"""The columns of the table of epochs."""


class Setting(NamedTuple):
    """A setting, and where it came from: empty where the run did not record that."""

    key: str
    value: str
    source: str


class Layer(NamedTuple):
    """A layer of a network, the shape of its output, and how many parameters it has."""

    name: str
    kind: str
    shape: str
    parameters: int


class Network(NamedTuple):
    """A network, layer by layer."""

    name: str
    layers: list[Layer]

    @property
    def parameters(self) -> int:
        """Their number."""
        return sum(layer.parameters for layer in self.layers)


class Sickness(NamedTuple):
    """A health event, from where it began to where it ended; where it did not end, that is empty."""

    event: str
    text: str
    begin: str
    end: str
    ending: str
    """What was said when it ended."""


class Reached(NamedTuple):
    """What a run came to in a metric."""

    run: int
    last: str
    best: str
    at: str
    """Where it was best."""
    floor: str
    times: int


class Epochs(NamedTuple):
    """The means of each epoch, as a table; of a long run not of all *of* them."""

    names: list[str]
    rows: list[tuple[str, list[str]]]
    of: int


class Repeat(NamedTuple):
    """What it takes to have the run again."""

    command: str
    versions: list[tuple[str, str]]
    config: str
    url: str
    """The same file, to be saved."""


def shown(value: object) -> str:
    """Return a setting's value as TOML has it, nearly, and the home folder as ``~``: pages are passed on."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = without_home(plain(text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def without_home(text: str) -> str:
    """Return *text* with ``~`` for the home folder, whose name is nobody's business."""
    home = str(Path.home())
    return text if len(home) < 2 else re.sub(re.escape(home) + r"(?![\w.-])", "~", text)


def value_of(tables: Mapping[str, Any], table: str, key: str) -> Any:
    """Return a setting of a config.toml, or None."""
    found = tables.get(table)
    return found.get(key) if isinstance(found, Mapping) else None


def subtitle(tables: Mapping[str, Any]) -> str:
    """Return in one line what was trained: architecture, loss, data and size."""
    arch, loss, source, size = (
        value_of(tables, *key) for key in (("arch", "name"), ("loss", "name"), ("data", "source"), ("data", "size"))
    )
    words = [shown(arch)] if arch else []
    words += [f"with {shown(loss)}"] if loss else []
    words += [f"on {shown(PurePath(str(source)).name or source)}"] if source else []
    words += [f"at {shown(size)} × {shown(size)} pixels"] if size else []
    return " ".join(words)


def settings(tables: Mapping[str, Any]) -> list[Setting]:
    """Return every setting of a config.toml."""
    sources = tables["ganctl"].get("sources")
    rows = []
    for key, value in flatten({name: table for name, table in tables.items() if name != "ganctl"}):
        source = without_home(plain(sources.get(key, BUILT_IN))) if isinstance(sources, Mapping) else ""
        rows.append(Setting(plain(key), shown(value), source))
    return rows


def networks(tables: Mapping[str, Any]) -> list[Network]:
    """Return both networks as config.toml records them; none where it does not."""
    found = []
    for name in ("generator", "discriminator"):
        lines = value_of(tables["ganctl"], "networks", name)
        if layers := [layer for line in lines if (layer := _layer(line))] if isinstance(lines, list) else []:
            found.append(Network(name, layers))
    return found


def _layer(line: object) -> Layer | None:
    """Read a line of ``name kind shape parameters``."""
    match re.fullmatch(r"(.*) (\S+) (\S+) (\d{1,15})", str(line), re.DOTALL | re.ASCII):
        case None:
            return None
        case found:
            name, kind, shape, count = found.groups()
            return Layer(plain(name), plain(kind), plain(shape).replace("x", " × ").strip("-"), int(count))


def health(rows: Iterable[Row]) -> list[Sickness]:
    """Return the health events that the rows tell of, each from its beginning to its end."""
    found: list[Sickness] = []
    begun: dict[str, int] = {}
    for row in rows:
        if row.get("kind") != "health":
            continue
        event, text, place = plain(row.get("event", "event")), plain(row.get("text", "")), _place(row)
        if row.get("state") != "ends":
            begun[event] = len(found)
            found.append(Sickness(event, text, place, "", ""))
        elif event in begun:
            last = begun.pop(event)
            found[last] = found[last]._replace(end=place, ending=text)
    return found


def _place(row: Row) -> str:
    parts = [(name, number(row.get(name))) for name in ("epoch", "step")]
    return ", ".join(f"{name} {value:,.0f}" for name, value in parts if value is not None and math.isfinite(value))


def facts(rows: Sequence[Row], found: Sequence[Network]) -> list[tuple[str, str]]:
    """Return what a run comes to, as names and texts."""
    last = next((row for row in reversed(rows) if row.get("kind") in ("step", "epoch")), {})

    def of(key: str) -> float | None:
        value = number(last.get(key))
        return value if value is not None and math.isfinite(value) else None

    words = []
    for name, key in (("epochs", "epoch"), ("generator steps", "step"), ("real images seen", "images")):
        if (value := of(key)) is not None:
            words.append((name, f"{value:,.0f}"))
    if (seconds := of("seconds")) is not None:
        words.append(("time", duration(seconds)))
        if seconds > 0 and (images := of("images")):
            words.append(("images a second", f"{images / seconds:,.0f}"))
    return words + [(f"parameters, {network.name}", count(network.parameters)) for network in found]


def bests(scored: Iterable[Group], run: int) -> dict[str, str]:
    """Return the best that the *run*-th run reached in each of *scored*, by names and floors of the metrics."""
    found = {}
    for group in scored:
        if run in group.runs and (mine := reached(group, run)).best:
            floor = f" (of real images: {mine.floor})" if mine.floor else ""
            found[f"best {group.name}{floor}"] = f"{mine.best}, {mine.at}"
    return found


def reached(group: Group, run: int) -> Reached:
    """Return what the *run*-th run came to in a metric."""
    metric = group.runs[run]
    step = metric.best
    best, at = ("", "") if step is None else (figure(metric.values[step]), f"step {step:,.0f}")
    if step is not None and math.isfinite(metric.epochs[step]):
        at = f"epoch {metric.epochs[step]:,.0f}"
    last = figure(list(metric.values.values())[-1])
    return Reached(run, last, best, at, "" if metric.floor is None else figure(metric.floor), len(metric.values))


def duration(seconds: float) -> str:
    """Return a duration as 42 s, 12 min 5 s or 1 h 2 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(value: int) -> str:
    """Return a large number as 812, 3.2 k or 1.2 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return str(value)


def figure(value: float | None) -> str:
    """Return a figure to four digits; what is not finite says so."""
    if value is None:
        return ""
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def epochs(rows: Iterable[Row]) -> Epochs:
    """Return the rows of kind ``epoch`` as a table."""
    mine = {row["epoch"]: row for row in rows if row.get("kind") == "epoch" and isinstance(row.get("epoch"), int)}
    names = [name for name in FIGURES if any(name in row for row in mine.values())]
    each = math.ceil(len(mine) / MOST_EPOCHS) or 1
    chosen = list(mine)[::-1][::each][::-1]
    table = [(plain(epoch), [figure(number(mine[epoch].get(n, ""))) for n in names]) for epoch in chosen]
    return Epochs(names, table, len(mine))


def repeat(run: Run, tables: Mapping[str, Any]) -> Repeat:
    """Say how to repeat *run*."""
    again = f"{plain(run.path.resolve().name)}-again"
    about = tables["ganctl"]
    packages = about.get("packages")
    versions = [(key, shown(about[key])) for key in ("python", "torch") if key in about]
    versions += [(plain(k), shown(v)) for k, v in packages.items()] if isinstance(packages, Mapping) else []
    config = without_home(run.config.read_text(encoding="utf-8"))
    url = f"data:application/toml;base64,{base64.b64encode(config.encode()).decode()}"
    lines = "\n".join(map(plain, config.splitlines()))
    return Repeat(f"ganctl train --recipe config.toml --out {shlex.quote(again)}", versions, lines, url)
