"""Files from the network, with progress, and why they do not come."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from ganctl.api import Progress
from ganctl.errors import plain

_TIMEOUT = 30
_BLOCK = 1 << 18


def download(address: str, path: Path, progress: Progress, name: str = "") -> None:
    """Write what is at *address* to *path*, and report on it as *name*, or that of *path*.

    Raise OSError or HTTPException where it does not come.
    """
    request = Request(address, headers={"User-Agent": "ganctl"})
    with urlopen(request, timeout=_TIMEOUT) as response, path.open("wb") as file:
        total, done = response.length, 0
        while block := response.read(_BLOCK):
            done += file.write(block)
            progress(f"downloading {name or path.name}", done, total)


def reason(error: Exception) -> str:
    """Say in a few words why a download failed."""
    # urllib wraps the operating system's words in its own.
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    return plain(getattr(cause, "strerror", None) or str(cause).partition("\n")[0] or type(cause).__name__)
