"""The conformance kit: what every plugin should do, as checks that its author's tests can run.

    @pytest.mark.parametrize("check", architecture_checks(Mine), ids=str)
    def test_mine(check):
        check()

``ganctl plugins --check`` runs the same, and ganctl's own plugins pass them. A failure's message says what to mend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from ganctl import registry
from ganctl.api import Architecture, Dataset, Loss, Metric, Plugin
from ganctl.testing.architectures import architecture_checks
from ganctl.testing.common import Check
from ganctl.testing.datasets import dataset_checks
from ganctl.testing.losses import loss_checks
from ganctl.testing.metrics import metric_checks

__all__ = [
    "Check",
    "architecture_checks",
    "checks",
    "dataset_checks",
    "loss_checks",
    "metric_checks",
    "registered_checks",
]


def checks(plugin: type[Plugin], architecture: type[Architecture] | None = None) -> Iterator[Check]:
    """Yield the checks of any plugin; *architecture* is what a loss is made for, where it is for one alone."""
    if issubclass(plugin, Architecture):
        yield from architecture_checks(plugin)
    elif issubclass(plugin, Loss):
        yield from loss_checks(plugin, architecture)
    elif issubclass(plugin, Dataset):
        yield from dataset_checks(plugin)
    elif issubclass(plugin, Metric):
        yield from metric_checks(plugin)


def registered_checks(entry: registry.Entry) -> Iterator[Check]:
    """Yield the checks of an installed plugin: a loss's with the architecture of its name in its package, if any is.

    Raise :class:`PluginError` where it cannot be loaded.
    """
    partner = next((e for e in registry.entries() if e == entry._replace(kind="architecture", target=e.target)), None)
    made_for = registry.load("architecture", partner.name) if partner and entry.kind == "loss" else None
    yield from checks(registry.load(entry.kind, entry.name), cast("type[Architecture] | None", made_for))
