"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganctl.errors import GanctlError, plain


class CannotWrite(GanctlError):
    """The disk is full, broken, or not ours to write to. What was there before is there still."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside *path*; what was written there takes *path*'s place when the block ends well.

    The bytes reach the disk before the name does, and the name before the block returns, so that a crash leaves the
    old file or the new one. Raise :class:`CannotWrite` where that fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        try:
            yield temporary
            _sync(temporary, os.O_RDWR)
            temporary.replace(path)
            if os.name == "posix":
                _sync(path.parent, os.O_RDONLY)
        except OSError as error:
            raise CannotWrite(f"cannot write {plain(path)}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write(path: Path, content: bytes) -> None:
    """Write *content* to *path*, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
