"""The generated parts of the pages: ``cog -r README.md ...`` writes them anew, and test_pages.py says when to.

python -m cogapp -r -I tests ganctl/README.md plugins/README.md
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from ganctl import api, config, registry
from ganctl.resolve import options

CONTRACT = (
    "Plugin DataSpec Networks Judgement Architecture Batch Step Loss PenalisedLoss "
    "Description Record Dataset Extractor Metric"
)
"""What of :mod:`ganctl.api` plugins use, in the order in which one would read it."""

TABLES = {
    "data": config.DataSettings,
    "optim.g, optim.d": config.OptimiserSettings,
    "augment": config.AugmentSettings,
    "train": config.TrainSettings,
    "metric": config.MetricSettings,
}


def versions() -> str:
    """Return which contracts this ganctl speaks."""
    numbers = [str(number) for number in range(api.OLDEST_API_VERSION, api.API_VERSION + 1)]
    return f"{' and '.join(numbers)}."


def contract() -> str:
    """Return a table of what each class of the contract has."""
    lines = []
    for name in CONTRACT.split():
        thing = getattr(api, name)
        base = next((b.__name__ for b in thing.__mro__[1:] if b.__module__ == api.__name__), "")
        lines += ["", f"**`{name}`**{f', a `{base}`' if base else ''}: {_first(thing)}", ""]
        rows = list(_members(thing))
        if rows:
            lines += ["| | |", "|---|---|", *(f"| `{signature}` | {text} |" for signature, text in rows)]
    return "\n".join(lines).strip()


def _members(thing: type) -> Iterator[tuple[str, str]]:
    """Yield the fields and methods that the body of *thing* states, and what they are."""
    texts = _attribute_texts(thing)
    kinds = {
        name: getattr(kind, "__forward_arg__", kind) for name, kind in vars(thing).get("__annotations__", {}).items()
    }
    for name, kind in kinds.items():
        if not name.startswith("_"):
            field = getattr(thing, "model_fields", {}).get(name)
            yield f"{name}: {kind}".replace("|", "\\|"), (field and field.description) or texts.get(name, "")
    for name in texts.keys() - kinds.keys():
        yield name, texts[name]
    for name, member in vars(thing).items():
        call = member.__func__ if isinstance(member, classmethod) else member
        function = getattr(call, "fget", None) or getattr(call, "func", None) or call
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        signature = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
        shown = name if function is not call else f"{name}{signature.partition(' -> ')[0]}"
        answer = signature.partition(" -> ")[2]
        yield (
            (f"{shown} -> {answer}" if answer != "None" else shown).replace("|", "\\|").replace("'", ""),
            _first(function),
        )


def _attribute_texts(thing: type) -> dict[str, str]:
    """Return the strings that stand below the attributes in the body of *thing*, or of its ``__init__``."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    found = {}
    for node in ast.walk(body):
        statements = getattr(node, "body", [])
        for before, after in itertools.pairwise(statements) if isinstance(statements, list) else ():
            target = getattr(before, "target", None) or next(iter(getattr(before, "targets", [])), None)
            name = getattr(target, "id", None) or getattr(target, "attr", None)
            if name and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[name] = _plain(str(after.value.value))
    return found


def _first(thing: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    return _plain(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0])


def _plain(text: str) -> str:
    """Return *text* on one line, in Markdown."""
    text = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    for role in (":class:", ":meth:", ":attr:", ":mod:", ":func:"):
        text = text.replace(role, "")
    return text


def settings() -> str:
    """Return a table of all settings that are ganctl's own."""
    parts = []
    for table, model in TABLES.items():
        parts += [f"### {table}", "", _table(options(model)), ""]
    return "\n".join(parts).strip()


def plugins(kind: registry.Kind) -> str:
    """Return what ganctl's own plugins of *kind* are, and their options."""
    parts, penalties = [], list(options(api.PenalisedLoss))
    for entry in registry.entries():
        if entry.kind == kind and entry.package == "ganctl":
            plugin = registry.load(kind, entry.name)
            parts += [f"### {entry.name}", "", _first(plugin), ""]
            # The penalties have a table of their own.
            rest = [row for row in options(plugin) if row not in penalties]
            if issubclass(plugin, api.PenalisedLoss):
                parts[-1:] = ["It takes the [penalties](#penalties), too.", ""]
            if rest:
                parts += [_table(rest), ""]
    return "\n".join(parts).strip()


def penalties() -> str:
    """Return a table of the options that most losses share."""
    return _table(options(api.PenalisedLoss))


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = (f"| `{name}` | {default} | {text} |" for name, default, text in rows)
    return "\n".join(["| option | default | |", "|---|---|---|", *lines])


def commands() -> str:
    """Return the help of every command."""
    from typer.testing import CliRunner

    from ganctl.cli import app

    os.environ["TERMINAL_WIDTH"] = "100"
    runner = CliRunner()
    overview = runner.invoke(app, ["--help"], prog_name="ganctl", terminal_width=100).output.rstrip()
    names = [line.split()[0] for line in overview.partition("Commands:\n")[2].splitlines() if line[:3].strip()]
    parts = ["```", overview, "```"]
    for name in names:
        words = ["data", "check"] if name == "data" else [name]
        text = runner.invoke(app, [*words, "--help"], prog_name="ganctl", terminal_width=100).output.rstrip()
        parts += ["", f"### ganctl {' '.join(words)}", "", "```", text, "```"]
    return "\n".join(parts)
