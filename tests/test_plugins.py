"""Every registered plugin does what its kind should: a new one is covered the moment it is registered."""

from __future__ import annotations

import pytest

from ganctl import registry
from ganctl.testing import Check, registered_checks


def every() -> list[object]:
    return [
        pytest.param(check, id=f"{entry.kind}-{entry.name}-{check}")
        for entry in registry.entries()
        for check in registered_checks(entry)
    ]


@pytest.mark.parametrize("check", every())
def test_every_registered_plugin_conforms(check: Check) -> None:
    check()
