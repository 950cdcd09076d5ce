"""Whose bug a traceback shows: ganctl's, or a plugin's."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from ganctl import __version__, registry


def owner_of(error: BaseException) -> str:
    """Return the package and version whose code is innermost in the traceback of *error*."""
    places = {Path(__file__).parent: f"ganctl {__version__}"}
    for entry in registry.entries():
        module = sys.modules.get(entry.target.split(":")[0].split(".")[0])
        if module and module.__file__ and entry.package != "ganctl":
            file = Path(module.__file__)
            places[file.parent if file.name == "__init__.py" else file] = entry.owner
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for place, owner in places.items():
            if Path(frame.filename).is_relative_to(place):
                return owner
    return f"ganctl {__version__}"
