"""What ganctl says when something is wrong: one line that names it, where it is, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GanctlError(Exception):
    """Something that the user can put right. Its text is the one line that the user sees."""

    exit_code = 1


class PluginError(GanctlError):
    """A plugin that cannot be used, blamed on its package. It costs only the user who names the plugin."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of *known*, else the known names; nothing if there are none."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(names)}" if names else ""


def plain(text: object) -> str:
    """Return *text* on one line, control characters made visible, so that a hostile name cannot drive a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
