"""What the checks of every kind of plugin share: how they are named and run, and what is asked of options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ganctl.api import Architecture, Dataset, Loss, Metric, Plugin
from ganctl.config import AugmentSettings, DataSettings, OptimiserSettings, TrainSettings
from ganctl.errors import GanctlError, did_you_mean
from ganctl.resolve import reserved

TABLES: Mapping[str, type[Plugin]] = {"arch": Architecture, "loss": Loss, "data": Dataset, "metric": Metric}
"""The settings' table in which the options of each kind stand."""

SETTINGS: Mapping[str, type[BaseModel]] = {
    "train": TrainSettings,
    "data": DataSettings,
    "augment": AugmentSettings,
    "optim.g": OptimiserSettings,
    "optim.d": OptimiserSettings,
}
"""The tables of settings that are ganctl's own."""

P = TypeVar("P", bound=Plugin)


class Check:
    """One named check: call it, and it raises AssertionError where the plugin falls short."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name, self._run = name, run

    def __call__(self) -> None:
        """Run the check."""
        self._run()

    def __str__(self) -> str:
        return self._name


def option_checks(plugin: type[Plugin]) -> Iterator[Check]:
    """Yield what is asked of the options and the recipe of any plugin."""
    yield Check("options-are-documented", partial(_options_are_documented, plugin))
    yield Check("numbers-have-bounds", partial(_numbers_have_bounds, plugin))
    yield Check("recipe-keys-exist", partial(_recipe_keys_exist, plugin))


def small(plugin: type[P], **options: Any) -> P:
    """Return *plugin* with *options*, and few filters where it takes a width, so that checks are quick."""
    try:
        return plugin.model_validate({"width": 8} | options)
    except ValidationError:
        return plugin.model_validate(options)


def at_bounds(plugin: type[P]) -> Iterator[tuple[str, P]]:
    """Yield *plugin*, small, with one option after another at its lower and upper bound, or each of its few values.

    What a validator refuses, for options that do not go together, is left out.
    """
    for name, schema in plugin.model_json_schema()["properties"].items():
        for value in _ends(schema):
            try:
                yield f"{name}={value}", small(plugin, **{name: value})
            except ValidationError:
                continue


def highest_integers(plugin: type[Plugin]) -> set[str]:
    """Return what :func:`at_bounds` calls options at upper bounds that are whole: they may ask for much memory."""
    return {
        f"{name}={kind['maximum']}"
        for name, schema in plugin.model_json_schema()["properties"].items()
        for kind in schema.get("anyOf", [schema])
        if kind.get("type") == "integer" and "maximum" in kind
    }


def _ends(schema: Mapping[str, Any]) -> list[Any]:
    """Return the extreme values that a field's JSON *schema* allows."""
    if "anyOf" in schema:
        return [value for kind in schema["anyOf"] for value in _ends(kind)]
    if "enum" in schema or "const" in schema:
        return list(schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "boolean":
        return [False, True]
    whole = schema.get("type") == "integer"
    ends = [schema[key] for key in ("minimum", "maximum") if key in schema]
    for key, onward in (("exclusiveMinimum", 1), ("exclusiveMaximum", -1)):
        if key in schema:
            edge = schema[key]
            ends.append(edge + onward if whole else math.nextafter(edge, onward * math.inf))
    return ends


def _options_are_documented(plugin: type[Plugin]) -> None:
    assert (plugin.__doc__ or "").strip(), f"{plugin.__name__} needs a docstring: ganctl show prints it"
    table = next((table for table, base in TABLES.items() if issubclass(plugin, base)), "")
    taken = sorted(set(plugin.model_fields) & reserved(table)) if table else []
    assert not taken, f"rename the option {', '.join(taken)}: that is a setting of {table} already"
    bare = [name for name, field in plugin.model_fields.items() if not field.description]
    assert not bare, f"these options need Field(description=...): {', '.join(bare)}"


def _numbers_have_bounds(plugin: type[Plugin]) -> None:
    limits = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    boundless = [
        name
        for name, schema in plugin.model_json_schema()["properties"].items()
        for kind in schema.get("anyOf", [schema])
        if kind.get("type") in ("integer", "number") and not limits & kind.keys()
    ]
    assert not boundless, (
        f"these options need bounds, as in Field(ge=0, le=1), so that what cannot work is refused where it is typed: "
        f"{', '.join(boundless)}"
    )


def _recipe_keys_exist(plugin: type[Plugin]) -> None:
    known = {f"{table}.{name}" for table, settings in SETTINGS.items() for name in settings.model_fields}
    own = next((table for table, base in TABLES.items() if issubclass(plugin, base)), "")
    for key, value in plugin.recipe.items():
        table, _, name = key.rpartition(".")
        if table == own and table != "data":
            assert name in plugin.model_fields, f"the recipe sets {key!r}, which {plugin.__name__} has not"
        elif table in SETTINGS and key in known:
            _fits(SETTINGS[table], key, name, value)
        else:
            # What options another plugin has, nobody can know here.
            assert table in ("arch", "loss", "data"), (
                f"the recipe sets {key!r}, which is no setting{did_you_mean(key, known)}"
            )


def _fits(settings: type[BaseModel], key: str, name: str, value: object) -> None:
    try:
        settings(**{name: value})
    except (ValidationError, GanctlError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise AssertionError(f"the recipe sets {key} to {value!r}: {reason}") from error
