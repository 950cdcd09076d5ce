"""A plugin package to begin with, which installs, passes its tests and trains as it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ganctl import __version__, files, registry
from ganctl.api import API_VERSION
from ganctl.display import Display
from ganctl.errors import GanctlError, plain

TEMPLATES = Path(__file__).parents[1] / "templates"


class Kind(NamedTuple):
    """What differs between packages of plugins of different kinds."""

    noun: str
    needs: str
    command: str
    """What uses the plugin."""


KINDS: Mapping[registry.Kind, Kind] = {
    "architecture": Kind("An architecture", "torch>=2.6", "ganctl train --arch {name}"),
    "loss": Kind("A loss", "torch>=2.6", "ganctl train --loss {name}"),
    "dataset": Kind("A data set", "pillow>=11", "ganctl train --data {name}"),
    "metric": Kind("A metric", "torch>=2.6", "ganctl train --eval-every 1 --set metric.name='[\"{name}\"]'"),
}


def begin(kind: registry.Kind, name: str, folder: Path | None, shown: Display) -> None:
    """Write a package with a plugin of *kind* called *name* into *folder*, by default ``ganctl-NAME``.

    Raise :class:`GanctlError` for a name that cannot be one or is taken, and where the folder exists.
    """
    _check(kind, name)
    about, title = KINDS[kind], name.replace("-", "_")
    folder = folder or Path(f"ganctl-{name}")
    templates = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True)
    cls = name.title().replace("-", "")
    if re.search(rf"\b{cls}\b", (TEMPLATES / f"{kind}.py.j2").read_text(encoding="utf-8")):
        cls += "Plugin"  # as "loss" would be called like what it derives from
    values = {
        "name": name, "package": f"ganctl-{name}", "module": f"ganctl_{title}", "cls": cls,
        "group": registry.KINDS[kind], "api": API_VERSION, "ganctl": ".".join(__version__.split(".")[:2]),
        "noun": about.noun, "needs": about.needs, "command": about.command.format(name=name),
    }  # fmt: skip
    written = {
        "pyproject.toml": "pyproject.toml", "README.md": "README.md", f"ganctl_{title}.py": f"{kind}.py",
        f"tests/test_{title}.py": f"test_{kind}.py",
    }  # fmt: skip
    try:
        folder.mkdir(parents=True)
        (folder / "tests").mkdir()
    except FileExistsError:
        raise GanctlError(f"{plain(folder)} exists; choose another name, or another folder with -o") from None
    except OSError as error:
        raise GanctlError(f"cannot make the folder {plain(folder)}: {error.strerror}") from error
    for path, template in written.items():
        files.write(folder / path, templates.get_template(f"{template}.j2").render(values).encode())
    shown.note(f"{plain(folder)}/ holds {about.noun.lower()}, {name}, in ganctl_{title}.py", "bold green")
    shown.note(f"  pip install -e {plain(folder)}")
    shown.note(f"  ganctl plugins --check {name}")
    shown.note(f"  {values['command']}")


def _check(kind: registry.Kind, name: str) -> None:
    """Raise :class:`GanctlError` unless *name* can be what a plugin, its package and its class are called."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise GanctlError(
            f"{plain(name)!r} cannot be a plugin's name; small letters, digits and single hyphens can, such as my-loss"
        )
    for entry in registry.entries():
        if (entry.kind, entry.name) == (kind, name):
            raise GanctlError(f"there is a {kind} {name} already, of {entry.owner}; choose another name")
