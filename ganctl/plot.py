"""Figures of one run, or of several in the same axes: what metrics.jsonl tells, and the discriminator's first layer.

Needs matplotlib, the extra ``ganctl[plot]``, and no torch. Figures are drawn without a window, backend or display.
"""

from __future__ import annotations

import json
import math
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from PIL import Image

from ganctl import files
from ganctl.errors import GanctlError, plain
from ganctl.figures import Points, Row, apart, by_protocol, figures_by
from ganctl.kernels import first_kernels, mosaic
from ganctl.run import Run

Dash: TypeAlias = Literal["-", "--", ":", "-."]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Those of Okabe & Ito (2008), which the colour-blind tell apart too; without yellow, which is too faint for a line."""
BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK = COLOURS
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.")
STEPS, EPOCHS = "generator steps", "epoch"
PROBABILITY, SHARE = "probability", "share of images"

_KNOWN = {
    "loss_g": ("generator, loss_g", VERMILION),
    "loss_d": ("discriminator, loss_d", BLUE),
    "loss_d_real": ("loss_d_real", GREEN),
    "loss_d_fake": ("loss_d_fake", PINK),
    "score_real": ("D(x), of real images", GREEN),
    "score_fake": ("D(G(z)), of fakes", PINK),
    "accuracy_d": ("discriminator", BLUE),
}
"""What has the same name and colour in every figure."""
_OTHERS = (ORANGE, SKY, BLACK, VERMILION, BLUE)
"""The colours of the terms that only some losses have."""
_COMPARED = {"loss_g", "loss_d", "score_real", "score_fake", "accuracy_d"}
"""What runs are compared by, beside metrics."""
_NO_TERMS = _COMPARED | {"kind", "step", "epoch", "images", "seconds", "images_per_second"}

_STYLE = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "agg.path.chunksize": 10_000,
    # A name is text, not mathematics, even with dollars in it; and stays text in the file.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ganctl",
}
_WIDTH, _PANEL, _DPI = 8.0, 2.3, 150
_BESIDE = 24
"""Characters of a line in a legend beside its axes."""


class Plotted(NamedTuple):
    """The figures that were written, each in every format, and in words what could not be drawn."""

    folder: Path
    figures: tuple[str, ...]
    notes: tuple[str, ...]


class Curve(NamedTuple):
    """A line and what it is called."""

    label: str
    points: Points
    colour: str
    dash: Dash = "-"


class Panel(NamedTuple):
    """One pair of axes and the curves in it."""

    title: str
    unit: str
    curves: Sequence[Curve]


def plot(
    runs: Sequence[Run], folder: Path | None = None, epoch: int | None = None, formats: Sequence[str] = ("png", "svg")
) -> Plotted:
    """Draw the figures of *runs* into *folder*: by default RUN/plots, or plots here for several runs.

    One run gets its losses, epochs' means, scores, metrics and kernels, or, with an *epoch*, what that was like within;
    several get what compares them. Raise :class:`GanctlError` where there is nothing to draw, or it cannot be written.
    """
    folder = folder or (runs[0].path if len(runs) == 1 else Path()) / "plots"
    rows = {run: list(run.rows()) for run in runs}
    notes: list[str] = []
    # A name may hold characters that the font has not: they become boxes in a PNG, which needs no warning.
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        if epoch is not None:
            figures = _of_epoch(runs[0], rows[runs[0]], epoch, notes)
        elif len(runs) > 1:
            figures = _of_several(rows, notes)
        else:
            figures = _of_one(runs[0], rows[runs[0]], notes)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GanctlError(f"cannot make the folder {plain(folder)}: {error.strerror}") from error
        for name, figure in figures.items():
            for kind in formats:
                about = {"Date": None} if kind == "svg" else {}
                with files.replacing(folder / f"{name}.{kind}") as path:
                    figure.savefig(path, format=kind, dpi=_DPI, metadata=about)
    return Plotted(folder, tuple(figures), tuple(notes))


def metrics(rows: Iterable[Row]) -> dict[tuple[str, str], Points]:
    """Return the values of each metric over steps, by its name and protocol."""
    found = {key: figures_by(mine, "step")["value"] for key, mine in by_protocol(rows).items()}
    return dict(sorted(found.items()))


def _of_one(run: Run, rows: Sequence[Row], notes: list[str]) -> dict[str, Figure]:
    name = _name(run)
    steps = figures_by(_of_kind(rows, "step"), "step")
    epochs = figures_by(_of_kind(rows, "epoch"), "epoch")
    scored = metrics(rows)
    panels = {
        "losses": (STEPS, "losses", [*_losses(steps), *_terms(steps)]),
        "epochs": (EPOCHS, "means of each epoch", [*_losses(epochs), *_terms(epochs), *_scores(epochs)]),
        "scores": (STEPS, "what the discriminator says", _scores(steps)),
        "metrics": (STEPS, "metrics", [
            Panel(title, name, [Curve("", scored[name, protocol], BLUE)])
            for (name, protocol), title in _metric_titles(scored).items()
        ]),
    }  # fmt: skip
    drawn = {kind: _stacked(f"{name}: {what}", x, shown) for kind, (x, what, shown) in panels.items() if shown}
    if not drawn:
        raise _no_rows(run)
    try:
        drawn["kernels"] = _kernels(run)
    except GanctlError as error:
        notes.append(f"no kernels: {error}")
    return drawn


def _of_several(rows: Mapping[Run, Sequence[Row]], notes: list[str]) -> dict[str, Figure]:
    steps = {run: figures_by(_of_kind(mine, "step"), "step") for run, mine in rows.items()}
    scored = {run: metrics(mine) for run, mine in rows.items()}
    empty = [run for run in rows if not _COMPARED & steps[run].keys() and not scored[run]]
    if len(empty) == len(rows):
        raise _no_rows(empty[0])
    notes += [f"left out: {_no_rows(run)}" for run in empty]
    runs = [run for run in rows if run not in empty]
    if len(runs) > len(COLOURS) * len(DASHES):
        notes.append(f"of {len(runs)} runs some look alike: there are {len(COLOURS) * len(DASHES)} kinds of lines")
    names = _names(runs)
    looks = dict(zip(runs, cycle((colour, dash) for dash in DASHES for colour in COLOURS), strict=False))

    def panel(title: str, unit: str, points: Mapping[Run, Points | None]) -> Panel:
        return Panel(title, unit, [Curve(names[run], p, *looks[run]) for run, p in points.items() if p])

    def of(key: str, title: str, unit: str) -> Panel:
        return panel(title, unit, {run: steps[run].get(key) for run in runs})

    titles = _metric_titles({key for found in scored.values() for key in found})
    figures = {
        "losses": [of("loss_g", "generator, loss_g", "loss"), of("loss_d", "discriminator, loss_d", "loss")],
        "scores": [
            of("score_real", "D(x), of real images", PROBABILITY),
            of("score_fake", "D(G(z)), of fakes", PROBABILITY),
        ],
        "accuracy": [of("accuracy_d", "images that the discriminator judges rightly", SHARE)],
        "metrics": [panel(title, key[0], {run: scored[run].get(key) for run in runs}) for key, title in titles.items()],
    }
    shown = {kind: [panel for panel in panels if panel.curves] for kind, panels in figures.items()}
    legend = [Curve(names[run], {}, *looks[run]) for run in runs]
    return {kind: _stacked(f"{kind} of {len(runs)} runs", STEPS, p, legend) for kind, p in shown.items() if p}


def _of_epoch(run: Run, rows: Sequence[Row], epoch: int, notes: list[str]) -> dict[str, Figure]:
    within = [row for row in _of_kind(rows, "step") if row.get("epoch") == epoch]
    steps = figures_by(within, "step")
    panels = [*_losses(steps), *_terms(steps), *_scores(steps)]
    if not panels:
        raise _no_epoch(run, rows, epoch)
    sheet = _sheet(run, epoch, notes)
    heights = [_height(panel, 1.6) for panel in panels]
    figure = Figure(figsize=(_WIDTH * 1.6 if sheet else _WIDTH, 1.2 + max(sum(heights), 4.8)))
    figure.suptitle(_wrapped(f"{_name(run)}: epoch {epoch}", 90), x=0.01, ha="left", fontsize=12)
    columns = figure.add_gridspec(
        len(panels), 2 if sheet else 1, height_ratios=heights, width_ratios=[1.5, 1] if sheet else None
    )
    axes = [figure.add_subplot(columns[number, 0]) for number in range(len(panels))]
    _fill(axes, panels, STEPS, whole=False)
    if sheet:
        beside = figure.add_subplot(columns[:, 1])
        beside.imshow(np.asarray(sheet), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        beside.set_title(f"the fixed latents after epoch {epoch}")
        beside.set_axis_off()
        beside.set_anchor("NW")
    return {f"epoch-{epoch:04d}": figure}


def _of_kind(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.get("kind") == kind]


def _no_rows(run: Run) -> GanctlError:
    return GanctlError(f"{run} has nothing to draw yet: its metrics.jsonl holds no figures, which training writes")


def _no_epoch(run: Run, rows: Sequence[Row], epoch: int) -> GanctlError:
    """Say which epochs there are, and where this one was too short for a row, how it would get some."""
    trained = [e for row in rows if row.get("kind") in ("step", "epoch") and isinstance(e := row.get("epoch"), int)]
    if not trained:
        return _no_rows(run)
    if not 1 <= epoch <= max(trained):
        return GanctlError(f"--epoch {epoch}: {run} has the epochs 1 to {max(trained)}")
    return GanctlError(
        f"--epoch {epoch}: {run} has no row within it, for a row comes every train.log_every steps; "
        "train with a smaller one, such as --set train.log_every=1"
    )


def _sheet(run: Run, epoch: int, notes: list[str]) -> Image.Image | None:
    """Return the sample sheet of *epoch*, if it is there and whole."""
    path = run.sample(epoch)
    try:
        with Image.open(path) as image:
            return image.convert("L" if image.mode == "L" else "RGB")
    except FileNotFoundError:
        notes.append(f"without its images: there is no {plain(path)}; train.sample_every says how often one is drawn")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        notes.append(f"without its images: {plain(path)} cannot be read: {plain(error)}")
    return None


def _losses(found: Mapping[str, Points]) -> list[Panel]:
    curves = _known(found, "loss_g", "loss_d")
    return [Panel("losses of both networks", "loss", curves)] if curves else []


def _terms(found: Mapping[str, Points]) -> list[Panel]:
    """Return the panel of the terms that the losses are sums of, if there are any."""
    names = [name for name in found if name not in _NO_TERMS]
    others = cycle((colour, dash) for dash in DASHES for colour in _OTHERS)
    curves = _known(found, "loss_d_real", "loss_d_fake")
    curves += [Curve(plain(name), found[name], *next(others)) for name in sorted(names) if name not in _KNOWN]
    return [Panel("terms of the losses", "loss", curves)] if curves else []


def _scores(found: Mapping[str, Points]) -> list[Panel]:
    panels = [
        Panel("mean score: how probably real they are", PROBABILITY, _known(found, "score_real", "score_fake")),
        Panel("images judged rightly", SHARE, _known(found, "accuracy_d")),
    ]
    return [panel for panel in panels if panel.curves]


def _known(found: Mapping[str, Points], *keys: str) -> list[Curve]:
    return [Curve(_KNOWN[key][0], found[key], _KNOWN[key][1]) for key in keys if key in found]


def _metric_titles(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a title for each name and protocol: the name, and what tells the protocol from others of that name."""
    titles = {}
    for name, same in groupby(sorted(keys), key=lambda key: key[0]):
        mine = list(same)
        protocols = [json.loads(protocol) if protocol else {} for _, protocol in mine]
        parts = apart([protocol if isinstance(protocol, dict) else {} for protocol in protocols])
        for key, differing in zip(mine, parts, strict=True):
            text = ", ".join([name, *(f"{part}: {value}" for part, value in differing.items())])
            titles[key] = _wrapped(plain(text), 90)
    return titles


def _stacked(title: str, x: str, panels: Sequence[Panel], key: Sequence[Curve] = ()) -> Figure:
    """Draw *panels* above each other over the same axis; *key* is a legend for all of them, below."""
    longest = max((len(curve.label) for curve in key), default=0)
    columns = next((count for count, most in ((4, 16), (3, 24), (2, 44)) if longest <= most), 1)
    below = 0.2 * math.ceil(len(key) / columns) * math.ceil(longest / 90)
    heights = [_PANEL if key else _height(panel) for panel in panels]
    figure = Figure(figsize=(_WIDTH, 0.8 + max(sum(heights), 3.0) + below))
    figure.suptitle(_wrapped(title, 90), x=0.01, ha="left", fontsize=12)
    axes = list(figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    _fill(axes, panels, x, whole=x == STEPS, legends=not key)
    if key:
        _legend(figure, key, 90, loc="outside lower left", ncols=columns)
    return figure


def _height(panel: Panel, least: float = _PANEL) -> float:
    """Return the inches that a panel takes: at *least* these, and more where its legend is long."""
    lines = sum(_wrapped(curve.label, _BESIDE).count("\n") + 1 for curve in panel.curves)
    return max(least, 0.7 + 0.2 * lines)


def _fill(axes: Sequence[Axes], panels: Sequence[Panel], x: str, *, whole: bool, legends: bool = True) -> None:
    """Draw each of *panels* into its axes; a *whole* run's begin at 0."""
    for axis, panel in zip(axes, panels, strict=True):
        for curve in panel.curves:
            _line(axis, curve)
        axis.set_title(panel.title)
        axis.set_ylabel(plain(panel.unit))
        if panel.unit in (PROBABILITY, SHARE):
            axis.set_ylim(-0.03, 1.03)
        if legends and any(curve.label for curve in panel.curves):
            _legend(axis, panel.curves, _BESIDE, loc="upper left", bbox_to_anchor=(1.01, 1.03), borderaxespad=0)
        axis.tick_params(labelbottom=axis is axes[-1], length=3)
        axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ends = [place for panel in panels for curve in panel.curves for place in (min(curve.points), max(curve.points))]
    first, last = (0.0 if whole else min(ends)), max(ends)
    margin = (last - first or 1) * 0.02
    for axis in axes:
        axis.set_xlim(first - margin, last + margin)
        axis.figure.align_ylabels()
    axes[-1].set_xlabel(x)


def _line(axis: Axes, curve: Curve) -> None:
    """Draw a curve; a point that has no neighbour to be joined to, and all points of a short curve, get a dot."""
    places, values = list(curve.points), np.array(list(curve.points.values()))
    there = np.pad(np.isfinite(values), 1)
    dots = np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:] | (there[1:-1] & (len(values) <= 12)))
    axis.plot(
        places, values, color=curve.colour, linestyle=curve.dash, marker="o", markersize=3.5, markevery=dots.tolist()
    )


def _legend(owner: Axes | Figure, curves: Sequence[Curve], width: int, **place: Any) -> None:
    """Add a legend, its names wrapped at *width* characters."""
    lines = [Line2D([], [], color=curve.colour, linestyle=curve.dash) for curve in curves]
    legend = owner.legend(lines, ["x"] * len(lines), **place)
    # Afterwards, because matplotlib leaves out a label that begins with "_".
    for text, curve in zip(legend.get_texts(), curves, strict=True):
        text.set_text(_wrapped(curve.label, width))


def _name(run: Run) -> str:
    """Return what *run* is called: its folder's name."""
    return plain(run.path.name or run.path.resolve().name)


def _names(runs: Sequence[Run]) -> dict[Run, str]:
    """Return a name for each of *runs*: the folder's, or the path as it was typed where two folders share theirs."""
    names = [_name(run) for run in runs]
    return {run: name if names.count(name) == 1 else str(run) for run, name in zip(runs, names, strict=True)}


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def _kernels(run: Run) -> Figure:
    """Draw the kernels of the discriminator's first layer. Raise :class:`GanctlError` where there are none."""
    saved = run.saved()
    if not saved:
        raise GanctlError(f"{run} has no checkpoint yet")
    sheet, columns, words = mosaic(first_kernels(saved[-1]))
    wide = min(6.0, 3.5 + 0.3 * columns)
    figure = Figure(figsize=(wide, 0.9 + wide * sheet.shape[0] / sheet.shape[1]))
    title = f"{_name(run)}: first layer of the discriminator at step {Run.step(saved[-1]):,}"
    figure.suptitle(_wrapped(title, round(12 * wide)), x=0.01, ha="left", fontsize=12)
    axis = figure.subplots()
    axis.imshow(sheet, interpolation="nearest")
    axis.set_title(words)
    axis.set_axis_off()
    return figure
