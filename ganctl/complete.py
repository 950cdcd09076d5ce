"""What the shell offers after Tab. No torch and no plugin is imported: what options there are was written down before.

Of ganctl itself it is in ``options.json``, which ``python -m ganctl.complete`` prints; of other packages in the cache
folder, since a command last used them. What a shell would have to quote is left to its own completion of files, which
it falls back on where nothing is offered.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ganctl.registry import Entry

Offer: TypeAlias = tuple[str, str]
"""A word, and what it is."""

Options: TypeAlias = Mapping[str, list[Any]]
"""Of a table or a plugin, by name: what an option is, and a list of the values that it may have, or its default."""

BUILT_IN = Path(__file__).with_name("options.json")
ASKED, BEFORE = "_GANCTL_COMPLETE", "_GANCTL_BEFORE"
"""Environment variables: by which a shell asks, and for the part of a word that it does not replace."""

CHOICES = {"data.source": "dataset", "arch.name": "architecture", "loss.name": "loss", "metric.name": "metric"}
"""The keys that choose plugins, and of which kind."""

DEFAULTS = {"data.source": "faces", "arch.name": "dcgan", "loss.name": "bce", "metric.name": "fd-efflite0"}

SHORT = {
    "source": "data.source",
    "data": "data.source",
    "arch": "arch.name",
    "loss": "loss.name",
    "metrics": "metric.name",
}
"""The parameters of commands that stand for these keys."""


def prepare(environment: MutableMapping[str, str]) -> None:
    """Get ready to answer a shell, where that is what *environment* asks for.

    bash takes words apart at ``=`` and ``:``. They are put together, and what it does not replace is set aside.
    """
    if ASKED not in environment:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # which typer would import to take markup for colours
    if environment[ASKED] != "complete_bash":
        return
    number = int(environment["COMP_CWORD"])
    words: list[str] = []
    before, glue = "", False
    for piece in environment["COMP_WORDS"].split("\n")[: number + 1]:
        mark = bool(re.fullmatch("[=:]+", piece))
        if words and (mark or (glue and piece)):
            before = words[-1] + piece * mark
            words[-1] += piece
        else:
            before = ""
            words.append(piece)
        glue = mark
    *words, last = words
    if last.startswith("--") and "=" in last:
        option = last.partition("=")[0]
        words.append(option)
        last, before = last.removeprefix(f"{option}="), before.removeprefix(option).removeprefix("=")
    environment["COMP_WORDS"] = "\n".join([*words, last.removeprefix(before)])
    environment["COMP_CWORD"] = str(len(words))
    environment[BEFORE] = before


def _offered(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    """Return those of *offers* that go on from *incomplete*, without what the shell has already."""
    before = os.environ.get(BEFORE, "")
    typed = before + incomplete
    return [
        (word.removeprefix(before), about)
        for word, about in offers
        if word.startswith(typed) and re.fullmatch(r"[\w@%+=:,./~-]+", word)
    ]


def architectures(incomplete: str) -> list[Offer]:
    """Offer architectures."""
    return _offered(_plugins("architecture"), incomplete)


def losses(incomplete: str) -> list[Offer]:
    """Offer losses."""
    return _offered(_plugins("loss"), incomplete)


def metrics(incomplete: str) -> list[Offer]:
    """Offer metrics."""
    return _offered(_plugins("metric"), incomplete)


def plugins(incomplete: str) -> list[Offer]:
    """Offer plugins of every kind; as KIND:NAME once something is typed."""
    from ganctl import registry

    every = [(entry.name, f"{entry.kind} of {entry.owner}") for entry in registry.entries()]
    if os.environ.get(BEFORE, "") + incomplete:
        every += [(f"{entry.kind}:{entry.name}", f"of {entry.owner}") for entry in registry.entries()]
    return _offered(every, incomplete)


def data_sets(incomplete: str) -> list[Offer]:
    """Offer data sets, and folders and zip files here."""
    return _offered(_sources(), incomplete)


def _sources() -> Iterator[Offer]:
    yield from _plugins("dataset")
    for entry in _listed("."):
        if entry.is_dir() or entry.name.lower().endswith(".zip"):
            yield entry.name, "folder" if entry.is_dir() else "file"


def runs(incomplete: str) -> list[Offer]:
    """Offer run folders, and folders of a sweep's."""
    return _offered(_runs(incomplete), incomplete)


def weights(incomplete: str) -> list[Offer]:
    """Offer run folders and exported weights."""
    return _offered([*_runs(incomplete), *_files(incomplete, ".safetensors")], incomplete)


def recipes(incomplete: str) -> list[Offer]:
    """Offer TOML files."""
    return _offered(_files(incomplete, ".toml"), incomplete)


def _runs(incomplete: str) -> Iterator[Offer]:
    head = _folder(incomplete)
    for entry in _listed(head or "."):
        if entry.is_dir():
            for file, about in (("config.toml", "run"), ("sweep.json", "sweep")):
                if Path(entry.path, file).is_file():
                    yield head + entry.name, about


def _files(incomplete: str, suffix: str) -> Iterator[Offer]:
    head = _folder(incomplete)
    for entry in _listed(head or "."):
        if entry.name.endswith(suffix):
            yield head + entry.name, "file"


def _folder(incomplete: str) -> str:
    return "".join((os.environ.get(BEFORE, "") + incomplete).rpartition("/")[:2])


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """List what is not hidden in *folder*."""
    try:
        with os.scandir(Path(folder).expanduser()) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except (OSError, RuntimeError):
        return []


def checkpoints(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer the checkpoints of the run that is named before."""
    from ganctl.run import Run

    # Where the option that is asked for is the last word, parsing ends before it comes to arguments.
    named = ctx.params.get("run") or next(iter(ctx.args), ".")
    run = Run(Path(named))
    steps = [(str(run.step(path)), "step") for path in run.saved()]
    best = [("best", "by the first metric")] if run.best.is_file() else []
    return _offered([*best, ("last", "the newest"), *steps], incomplete)


def devices(incomplete: str) -> list[Offer]:
    """Offer devices."""
    return _offered(_values("train.device"), incomplete)


def precisions(incomplete: str) -> list[Offer]:
    """Offer precisions."""
    return _offered(_values("train.precision"), incomplete)


def logs(incomplete: str) -> list[Offer]:
    """Offer who else may get figures."""
    return _offered(_values("train.log"), incomplete)


def _values(key: str) -> Iterator[Offer]:
    for value in _built_in()["settings"][key][1]:
        yield value, ""


def settings(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Offer KEY= of the settings that the plugins on the line have, and KEY=VALUE once there is but one key."""
    typed = os.environ.get(BEFORE, "") + incomplete
    known = dict(_built_in()["settings"])
    for key, names in _chosen(ctx).items():
        for name in names:
            own = options(CHOICES[key], name)
            known |= {f"{key.partition('.')[0]}.{option}": about for option, about in own.items()}
    for key, kind in CHOICES.items():
        about = known[key][0] if key in known else f"the {kind}"
        known[key] = [about, [name for name, _ in (_sources() if kind == "dataset" else _plugins(kind))]]
    for key, (_, values) in known.items():
        if typed.startswith(f"{key}="):
            return _offered([(f"{key}={value}", "") for value in values], incomplete)
    keys = [key for key in known if key.startswith(typed)]
    words = [(f"{key}=", known[key][0]) for key in keys]
    if len(keys) == 1:
        # One word alone would be taken for the whole, and get a space behind it.
        words += [(f"{keys[0]}={value}", "") for value in known[keys[0]][1] or ["..."]]
    return _offered(words, incomplete)


def _chosen(ctx: typer.Context) -> dict[str, list[str]]:
    """Return the plugins that the line names, or its recipe, by the keys that choose them; or else the defaults."""
    chosen: dict[str, object] = dict(DEFAULTS)
    if recipe := ctx.params.get("recipe"):
        import tomllib

        with suppress(OSError, ValueError, RecursionError):
            tables = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
            for key in CHOICES:
                table, _, name = key.partition(".")
                with suppress(KeyError, TypeError):
                    chosen[key] = tables[table][name]
    for text in ctx.params.get("sets") or ():
        key, _, value = text.partition("=")
        if key in chosen:
            chosen[key] = value
    chosen |= {key: value for name, key in SHORT.items() if (value := ctx.params.get(name))}
    names = {key: re.findall(r"[\w.-]+", str(value)) for key, value in chosen.items()}
    if chosen["data.source"] not in {name for name, _ in _plugins("dataset")}:
        names["data.source"] = ["folder"]
    return names


def _plugins(kind: str) -> Iterator[Offer]:
    from ganctl import registry

    for entry in registry.entries():
        if entry.kind == kind:
            yield entry.name, f"{entry.kind} of {entry.owner}"


def _built_in() -> dict[str, dict[str, Any]]:
    built_in: dict[str, dict[str, Any]] = json.loads(BUILT_IN.read_bytes())
    return built_in


def options(kind: str, name: str) -> Options:
    """Return the options of a plugin as far as they are written down."""
    from ganctl import registry

    for entry in registry.entries():
        if (entry.kind, entry.name) == (kind, name):
            found: Options = _written(entry).get(f"{kind}:{name}", {})
            return found
    return {}


def _written(entry: Entry) -> dict[str, Any]:
    """Return what is written down of all plugins of a package."""
    if entry.package == "ganctl":
        return _built_in()
    try:
        written = json.loads(_file(entry).read_bytes())
    except (OSError, ValueError):
        return {}
    return written if isinstance(written, dict) else {}


def _file(entry: Entry) -> Path:
    from ganctl.data.cache import cache_folder

    return cache_folder() / "options" / f"{re.sub('[^A-Za-z0-9.]+', '-', f'{entry.package}-{entry.version}')}.json"


def remember() -> None:
    """Write down the options of plugins of other packages that this process has imported; or not, if that fails."""
    registry = sys.modules.get("ganctl.registry")
    if not registry or not registry.entries.cache_info().currsize:
        return
    for entry in registry.entries():
        module, _, name = entry.target.partition(":")
        if entry.package != "ganctl" and module in sys.modules:
            with suppress(Exception):  # it is others' code that is looked into
                before = _written(entry)
                after = before | {f"{entry.kind}:{entry.name}": described(getattr(sys.modules[module], name))}
                if before != after:
                    _write(_file(entry), after)


def _write(path: Path, options: Mapping[str, Options]) -> None:
    from ganctl import files

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, json.dumps(options).encode())


def described(model: type[BaseModel]) -> Options:
    """Return what is worth writing down of a model's fields."""
    from ganctl.resolve import choices

    return {name: [field.description or "", choices(field)] for name, field in model.model_fields.items()}


def built_in() -> str:
    """Return what ``options.json`` has to be: of the tables of settings, and of ganctl's own plugins."""
    from ganctl import config, registry

    tables: dict[str, type[BaseModel]] = {
        "data": config.DataSettings,
        "optim.g": config.OptimiserSettings,
        "optim.d": config.OptimiserSettings,
        "augment": config.AugmentSettings,
        "train": config.TrainSettings,
        "metric": config.MetricSettings,
    }
    keys = {f"{table}.{name}": about for table, model in tables.items() for name, about in described(model).items()}
    own = [entry for entry in registry.entries() if entry.package == "ganctl"]
    plugins = {f"{entry.kind}:{entry.name}": described(registry.load(entry.kind, entry.name)) for entry in own}
    lines = [f"{json.dumps(name)}: {json.dumps(about)}" for name, about in {"settings": keys, **plugins}.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(built_in())
