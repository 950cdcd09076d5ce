"""Layers of settings -> one validated whole, each value remembering where it came from.

The order of the layers is: built-in, what suits the data, the architecture's recipe, the loss's recipe, the data set's
recipe, the weights that training starts from, the recipe file, then flags and ``--set``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ganctl import registry
from ganctl.api import Architecture, Dataset, DataSpec, Description, Loss, Metric, Plugin
from ganctl.config import (
    BUILT_IN,
    AugmentSettings,
    DataSettings,
    MetricSettings,
    OptimiserSettings,
    OptimSettings,
    Settings,
    TrainSettings,
    flatten,
)
from ganctl.errors import GanctlError, PluginError, did_you_mean, plain
from ganctl.run import check_format

NAMES = MappingProxyType({"data.source": "faces", "arch.name": "dcgan", "loss.name": "bce"})
"""The keys that choose the plugins, and what they are by default."""

KINDS: Mapping[str, registry.Kind] = MappingProxyType({"data": "dataset", "arch": "architecture", "loss": "loss"})
"""The kind of plugin whose options a table holds."""

LENGTHS = ("train.epochs", "train.steps", "train.images")

# A run without a length of its own trains the generator on this many images, within bounds: enough for faces at 64 px.
IMAGES_DRAWN, FEWEST_EPOCHS, MOST_EPOCHS = 1_000_000, 5, 1000

Model = TypeVar("Model", bound=BaseModel)


class Value(NamedTuple):
    """A setting's value and where it came from."""

    value: Any
    source: str
    text: str | None = None
    """What was typed, where that may also be meant as text."""
    origin: str | None = None
    """Where the run had it from whose config.toml this was read from."""


class Layer(NamedTuple):
    """Values by dotted key, from one source."""

    values: Mapping[str, Value] = MappingProxyType({})
    exact: bool = True
    """The user's own layers are: there, a key that fits nothing is an error. Elsewhere it is skipped, and listed."""


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file, which is *what* in messages. Raise :class:`GanctlError` where that cannot be done."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GanctlError(f"cannot read the {what} {plain(path)}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise GanctlError(f"the {what} {plain(path)} is not TOML: {plain(error)}") from error


def read_recipe(path: Path) -> Layer:
    """Read a TOML file of settings, a config.toml among them. Raise :class:`GanctlError` where that cannot be done."""
    tables = read_toml(path, "recipe")
    about = tables.pop("ganctl", {})
    check_format(about, path)
    source, origins = f"recipe {plain(path)}", about.get("sources")
    if not isinstance(origins, Mapping):  # a recipe that somebody wrote
        return Layer({key: Value(value, source) for key, value in flatten(tables)})
    return Layer({key: Value(value, source, origin=str(origins.get(key, BUILT_IN))) for key, value in flatten(tables)})


def parse_set(text: str) -> tuple[str, Value]:
    """Split ``KEY=VALUE``, the value being TOML, or else text. Raise :class:`GanctlError` where there is no ``=``."""
    key, equals, typed = text.partition("=")
    if not equals or not key.strip():
        raise GanctlError(f"--set {plain(text)!r}: write --set KEY=VALUE, such as --set optim.g.lr=1e-4")
    try:
        value = tomllib.loads(f"value = {typed}")["value"]
    except (ValueError, RecursionError):  # not TOML, or deeper or longer than Python counts
        value = typed
    return key.strip(), Value(value, "--set", typed)


def resolve(
    user: Layer | None = None, recipe: Layer | None = None, start: Layer | None = None, images: int | None = None
) -> Settings:
    """Resolve the *user*'s flags, a *recipe* file, the weights at the *start*, and all that lies below.

    *images* is how many there are to train on, once that is known; without it, the data set's own description counts.
    Raise :class:`GanctlError` for the first key, name or value that is wrong, with its source.
    """
    recipe = recipe or Layer()
    own = [start or Layer(exact=False), recipe, user or Layer()]
    chosen = {key: Value(value, BUILT_IN) for key, value in NAMES.items()}
    for layer in own:
        chosen |= {key: layer.values[key] for key in NAMES if key in layer.values}

    data_name, place = _data_set(chosen["data.source"])
    names = {"data": data_name, "arch": _text("arch.name", chosen), "loss": _text("loss.name", chosen)}
    plugins = {table: registry.load(KINDS[table], name) for table, name in names.items()}
    defaults = [
        Layer(
            {key: Value(value, f"{table} {names[table]}") for key, value in plugins[table].recipe.items()}, exact=False
        )
        for table in ("arch", "loss", "data")
    ]
    judges = _metrics([*defaults, *own])
    metrics = {name: registry.load("metric", name) for name in judges.name}
    # A recipe file was written for its own plugins: beside another, named by a flag, its options do not apply.
    meant = {key.split(".")[0]: recipe.values.get(key, Value(name, "")).value for key, name in NAMES.items()}
    foreign = {
        table for table, key in zip(("data", "arch", "loss"), NAMES, strict=True) if meant[table] != chosen[key].value
    }
    if _metrics([recipe]).name != judges.name:
        foreign.add("metric")

    every = [*plugins.items(), *(("metric", metric) for metric in metrics.values())]
    merged, skipped = _merge([*defaults, *own], _known_keys(every), foreign, recipe)
    dataset = cast(Dataset, _build(plugins["data"], "data", merged, place))
    description = dataset.describe()
    merged = _suit(merged, description, images)
    data = _build(DataSettings, "data", merged)
    for name in data.classes:
        if name not in description.classes:
            raise GanctlError(
                f"data.classes: {data_name} has no class {plain(name)!r}{did_you_mean(name, description.classes)}"
            )
    return Settings(
        data=data,
        optim=OptimSettings(
            g=_build(OptimiserSettings, "optim.g", merged), d=_build(OptimiserSettings, "optim.d", merged)
        ),
        augment=_build(AugmentSettings, "augment", merged),
        train=_build(TrainSettings, "train", merged),
        metric=_build(MetricSettings, "metric", merged),
        source=str(getattr(dataset, "path", data_name)) if data_name == "folder" else data_name,
        dataset=dataset,
        architecture=cast(Architecture, _build(plugins["arch"], "arch", merged)),
        loss=cast(Loss, _build(plugins["loss"], "loss", merged)),
        metrics=tuple(cast(Metric, _build(metric, "metric", merged)) for metric in metrics.values()),
        spec=DataSpec(size=data.size, channels=data.channels, classes=data.classes or description.classes),
        entries=MappingProxyType(
            {table: registry.find(KINDS[table], name) for table, name in names.items()}
            | {f"metric.{name}": registry.find("metric", name) for name in metrics}
        ),
        sources=MappingProxyType({key: value.source for key, value in (chosen | merged).items()}),
        origins=MappingProxyType({key: value.origin or value.source for key, value in (chosen | merged).items()}),
        skipped=tuple(skipped),
    )


def _metrics(layers: list[Layer]) -> MetricSettings:
    """Return the settings of metrics as far as *layers* name these."""
    names = {key: layer.values[key] for layer in layers for key in ("metric.name",) if key in layer.values}
    return _build(MetricSettings, "metric", names)


def _text(key: str, chosen: Mapping[str, Value]) -> str:
    value = chosen[key].value
    if not isinstance(value, str):
        raise GanctlError(f"{key} = {value!r} ({chosen[key].source}): must be a name, in quotes")
    return value


def _data_set(source: Value) -> tuple[str, dict[str, Any]]:
    """Return the plugin that *source* means, and where it is if it is a path."""
    name = _text("data.source", {"data.source": source})
    known = {entry.name for entry in registry.entries() if entry.kind == "dataset"}
    if name in known:
        return name, {}
    if not name:
        raise GanctlError(f"data.source ({source.source}) is empty; name a folder, a zip or a data set")
    try:
        path = Path(name).expanduser().absolute()
        if "/" in name or "\\" in name or path.suffix or path.exists():
            return "folder", {"path": path}
    except (OSError, RuntimeError, ValueError) as error:
        raise GanctlError(f"{plain(name)!r} ({source.source}) cannot be a path here: {plain(error)}") from error
    raise GanctlError(
        f"{plain(name)!r} ({source.source}) is neither a file or folder here nor a data set{did_you_mean(name, known)}"
    )


def reserved(table: str) -> set[str]:
    """Return the names that no option of a plugin whose options stand in *table* can have."""
    own = {"data": {"source", *DataSettings.model_fields}, "metric": set(MetricSettings.model_fields)}
    return own.get(table, {"name"})


def _known_keys(plugins: Iterable[tuple[str, type[Plugin]]]) -> set[str]:
    """Return every key that applies. Raise :class:`PluginError` for an option that bears the name of a setting."""
    tables = {
        **{table: reserved(table) for table in ("data", "arch", "loss", "metric")},
        "optim.g": set(OptimiserSettings.model_fields),
        "optim.d": set(OptimiserSettings.model_fields),
        "augment": set(AugmentSettings.model_fields),
        "train": set(TrainSettings.model_fields),
    }
    for table, plugin in plugins:
        if taken := reserved(table) & set(plugin.model_fields):
            raise PluginError(
                f"{plugin.__module__}.{plugin.__name__}: the option {min(taken)!r} has the name of a setting of {table}"
            )
        tables[table] |= set(plugin.model_fields)
    return {f"{table}.{name}" for table, names in tables.items() for name in names}


def _merge(
    layers: list[Layer], known: set[str], foreign: set[str], recipe: Layer
) -> tuple[dict[str, Value], list[str]]:
    """Lay *layers* over each other. Return the values, and in words what recipes wanted that does not apply."""
    merged: dict[str, Value] = {}
    skipped: list[str] = []
    for layer in layers:
        for key, value in layer.values.items():
            if key in known:
                merged[key] = value
            elif layer.exact and not (layer is recipe and key.split(".")[0] in foreign):
                near = {other for other in known if other.split(".")[0] == key.split(".")[0]}
                raise GanctlError(
                    f"{value.source}: there is no setting {plain(key)!r}{did_you_mean(key, near or known)}"
                )
            else:
                skipped.append(f"{key} = {value.value!r} of {value.source} does not apply")
        # A length in a later layer replaces those of earlier ones, in whatever unit; two in one layer end at the first.
        if any(key in layer.values for key in LENGTHS):
            merged = {key: value for key, value in merged.items() if key not in LENGTHS or key in layer.values}
    return {key: value for key, value in merged.items() if key not in NAMES}, skipped


def _suit(merged: dict[str, Value], description: Description, images: int | None) -> dict[str, Value]:
    """Add what the data suggest where nobody said otherwise: channels, length, a batch no larger than the data."""
    suited = {"data.channels": Value(description.channels, "the images")} | merged
    data = _build(DataSettings, "data", suited)
    count = images if images is not None else expected(description, data)
    if count is None:
        return suited
    train = _build(TrainSettings, "train", suited)
    if not any(key in suited for key in LENGTHS):
        # Several discriminator steps to one of the generator's take that many more passes for the same.
        epochs = min(max(round(IMAGES_DRAWN / max(count, 1)), FEWEST_EPOCHS), MOST_EPOCHS) * train.d_steps
        suited["train.epochs"] = Value(epochs, f"{count} images")
    # How many images a class has is known only once they are packed.
    if train.batch_size > count >= 2 and (images is not None or not data.classes):
        largest = 2 ** (count.bit_length() - 1)
        source = suited.get("train.batch_size", Value(None, BUILT_IN)).source
        if source.startswith(("--", "recipe ")):
            raise GanctlError(
                f"train.batch_size = {train.batch_size} ({source}): there are only {count} images; "
                f"try --batch-size {largest}"
            )
        suited["train.batch_size"] = Value(largest, f"{count} images")
    return suited


def expected(description: Description, data: DataSettings) -> int | None:
    """Return how many images there should be to train on, taking classes to be of one size; None if that is open."""
    if description.count is None:
        return None
    share = len(data.classes) / len(description.classes) if data.classes and description.classes else 1.0
    return min(round(description.count * share), data.limit or description.count)


def _build(
    model: type[Model], table: str, merged: Mapping[str, Value], extra: Mapping[str, Any] | None = None
) -> Model:
    """Validate the values of *table* for *model*. Raise :class:`GanctlError` for the first that is wrong."""
    mine = {name: merged[f"{table}.{name}"] for name in model.model_fields if f"{table}.{name}" in merged}
    values = {name: value.value for name, value in mine.items()} | dict(extra or {})
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # What looked like a number or a table may have been meant as text: --set loss.note=1984.
        untyped = [str(e["loc"][0]) for e in error.errors() if e["type"] == "string_type" and str(e["loc"][0]) in mine]
        texts = {name: mine[name].text for name in untyped if mine[name].text is not None}
        if texts:
            meant = {f"{table}.{name}": Value(text, mine[name].source) for name, text in texts.items()}
            return _build(model, table, {**merged, **meant}, extra)
        if not first["loc"]:
            raise GanctlError(f"{table}: {plain(first['ctx']['error'] if 'ctx' in first else first['msg'])}") from error
        name = str(first["loc"][0])
        place = f"{table}.{name} = {plain(repr(values[name]))}" if name in values else f"{table}.{name}"
        source = f" ({mine[name].source})" if name in mine else ""
        raise GanctlError(f"{place}{source}: {_in_words(first, model.model_fields[name])}") from error


def _in_words(error: Mapping[str, Any], field: FieldInfo) -> str:
    """Say what would be right."""
    kind = error["type"]
    if limits := bounds(field):
        limits = f", {limits}"
    if len(alternatives(field.annotation)) > 1:
        return f"must be a {_kind(field.annotation)}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"must be {limits[2:]}"
    if len(error["loc"]) > 1 and not field.is_required():
        return f"must be such as {_shown(field.default)}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}"
    if kind == "missing":
        return f"is required: {field.description}"
    words = {"int": "a whole number", "float": "a number", "finite": "a finite number", "bool": "true or false"}
    words |= {
        "string": "text",
        "tuple": "a list, such as [1, 2]",
        "list": "a list, such as [1, 2]",
        "too": "a list of another length",
    }
    word = words.get(kind.split("_")[0])
    return f"must be {word}{limits}" if word else error["msg"][0].lower() + error["msg"][1:]


def bounds(field: FieldInfo) -> str:
    """Return a field's bounds in words, or nothing: ``"at least 0 and less than 1"``."""
    words = [
        f"at least {rule.ge}" if isinstance(rule, Ge) else f"more than {rule.gt}" if isinstance(rule, Gt) else ""
        for rule in field.metadata
    ] + [
        f"at most {rule.le}" if isinstance(rule, Le) else f"less than {rule.lt}" if isinstance(rule, Lt) else ""
        for rule in field.metadata
    ]
    return " and ".join(filter(None, words))


def options(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Yield (name, default, description with type and bounds) of each field, in words."""
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.default)
        yield (
            name,
            default,
            f"{field.description or ''} ({', '.join(filter(None, (_kind(field.annotation), bounds(field))))})",
        )


def choices(field: FieldInfo) -> list[str]:
    """Return the values that a field may have, its default first; where these are many, its default and examples.

    They are as one would write them after ``--set KEY=``; a default of None, which nobody can write, is left out.
    """
    found = [] if field.is_required() or field.default is None else [field.default]
    for kind in alternatives(field.annotation):
        found += get_args(kind) if get_origin(kind) is Literal else [True, False] if kind is bool else []
    return list(dict.fromkeys(map(_shown, [*found, *(field.examples or ())])))


def alternatives(annotation: Any) -> list[Any]:
    """Return the types that a field may have, None apart."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [part for part in parts if part is not NoneType]


def _shown(default: Any) -> str:
    """Return a default as one would write it in TOML."""
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default is None else str(list(default)) if isinstance(default, tuple) else str(default)


def _kind(annotation: Any) -> str:
    """Return a field's type in words."""
    parts = alternatives(annotation)
    if len(parts) > 1:
        return ", or ".join(map(_kind, parts))
    (kind,) = parts or [annotation]
    if get_origin(kind) is Annotated:
        inner, *rules = get_args(kind)
        limits = [bounds(rule) for rule in rules if isinstance(rule, FieldInfo)]
        return ", ".join(filter(None, [_kind(inner), *limits]))
    if get_origin(kind) is Literal:
        values = ", ".join(map(str, get_args(kind)))
        return f"one of {values}" if len(get_args(kind)) > 1 else values
    if get_origin(kind) is not None:
        return "list"
    return {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}.get(
        kind.__name__, kind.__name__.lower()
    )
