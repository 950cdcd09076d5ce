"""ganctl trains generative adversarial networks on anybody's images.

Importing it is free: torch, numpy and the plugins load when something asks for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ganctl.errors import GanctlError as GanctlError

if TYPE_CHECKING:
    from ganctl.library import Trainer as Trainer
    from ganctl.library import resume as resume
    from ganctl.run import Run as Run

__version__ = "0.1.0"
__all__ = ["GanctlError", "Run", "Trainer", "__version__", "resume"]

_HOMES = {"Run": "ganctl.run", "Trainer": "ganctl.library", "resume": "ganctl.library"}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is asked for."""
    if name in _HOMES:
        if _HOMES[name] == "ganctl.library":
            from ganctl import memory

            memory.keep()  # before torch is imported, as the command does
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ganctl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
