"""What there is: plugins, their options, and the images of a data set."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

from ganctl import files, registry, sampling
from ganctl.assemble import Layers, target
from ganctl.data import check as data_check
from ganctl.display import Display
from ganctl.errors import plain
from ganctl.resolve import Layer, options
from ganctl.testing import registered_checks


def check_plugins(entries: Iterable[registry.Entry], shown: Display) -> int:
    """Load and test each of *entries*, and say which fail. Return how many do, at most 1."""
    failed = 0
    for entry in entries:
        name = f"{entry.kind} {entry.name} ({entry.owner})"
        try:
            every = list(registered_checks(entry))
        except Exception as error:
            shown.note(f"{name}: {plain(str(error) or type(error).__name__)}", "red")
            failed += 1
            continue
        complaints = []
        for check in every:
            try:
                check()
            except Exception as error:
                complaints.append(f"  {check}: {plain(str(error) or type(error).__name__)}")
        shown.note(f"{name}: {len(every) - len(complaints)} of {len(every)} checks passed", "red" if complaints else "")
        for complaint in complaints:
            shown.note(complaint, "red")
        failed += bool(complaints)
    return min(failed, 1)


def show(name: str, shown: Display) -> None:
    """Show what a plugin says of itself, and its options; each, where two kinds share the name."""
    for number, entry in enumerate(registry.named([name])):
        plugin = registry.load(entry.kind, entry.name)
        if number:
            shown.note()
        shown.note(f"{entry.kind} {entry.name}, of {entry.owner}", "bold")
        shown.note(inspect.cleandoc(plugin.__doc__ or ""))
        table = {"architecture": "arch", "dataset": "data"}.get(entry.kind, entry.kind)
        rows = [(f"{table}.{option}", default, text) for option, default, text in options(plugin)]
        if rows:
            shown.note()
            shown.table(rows, ("option", "default", ""))
        if plugin.recipe:
            shown.note()
            shown.note("sets by default: " + ", ".join(f"{key} = {value!r}" for key, value in plugin.recipe.items()))


def check_data(user: Layer, output: Path | None, shown: Display) -> None:
    """Say what is in a data set, what is broken and what ganctl would do with it; write a sheet of it to *output*."""
    settings = Layers(user, Layer()).resolve()
    found = data_check.inspect(settings.dataset, settings.entries["data"].name, target(settings), shown.progress)
    whole = found.count - len(found.broken)
    colour, made = ("grey" if channels == 1 else "colour" for channels in (found.channels, settings.spec.channels))
    shown.note(f"{plain(settings.source)}: {found.count} images, {whole} usable, {colour}", "bold")
    rows = [("sizes", f"{_size(found.smallest)} to {_size(found.largest)}, median {_size(found.median)}")]
    rows += [("most common", ", ".join(f"{_size(size)} ({count})" for size, count in list(found.sizes.items())[:3]))]
    rows += [(name, _counts(counts)) for name, counts in (("formats", found.formats), ("modes", found.modes)) if counts]
    rows += [("classes", _counts(found.classes))] if found.classes else [("classes", "none")]
    if found.ignored:
        rows.append(("other files", f"{_counts(found.ignored)}, which are not looked into"))
    if found.duplicates:
        more = sum(len(group) - 1 for group in found.duplicates)
        rows.append(("duplicates", f"{more} images repeat another, such as {', '.join(found.duplicates[0][:3])}"))
    shown.table(rows)
    shown.note()
    sets = [
        f" --set {key}={plain(value.text or value.value)}"
        for key, value in user.values.items()
        if value.source == "--set"
    ]
    shown.note(f"ganctl train --data {plain(settings.source)} --size {settings.data.size}{''.join(sets)} would", "bold")
    shown.note(
        f"  make them {_size((settings.data.size,) * 2)} {made}{', as is packed already' if found.packed else ''}"
    )
    for phrase, count in found.notes.items():
        shown.note(f"  {count}: {phrase}")
    if found.broken:
        shown.note(f"  leave out {len(found.broken)} broken images (--set data.on_error=fail refuses them)", "yellow")
        for name, reason in found.broken[:10]:
            shown.note(f"    {plain(name)}: {plain(reason)}", "yellow")
        if len(found.broken) > 10:
            shown.note(f"    and {len(found.broken) - 10} more", "yellow")
    if output and len(found.sample):
        with files.replacing(output) as path:
            sampling.picture(sampling.grid(found.sample)).save(path, format="PNG")
        shown.note(f"{plain(output)}: a sheet of {len(found.sample)}")


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _counts(counts: Mapping[str, int], most: int = 12) -> str:
    words = [f"{name} {count}" for name, count in list(counts.items())[:most]]
    return ", ".join(words) + (f" and {len(counts) - most} more" if len(counts) > most else "")
