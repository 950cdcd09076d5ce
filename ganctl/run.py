"""The run folder: what a training leaves behind, and how others read it. No torch.

RUN/config.toml  metrics.jsonl  samples/epoch-0001.png  checkpoints/  generator.safetensors
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from ganctl import __version__, files
from ganctl.errors import GanctlError, plain

FORMAT = 1
"""Of run folders and exported weights. A ganctl refuses what is newer than its own."""

LOCK = ".lock"
"""The file in a folder by whose lock a process has it for itself. The lock ends with the process, however that ends."""


def check_format(header: object, path: Path) -> None:
    """Raise :class:`GanctlError` where *header*, the ``ganctl`` table of the file at *path*, is from a newer ganctl."""
    number = header.get("format", FORMAT) if isinstance(header, Mapping) else None
    if not isinstance(number, int):
        raise GanctlError(f"{plain(path)}: its ganctl table is not one that ganctl wrote")
    if number > FORMAT:
        raise GanctlError(
            f"{plain(path)} is of format {number}, from a newer ganctl; this is {__version__}, upgrade it"
        )


class InUse(GanctlError):
    """Another process has the folder for itself."""


@contextmanager
def held(folder: Path, wait: float = 0) -> Iterator[None]:
    """Have *folder* for this process alone while the block runs.

    Raise :class:`InUse` where another process has it, and still has it after *wait* seconds.
    """
    from filelock import FileLock, Timeout  # which most commands need not wait for

    lock = FileLock(folder / LOCK, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise InUse(f"{plain(folder)} is in use: another ganctl works in it; wait for it, or stop it") from None
    except OSError as error:
        raise GanctlError(f"cannot write {plain(folder / LOCK)}: {error.strerror}") from error
    try:
        yield
    finally:
        # Removed while it is locked: who has opened it meanwhile finds that it has no name any more, and tries again.
        with suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()


def contents(folder: Path) -> list[Path]:
    """List what is in *folder*, without the lock and the half-written files that a killed process left."""
    return [path for path in folder.iterdir() if path.name != LOCK and not path.match(".*.tmp*")]


class Run:
    """A run folder and the paths in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = ExitStack()
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.weights = path / "generator.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        """The checkpoint of the best evaluation so far, beside the last ones."""

    def __str__(self) -> str:
        return plain(self.path)

    def sample(self, epoch: int) -> Path:
        """Return the sample sheet's path of *epoch*; 0 is the untrained generator."""
        return self.samples / f"epoch-{epoch:04d}.png"

    def checkpoint(self, step: int) -> Path:
        """Return the checkpoint's path of generator step *step*."""
        return self.checkpoints / f"step-{step:09d}.safetensors"

    @staticmethod
    def step(checkpoint: Path) -> int:
        """Return the generator step of one of :meth:`saved`."""
        return int(checkpoint.stem.removeprefix("step-"))

    def saved(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        return sorted(self.checkpoints.glob(f"step-{'[0-9]' * 9}.safetensors"))

    def hold(self) -> Run:
        """Have the folder for this process alone, to the end of the ``with`` block that begins with this.

        Raise :class:`InUse` where another process has it.
        """
        self._held.enter_context(held(self.path))
        return self

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def sweep(self) -> None:
        """Put right what a killed process left: remove half-written files, make the folders it did not come to."""
        for folder in (self.path, self.samples, self.checkpoints):
            folder.mkdir(exist_ok=True)
            for path in folder.glob(".*.tmp*"):
                path.unlink(missing_ok=True)

    def tables(self) -> dict[str, Any]:
        """Return config.toml: the tables of settings, and ``ganctl``, see :meth:`about`.

        Raise :class:`GanctlError` where it is not the config.toml of a run, or is from a newer ganctl.
        """
        try:
            tables = tomllib.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise GanctlError(f"{plain(self.config)} cannot be read: {plain(error)}") from error
        if "ganctl" not in tables:
            raise GanctlError(f"{self} is not a run folder: its config.toml was not written by ganctl")
        check_format(tables["ganctl"], self.config)
        return tables

    def about(self) -> dict[str, Any]:
        """Return what config.toml says of the software and the data that the run was made with.

        Raise :class:`GanctlError` as :meth:`tables` does.
        """
        return dict(self.tables()["ganctl"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of metrics.jsonl; a line that is torn, or is no row, is skipped."""
        if not self.metrics.exists():
            return
        with self.metrics.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    yield row


def open_run(path: Path) -> Run:
    """Return the run in the folder *path*. Raise :class:`GanctlError` where there is none, or it is from the future."""
    run = Run(path)
    if not path.exists():
        raise GanctlError(f"there is no run folder {run}; ganctl train --out {run} makes one")
    if not path.is_dir():
        raise GanctlError(f"{run} is a file, not a run folder")
    if not run.config.is_file():
        raise GanctlError(f"{run} is not a run folder: it has no config.toml")
    run.about()
    return run


def check_out(out: Path | None, overwrite: bool) -> None:
    """Refuse now what :func:`make` would refuse once the data are packed.

    Raise :class:`GanctlError` where *out* exists and may not be overwritten, or cannot be written.
    """
    path = out or Path("run")
    if out and path.exists() and not path.is_dir():
        raise GanctlError(f"--out {plain(path)} is a file; name a folder")
    if out and path.is_dir() and contents(path):
        if not overwrite:
            raise GanctlError(f"--out {plain(path)} exists; add --overwrite, or name another")
        try:
            open_run(path)
        except GanctlError as error:
            raise GanctlError(f"--overwrite replaces only run folders: {error}") from error
        with held(path):
            pass
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise GanctlError(f"cannot make the run folder {plain(path)}: {plain(parent)} cannot be written to")


def make(out: Path | None, overwrite: bool, config: str) -> Run:
    """Make the run folder *out*, or the first of run, run-2, run-3 ... that is free, and write its config.toml.

    The run is held as by :meth:`Run.hold`: use it in a ``with`` block.
    Raise :class:`GanctlError` as :func:`check_out` does, and where *config* names a path that is not Unicode.
    """
    check_out(out, overwrite)
    try:
        content = config.encode()
    except UnicodeEncodeError as error:
        raise GanctlError("a path among the settings is not Unicode, which config.toml has to be; rename it") from error
    run = Run(out) if out else None
    try:
        if run:
            run.path.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            if run:
                break
            with suppress(FileExistsError):
                Path("run" if number == 1 else f"run-{number}").mkdir()
                run = Run(Path("run" if number == 1 else f"run-{number}"))
        assert run is not None
        run.hold()
        # The folder itself stays: it may be the current one, or a link.
        for path in contents(run.path):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # First of all, so that a process killed here leaves a run folder, or an empty one.
        files.write(run.config, content)
        run.sweep()
    except OSError as error:
        raise GanctlError(f"cannot make the run folder {plain(out or 'run')}: {error.strerror}") from error
    return run


class MetricsLog:
    """Appends rows to metrics.jsonl. Each is one write of one line, so that only the last can be torn."""

    def __init__(self, path: Path, keep: int | None = 0, step: int = 0) -> None:
        """Open *path*, cut back to its first *keep* bytes: what came after the checkpoint will come again.

        What will not is kept: metrics of steps up to *step*, which ``ganctl evaluate`` added. With None, all whole
        lines are.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise files.CannotWrite(f"cannot write {plain(path)}: {error.strerror}") from error
        self._path, self._file = path, os.fdopen(descriptor, "r+b")
        size = self._file.seek(0, os.SEEK_END)
        start = self._file.seek(min(keep or 0, size))
        lines = [line for line in self._file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        self._file.seek(max(start - 1, 0))
        if start and self._file.read(1) != b"\n":  # somebody has cut it short
            self._file.write(b"\n")
        self._file.writelines(line for line in lines if keep is None or _will_not_come_again(line, step))
        self._file.truncate()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row. A figure that is not finite is written as null, which is JSON."""
        line = json.dumps({k: _finite(v) for k, v in row.items()}) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:
            raise files.CannotWrite(f"cannot write {plain(self._path)}: {error.strerror}") from error

    def sync(self) -> int:
        """Bring what was written to the disk, and return how many bytes that is."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise files.CannotWrite(f"cannot write {plain(self._path)}: {error.strerror}") from error
        return self._file.tell()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # what could not be written was told of when it was appended
            self._file.close()


def _will_not_come_again(line: bytes, step: int) -> bool:
    """Whether *line*, which is newer than the checkpoint of *step*, is a metric of what the run was by then."""
    try:
        row = json.loads(line)
        return bool(row["kind"] == "metric" and row["step"] <= step)
    except (ValueError, TypeError, KeyError):
        return False


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value
