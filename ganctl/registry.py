"""Names -> plugins, through entry points. Listing imports nothing; only what is asked for is loaded.

A broken plugin costs only the user who names it, who is told the package, its version and the line.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from ganctl.errors import GanctlError, PluginError, did_you_mean, plain

if TYPE_CHECKING:
    from ganctl.api import Plugin

Kind = Literal["architecture", "loss", "dataset", "metric"]

KINDS: dict[Kind, str] = {
    "architecture": "ganctl.architectures",
    "loss": "ganctl.losses",
    "dataset": "ganctl.datasets",
    "metric": "ganctl.metrics",
}
"""The entry-point group of each kind of plugin."""


class Entry(NamedTuple):
    """A plugin's registration, as its package's metadata states it."""

    kind: Kind
    name: str
    target: str
    """``module:Class``"""
    package: str
    version: str

    @property
    def owner(self) -> str:
        """The package and its version, for blame."""
        return f"{self.package} {self.version}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.owner} ({self.target})"


@cache
def entries() -> tuple[Entry, ...]:
    """List every registration of every installed package, sorted; a package seen twice on the path counts once."""
    kinds = {group: kind for kind, group in KINDS.items()}
    found: dict[tuple[str, str, str], Entry] = {}
    for distribution in distributions():
        points = [point for point in distribution.entry_points if point.group in kinds]
        # Metadata takes a millisecond to parse, and few packages have plugins.
        package = distribution.metadata["Name"] if points and distribution.metadata else None
        if not package:
            continue
        canonical = re.sub(r"[-_.]+", "-", package).lower()
        for point in points:
            entry = Entry(kinds[point.group], point.name, point.value, package, distribution.version)
            found.setdefault((point.group, point.name, canonical), entry)
    return tuple(sorted(found.values()))


def find(kind: Kind, name: str) -> Entry:
    """Return the one registration of *name*. Raise :class:`GanctlError` where there is none, or more than one."""
    matches = [entry for entry in entries() if entry.kind == kind and entry.name == name]
    if not matches:
        known = {entry.name for entry in entries() if entry.kind == kind}
        raise GanctlError(f"no {kind} is called {plain(name)!r}{did_you_mean(name, known)}")
    if len(matches) > 1:
        owners = " and ".join(entry.owner for entry in matches)
        raise PluginError(f"{kind} {name!r} is registered twice, by {owners}; uninstall one of the two packages")
    return matches[0]


def named(names: Iterable[str]) -> tuple[Entry, ...]:
    """List the registrations of each of *names*, which may be ``KIND:NAME``.

    Raise :class:`GanctlError` for one that nobody has registered.
    """
    found: list[Entry] = []
    for name in names:
        kind, _, rest = name.rpartition(":")
        matches = [entry for entry in entries() if entry.name == rest and kind in ("", entry.kind)]
        if not matches:
            known = {entry.name for entry in entries()}
            raise GanctlError(f"no plugin is called {plain(name)!r}{did_you_mean(rest, known)}")
        found += matches
    return tuple(found)


def duplicates() -> Iterable[Entry]:
    """List the registrations whose name another package has taken too."""
    return [e for e in entries() if sum((o.kind, o.name) == (e.kind, e.name) for o in entries()) > 1]


def load(kind: Kind, name: str) -> type[Plugin]:
    """Import and return the plugin class called *name*. Raise :class:`PluginError`, which blames, if it is unusable."""
    entry = find(kind, name)
    try:
        plugin = EntryPoint(entry.name, entry.target, KINDS[kind]).load()
    except Exception as error:
        reason = plain(f"{type(error).__name__}: {error}")
        raise PluginError(f"{entry} cannot be imported: {reason}{_line_of(error)}") from error
    complaint = _complaint(kind, plugin)
    if complaint:
        raise PluginError(f"{entry} {complaint}")
    return cast("type[Plugin]", plugin)


def _complaint(kind: Kind, plugin: object) -> str:
    """Say what keeps *plugin* from being one, or nothing."""
    from ganctl import api

    base: type[Plugin] = getattr(api, kind.capitalize())
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        return f"is not a subclass of ganctl.api.{base.__name__}"
    version = vars(plugin).get("api_version")
    if version is None:
        return f"does not state its api_version; write api_version = {api.API_VERSION} in the class's own body"
    spoken = range(api.OLDEST_API_VERSION, api.API_VERSION + 1)
    if version not in spoken:
        newer = isinstance(version, int) and version > api.API_VERSION
        remedy = "upgrade ganctl" if newer else "upgrade the package, or ask its author to"
        speaks = " and ".join(map(str, spoken))
        return f"was written for api_version {version!r} and this ganctl speaks {speaks}; {remedy}"
    return ""


def _line_of(error: BaseException) -> str:
    """Return where an import failed: the last line that is not the import machinery's, and not ours if others are."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename and f.filename != __file__
    ]
    frames = [f for f in frames if not Path(f.filename).is_relative_to(Path(__file__).parent)] or frames
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
