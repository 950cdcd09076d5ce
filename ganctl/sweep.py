"""A sweep file -> trials, and the record of what became of them. No torch.

    recipe = "base.toml"            # what all trials begin with, as seen from the sweep file
    jobs = 2                        # trials at a time

    [settings.arch]                 # for all trials, over the recipe
    width = 32

    [grid]                          # every combination is a trial ...
    "arch.slope" = [0.1, 0.2, 0.3]

    [[trials]]                      # ... or each is written out, with a name if you like
    name = "plain"
    "optim.g.name" = "sgd"

Dotted keys and nested tables mean the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ganctl import __version__, files
from ganctl.config import flatten
from ganctl.errors import GanctlError, did_you_mean, plain
from ganctl.resolve import LENGTHS, Layer, Value, read_recipe, read_toml
from ganctl.run import FORMAT, check_format

KEYS = ("recipe", "jobs", "settings", "grid", "trials")
"""Of a sweep file."""

MOST_TRIALS = 1000
LONGEST_NAME = 200
"""In bytes, so that a log's name beside the folder's is a name, too."""


class Trial(NamedTuple):
    """One run of a sweep."""

    name: str
    """A folder's name, of no other trial's."""
    user: Layer
    """What the sweep file's settings, the trial and the flags say; the later have the last word."""
    recipe: Layer

    def settings(self) -> dict[str, Any]:
        """Return what recipe, file and flags say together, by dotted key, as JSON keeps it."""
        values = {key: value.value for key, value in _over(self.recipe.values, self.user.values).items()}
        settings: dict[str, Any] = json.loads(json.dumps(values, default=str))
        return settings


class Sweep(NamedTuple):
    """What a sweep file says."""

    path: Path
    jobs: int
    """Trials at a time."""
    trials: list[Trial]


def read_sweep(path: Path, flags: Layer) -> Sweep:
    """Read the sweep file *path*; *flags* go over what it says.

    Raise :class:`GanctlError` where it is not one. Whether the settings exist and fit is found out by resolving them.
    """
    tables = read_toml(path, "sweep")
    for key in tables:
        if key not in KEYS:
            raise GanctlError(f"{plain(path)}: a sweep has no {plain(key)!r}{did_you_mean(key, KEYS)}")
    jobs, recipe = tables.get("jobs", 1), tables.get("recipe")
    if type(jobs) is not int or jobs < 1:
        raise GanctlError(f"{plain(path)}: jobs = {jobs!r}: must be a whole number, at least 1")
    if not isinstance(recipe, str | None):
        raise GanctlError(f"{plain(path)}: recipe = {recipe!r}: must be a file's name, in quotes")
    if ("grid" in tables) == ("trials" in tables):
        raise GanctlError(f"{plain(path)}: write either a table [grid] or tables [[trials]], of settings to try")

    # resolve() takes what a recipe says for the user's own words, as it does flags.
    source = f"recipe {plain(path)}"
    shared = _values(_flat(path, "settings", tables.get("settings", {})), source)
    base = read_recipe(path.parent / recipe) if recipe else Layer({})
    listed = _grid(path, tables["grid"]) if "grid" in tables else _list(path, tables["trials"])
    trials = [
        Trial(name, Layer(_over(shared, _values(settings, source), flags.values)), base)
        for name, settings in _named(path, listed)
    ]
    return Sweep(path, jobs, trials)


def _values(settings: Mapping[str, Any], source: str) -> dict[str, Value]:
    return {key: Value(value, source) for key, value in settings.items()}


def _over(*layers: Mapping[str, Value]) -> dict[str, Value]:
    """Lay later *layers* over earlier ones. A later length replaces earlier ones, in whatever unit."""
    merged: dict[str, Value] = {}
    for layer in layers:
        if any(key in layer for key in LENGTHS):
            merged = {key: value for key, value in merged.items() if key not in LENGTHS}
        merged |= layer
    return merged


def _flat(path: Path, where: str, table: object) -> dict[str, Any]:
    """Return *table* by dotted key. Raise :class:`GanctlError` where it is none, or says a thing twice."""
    if not isinstance(table, Mapping):
        raise GanctlError(f"{plain(path)}: {where} must be a table of settings, such as [{where}]")
    settings: dict[str, Any] = {}
    for key, value in flatten(table):
        if key in settings:
            raise GanctlError(f"{plain(path)}: {where} has {plain(key)} twice")
        settings[key] = value
    return settings


def _grid(path: Path, table: object) -> list[tuple[str | None, dict[str, Any]]]:
    """Return every combination, the last key's values changing first."""
    lists = _flat(path, "grid", table)
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise GanctlError(f"{plain(path)}: grid: {plain(key)} must be a list of values to try, such as [0.1, 0.2]")
    if not lists:
        raise GanctlError(f"{plain(path)}: grid is empty; write settings with lists of values to try")
    if (count := math.prod(map(len, lists.values()))) > MOST_TRIALS:
        raise GanctlError(f"{plain(path)}: the grid has {count:,} combinations; at most {MOST_TRIALS} are possible")
    return [(None, dict(zip(lists, values, strict=True))) for values in product(*lists.values())]


def _list(path: Path, tables: object) -> list[tuple[str | None, dict[str, Any]]]:
    """Return the trials that are written out, some with names."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise GanctlError(f"{plain(path)}: write each trial as a table [[trials]]")
    if not 1 <= len(tables) <= MOST_TRIALS:
        raise GanctlError(f"{plain(path)}: there are {len(tables)} trials; 1 to {MOST_TRIALS} are possible")
    listed = []
    for table in tables:
        name = table.pop("name", None)
        settings = _flat(path, "trials", table)
        if name is None and not settings:
            raise GanctlError(f"{plain(path)}: a trial has neither settings nor a name")
        if not isinstance(name, str | None):
            raise GanctlError(f"{plain(path)}: a trial's name = {name!r}: must be text, in quotes")
        if name is not None and (name != _safe(name) or not name):
            raise GanctlError(
                f"{plain(path)}: the trial's name {plain(name)!r} cannot be a folder's; "
                "use letters, digits and = , . + - _"
            )
        listed.append((name, settings))
    return listed


def _named(path: Path, listed: Sequence[tuple[str | None, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Give each trial a name. Raise :class:`GanctlError` where two have the same, or are the same."""
    short = _short({key for name, settings in listed if name is None for key in settings})
    # Some file systems take slope and Slope for one.
    taken: set[str] = set()
    for name, _ in listed:
        if name is not None and name.casefold() in taken:
            raise GanctlError(f"{plain(path)}: two trials are called {name}")
        taken |= {name.casefold()} if name else set()
    unnamed = [settings for name, settings in listed if name is None]
    named = []
    for name, settings in listed:
        if name is None:
            if unnamed.count(settings) > 1:
                words = ", ".join(f"{key} = {value!r}" for key, value in settings.items())
                raise GanctlError(f"{plain(path)}: two trials are the same: {plain(words)}")
            name = stem = _safe(",".join(f"{short[key]}={_word(value)}" for key, value in settings.items()))
            number = 2
            while name.casefold() in taken:
                name, number = f"{stem}-{number}", number + 1
            taken.add(name.casefold())
        named.append((name, settings))
    return named


def _short(keys: set[str]) -> dict[str, str]:
    """Return each of *keys* with the shortest ending that is no other's: ``slope``, but ``g.lr`` beside ``d.lr``."""

    def endings(key: str) -> Iterable[str]:
        parts = key.split(".")
        return (".".join(parts[-n:]) for n in range(1, len(parts) + 1))

    return {
        key: next(
            ending for ending in endings(key) if ending == key or sum(ending in endings(other) for other in keys) == 1
        )
        for key in keys
    }


def _word(value: object) -> str:
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _safe(name: str) -> str:
    """Return *name* with what no folder's name should hold replaced; the names of a sweep's own files are not free."""
    name = re.sub(r"[^\w.=,+-]+", "-", name).lstrip("-.")
    name = re.sub(r"\.(log|json)$", r"-\1", name, flags=re.IGNORECASE)
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


State = Literal["begun", "done", "failed"]


class Record:
    """OUT/sweep.json: with what settings each trial was begun, and what became of it."""

    def __init__(self, out: Path) -> None:
        """Read it, if it is there. Raise :class:`GanctlError` where it is not what ganctl wrote."""
        self._out, self._path = out, out / "sweep.json"
        self._trials: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            check_format(content["ganctl"], self._path)
            self._trials = {
                name: {"settings": dict(known["settings"]), "state": known["state"], "reason": known["reason"]}
                for name, known in content["trials"].items()
            }
        except OSError as error:
            raise GanctlError(f"cannot read {plain(self._path)}: {error.strerror}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise GanctlError(
                f"{plain(self._path)} is not what ganctl wrote there; name another folder with --out"
            ) from error

    def left(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return those of *trials* that are not done.

        Raise :class:`GanctlError` where one was begun with other settings, or its folder is something else's.
        """
        left = []
        for trial in trials:
            folder, known = self._out / trial.name, self._trials.get(trial.name)
            if not folder.exists():
                left.append(trial)
                continue
            if known is None:
                raise GanctlError(
                    f"{plain(folder)} is there already and is no trial of this sweep; move it, "
                    "or name another folder with --out"
                )
            now = trial.settings()
            for key in known["settings"] | now:
                if known["settings"].get(key) != now.get(key):
                    raise GanctlError(
                        f"trial {trial.name} was begun with {_says(key, known['settings'])} and is now to have "
                        f"{_says(key, now)}; put that back, remove {plain(folder)} to begin the trial anew, "
                        "or name another folder with --out"
                    )
            if known["state"] != "done":
                left.append(trial)
        return left

    def keep(self, trial: Trial, state: State, reason: str | None = None) -> None:
        """Keep what has become of *trial*."""
        self._trials[trial.name] = {"settings": trial.settings(), "state": state, "reason": reason}
        about = {"format": FORMAT, "version": __version__}
        files.write(self._path, json.dumps({"ganctl": about, "trials": self._trials}, indent=2).encode() + b"\n")


def _says(key: str, settings: Mapping[str, Any]) -> str:
    return plain(f"{key} = {settings[key]!r}" if key in settings else f"no {key}")
