"""The folder where ganctl keeps what it can make again, and how something gets there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from ganctl.errors import GanctlError, plain

_SPARE = 64 << 20
_ABANDONED = 24 * 3600
_REMEDY = "set the environment variable GANCTL_CACHE to a folder with room that you may write to"


def cache_folder() -> Path:
    """Return the folder of packed and downloaded images: ``GANCTL_CACHE``, or else the platform's cache folder."""
    named = os.environ.get("GANCTL_CACHE")
    return Path(named).expanduser().absolute() if named else platformdirs.user_cache_path("ganctl", appauthor=False)


@contextmanager
def building(folder: Path, size: int) -> Iterator[Path]:
    """Yield an empty folder that takes the place of *folder* when the block ends, and is removed if the block fails.

    Processes that build the same folder at once both succeed, and the last one's stays. Raise :class:`GanctlError`
    where nothing can be written or there is no room for *size* bytes.
    """
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        needed, free = size + _SPARE, shutil.disk_usage(parent).free
        if free < needed:
            room = f"{needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free"
            raise GanctlError(f"too little room in {plain(parent)}: {room}; {_REMEDY}")
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=parent))
    except OSError as error:
        raise unwritable(parent, error) from error
    try:
        new = work / "new"
        new.mkdir()
        yield new
        for path in new.iterdir():
            _sync(path)
        _put_in_place(new, folder, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unwritable(folder: Path, error: OSError) -> GanctlError:
    """Return what to tell the user when writing below *folder* failed."""
    return GanctlError(f"cannot write to the cache folder {plain(folder)}: {error.strerror or error}; {_REMEDY}")


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    while True:
        try:
            new.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        # No call replaces a folder that is not empty. Another process may be as far as this one, hence the loop.
        with suppress(FileNotFoundError):
            folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove what processes that were killed left behind; a living one is done with its files within a day."""
    for path in parent.glob(".*.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
