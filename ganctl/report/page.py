"""Runs -> the text of their page, within 15 MB."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ganctl import __version__
from ganctl.compare import Column, compare
from ganctl.data.pack import find_hash
from ganctl.errors import GanctlError
from ganctl.figures import Row
from ganctl.report import curves, pictures, tables
from ganctl.report.pictures import Picture, Progress, Sheet
from ganctl.run import Run

LIMIT = 14_500_000
"""Bytes of a page: what mail and chat still take."""
SHARES = {"sheets": 0.55, "film": 0.3, "kernels": 0.05, "real": 0.1}
"""Of the bytes that a run has for its pictures."""

PACKAGE = "uplot-python"
LIBRARY = ("uplot/static/uPlot.min.css", "uplot/static/uPlot.iife.js")
"""Draws the curves. Its files are read, and its package not imported, which would take half a second."""


class Pictures(NamedTuple):
    """A run's pictures, and what is to be said of such as are missing."""

    sheets: Sequence[Sheet] = ()
    film: str | None = None
    kernels: Picture | None = None
    real: Picture | None = None
    notes: Sequence[str] = ()


class About(NamedTuple):
    """What the page says of one run in words and numbers."""

    name: str
    subtitle: str
    facts: dict[str, str]
    networks: list[tables.Network]
    settings: list[tables.Setting]
    health: list[tables.Sickness]
    epochs: tables.Epochs
    repeat: tables.Repeat


class Page(NamedTuple):
    """A page, and what is left out of it, in words."""

    text: str
    notes: tuple[str, ...]


def page(runs: Sequence[Run], progress: Progress) -> Page:
    """Return the page about *runs*, each of which may be still in training.

    Raise :class:`GanctlError` where the package that draws curves is missing, or a run cannot be read.
    """
    library = read_library()
    rows = [list(run.rows()) for run in runs]
    columns = compare(runs).columns
    scored = curves.groups(rows)
    several = len(runs) > 1
    # Runs are set side by side only in metrics of which there is one protocol.
    named = [group for group in scored if not group.apart] if several else curves.foremost(scored)
    abouts = [_about(number, run, columns[number], rows[number], named) for number, run in enumerate(runs)]
    charts = curves.charts([about.name for about in abouts], rows, scored)
    shared = {
        "runs": abouts,
        "columns": columns,
        "differing": list(dict.fromkeys(key for column in columns for key in column.settings)),
        "facts": list(dict.fromkeys(name for about in abouts for name in about.facts)),
        "apart": {group.name: list(group.apart) for group in scored if group.apart},
        "groups": [(group, [tables.reached(group, run) for run in group.runs]) for group in scored],
        "charts": charts,
        "data": [chart.data() for chart in charts],
        "version": __version__,
    }
    bare = _render(library, shared | {"pictures": [Pictures() for _ in runs], "epochs": [], "notes": []})
    room = (LIMIT - len(bare.encode())) // len(runs)
    if room < 0:
        raise GanctlError(f"the figures and settings alone make a page of {len(bare) / 1e6:.0f} MB; name fewer runs")
    drawn = [_pictures(run, room, progress) for run in runs]
    notes = [
        f"{about.name}: {note}" if several else note
        for about, mine in zip(abouts, drawn, strict=True)
        for note in mine.notes
    ]
    epochs = sorted({sheet.epoch for mine in drawn for sheet in mine.sheets})
    return Page(_render(library, shared | {"pictures": drawn, "epochs": epochs, "notes": notes}), tuple(notes))


def _about(number: int, run: Run, column: Column, rows: Sequence[Row], scored: Sequence[curves.Group]) -> About:
    recorded = run.tables()
    networks = tables.networks(recorded)
    return About(
        column.run,
        tables.subtitle(recorded),
        dict(tables.facts(rows, networks)) | tables.bests(scored, number),
        networks,
        tables.settings(recorded),
        tables.health(rows),
        tables.epochs(rows),
        tables.repeat(run, recorded),
    )


def _pictures(run: Run, room: int, progress: Progress) -> Pictures:
    """Return *run*'s pictures in *room* bytes."""
    notes: list[str] = []
    recorded = run.tables()
    side = tables.value_of(recorded, "data", "size")
    side = side if isinstance(side, int) and side > 0 else 64
    # Tags and words take a little, too.
    rooms = {name: int(room * share * 0.97) for name, share in SHARES.items()}
    return Pictures(
        pictures.sheets(run, rooms["sheets"], side, progress, notes),
        pictures.film(run, rooms["film"], progress, notes),
        pictures.kernels(run, rooms["kernels"], notes),
        _real(recorded, rooms["real"], notes),
        notes,
    )


def _real(recorded: dict[str, Any], room: int, notes: list[str]) -> Picture | None:
    """Return a sheet of the images that were trained on, if they are still packed."""
    classes = tables.value_of(recorded, "data", "classes")
    wanted = {name for name in classes if isinstance(name, str)} if isinstance(classes, list) else set()
    packed = find_hash(str(recorded["ganctl"].get("pixels")))
    if packed is None:
        notes.append("The real images are no longer in the cache; training on them, or ganctl data check, fills it.")
        return None
    return pictures.real(packed, wanted, room)


def read_library() -> tuple[str, str]:
    """Return the style sheet and the script that draw curves. Raise :class:`GanctlError` where they are missing."""
    try:
        style, script = (Path(str(distribution(PACKAGE).locate_file(file))) for file in LIBRARY)
        return style.read_text(encoding="utf-8"), script.read_text(encoding="utf-8")
    except (PackageNotFoundError, FileNotFoundError) as error:
        raise GanctlError(f"ganctl report needs {PACKAGE}: pip install 'ganctl[report]'") from error


def _render(library: tuple[str, str], values: dict[str, Any]) -> str:
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = tables.shown
    own = [(folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")]
    # The only text that is not escaped: it comes from files of ganctl and of the library.
    styles, scripts = [library[0], own[0]], [library[1], own[1]]
    return environment.get_template("page.html.j2").render(
        values, styles=styles, scripts=scripts, policy=_policy(styles, scripts)
    )


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the rules by which a browser lets nothing in, and runs nothing but these."""

    def sources(texts: Sequence[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src {sources(styles)}; "
        f"script-src {sources(scripts)}; base-uri 'none'; form-action 'none'"
    )
