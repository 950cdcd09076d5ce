"""Run a sweep: each trial in a process of its own, so that none costs another anything. Only those import torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ganctl.display import Display, clock, figures_line
from ganctl.errors import GanctlError, plain
from ganctl.resolve import Layer
from ganctl.run import InUse, Run, contents, held
from ganctl.sweep import Record, Sweep, Trial

PATIENCE = 120
"""Seconds for which trials whose sweep has been killed are waited for: they are saving."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Task: TypeAlias = Callable[[Display], int]
"""What a process does; it returns the number of the signal that ended it early, or 0."""

Main: TypeAlias = Callable[[Callable[[], None], Task], None]
"""The main function of a process: it calls the first, then does the second, and exits accordingly."""


def sweep(plan: Sweep, out: Path, jobs: int, main: Main, shown: Display) -> int:
    """Train those trials of *plan* that are not done, *jobs* at a time, into run folders in *out*.

    *main* can be imported by its name. Return the exit code: 1 if a trial failed. Raise :class:`GanctlError`, before
    any trial begins, where one of them cannot be trained, or *out* is in use or something else's.
    """
    if out.is_dir() and contents(out) and not (out / "sweep.json").exists():
        raise GanctlError(f"{plain(out)} exists and is not a sweep's folder; name another with --out")
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GanctlError(f"cannot make the sweep's folder {plain(out)}: {error.strerror}") from error
    try:
        with held(out):
            return _sweep(plan, out, jobs, main, shown)
    finally:
        if not existed:
            with suppress(OSError):  # it is not empty: trials were begun
                out.rmdir()


def _sweep(plan: Sweep, out: Path, jobs: int, main: Main, shown: Display) -> int:
    record = Record(out)
    left, total = record.left(plan.trials), len(plan.trials)
    already = f", of which {total - len(left)} are done" if len(left) < total else ""
    shown.note(f"{plain(plan.path)}: {total} trials{already}, into {plain(out)}/", "bold")
    crew = _Crew(out, record, jobs, main, shown, total)
    crew.done = total - len(left)
    if left:
        for trial in left:
            wait_for(Run(out / trial.name), shown)
        _check(left, main, shown)
        try:
            crew.train(left)
        except BaseException as error:
            # No trial outlives its sweep, whatever ends that.
            crew.end()
            if not isinstance(error, Exception):
                shown.note(f"stopped, with {crew.done} of {total} trials done; the same command goes on", "yellow")
            raise
    for name, reason in crew.failures.items():
        print(f"ganctl: trial {name} failed: {reason} ({plain(out / name)}.log)", file=sys.stderr)
    if crew.failures:
        shown.note(f"{crew.done} of {total} trials are done; the same command tries the others again", "yellow")
    else:
        shown.note(f"all {total} trials are done", "bold green")
    if crew.done:
        shown.note(f"  ganctl compare {plain(out)}    puts them side by side")
    return min(len(crew.failures), 1)


def wait_for(run: Run, shown: Display) -> None:
    """Wait for a trial that is saving because its sweep has been killed, if there is one.

    Raise :class:`InUse` where it is not done with that in two minutes, and so is something else.
    """
    if not run.path.is_dir():
        return
    try:
        with held(run.path):
            return
    except InUse:
        shown.note(f"waits for the process that is still saving {run}")
    with held(run.path, PATIENCE):
        pass


def _check(trials: list[Trial], main: Main, shown: Display) -> None:
    """Exit where one of *trials* cannot be trained; what is wrong with it has been said then."""
    shown.note("checks the settings of each")
    part = _Part.begin(main, partial(check, trials), None)
    try:
        part.process.join()
    except BaseException:
        part.ask_to_end()
        part.process.join()
        raise
    if part.process.exitcode == 1:
        raise SystemExit(1)
    if part.process.exitcode:
        raise GanctlError(f"the process that checks the settings {_fate(part.process.exitcode)}")


def check(trials: list[Trial], shown: Display) -> int:
    """Do with each of *trials* all that can be done without its images, one step on noise included.

    Raise :class:`GanctlError` for the first that is wrong.
    """
    from ganctl import device as devices
    from ganctl.assemble import Layers
    from ganctl.precision import precision
    from ganctl.rehearsal import rehearse

    for trial in trials:
        try:
            settings = Layers(trial.user, trial.recipe).resolve()
            device = devices.device(settings.train.device)
            rehearse(settings, device, precision(settings.train.precision, device).dtype)
        except GanctlError as error:
            raise GanctlError(f"trial {trial.name}: {error}") from error
    return 0


def train(trial: Trial, out: Path, jobs: int, shown: Display) -> int:
    """Train *trial* beside ``jobs - 1`` others, from its last checkpoint on if it has one."""
    import torch

    from ganctl.commands import training

    if jobs > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    run = Run(out / trial.name)
    if run.saved():
        return training.resume(run, Layer({}), shown)
    return training.train(trial.user, trial.recipe, run.path, True, shown)


class _Part(NamedTuple):
    """A process, and our end of a pipe: when that is closed, as it is when we die, the process saves and ends."""

    process: SpawnProcess
    pipe: Connection

    @classmethod
    def begin(cls, main: Main, task: Task, log: Path | None) -> _Part:
        """Do *task* in a new process; what it says goes to *log*."""
        context = multiprocessing.get_context("spawn")
        theirs, ours = context.Pipe(duplex=False)
        # The reading end goes to the process, and what is read is that nobody can write any more.
        process = context.Process(target=main, args=(partial(_prepare, theirs, log), task))
        with _signals_held():
            process.start()
            theirs.close()
            return cls(process, ours)

    def ask_to_end(self) -> None:
        """Have the process save and end."""
        self.pipe.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait, here and in the process that starts meanwhile: one amid its start would print a traceback."""
    if sys.platform == "win32":
        yield
        return
    # multiprocessing would start this with the first process, and let signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(pipe: Connection, log: Path | None) -> None:
    """Prepare a new process. Ctrl-C, which a terminal sends to all, stays held: it is for the sweep."""
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def _end_with(pipe: Connection) -> None:
    """End this process as SIGTERM would once the other end of *pipe* is closed."""
    with suppress(EOFError, OSError):
        pipe.recv_bytes()
    interrupt_main(signal.SIGTERM)


class _Crew:
    """The trials that are being trained, and how those before them ended."""

    def __init__(self, out: Path, record: Record, jobs: int, main: Main, shown: Display, total: int) -> None:
        self.done = 0
        self.failures: dict[str, str] = {}
        """Reasons, by the names of the trials."""
        self._out, self._record, self._jobs, self._main, self._shown = out, record, jobs, main, shown
        self._total = total
        self._busy: list[tuple[Trial, _Part]] = []

    def train(self, trials: list[Trial]) -> None:
        """Train *trials*. One that fails does not keep the others from being trained."""
        waiting = iter(trials)
        while True:
            self._shown.progress("trials", self.done + len(self.failures), self._total)
            while len(self._busy) < self._jobs and (trial := next(waiting, None)):
                self._begin(trial)
            if not self._busy:
                return
            wait([part.process.sentinel for _, part in self._busy])
            for trial, part in self._busy.copy():
                if not part.process.is_alive():
                    self._ended(trial, part)

    def end(self) -> None:
        """Have all that are being trained save and end; Ctrl-C once more ends them at once."""
        for _, part in self._busy:
            part.ask_to_end()
        try:
            for _, part in self._busy:
                part.process.join()
        except BaseException:
            for _, part in self._busy:
                part.process.kill()
            raise
        for trial, part in self._busy:
            if part.process.exitcode == 0:
                self._ended(trial, part)

    def _begin(self, trial: Trial) -> None:
        self._record.keep(trial, "begun")
        saved = Run(self._out / trial.name).saved()
        task = partial(train, trial, self._out, self._jobs)
        part = _Part.begin(self._main, task, self._out / f"{trial.name}.log")
        self._busy.append((trial, part))
        words = f"goes on at step {Run.step(saved[-1])}" if saved else "begins"
        self._shown.note(f"{trial.name} {words}")

    def _ended(self, trial: Trial, part: _Part) -> None:
        self._busy.remove((trial, part))
        if not part.process.exitcode:
            self.done += 1
            self._record.keep(trial, "done")
            self._shown.note(f"{trial.name} is done{_outcome(Run(self._out / trial.name))}")
            return
        reason = _reason(part.process.exitcode, self._out / f"{trial.name}.log")
        self.failures[trial.name] = reason
        self._record.keep(trial, "failed", reason)
        self._shown.note(f"{trial.name} failed: {reason}", "red")


def _outcome(run: Run) -> str:
    """Return how long *run* took and its last losses, in words."""
    rows = [row for row in run.rows() if row.get("kind") == "epoch"]
    if not rows:
        return ""
    losses = {key: rows[-1][key] for key in ("loss_g", "loss_d") if isinstance(rows[-1].get(key), float)}
    return f" in {clock(rows[-1]['seconds'])}  {figures_line(losses)}".rstrip()


def _reason(code: int, log: Path) -> str:
    """Return why a trial failed: what it said last, if it ended by itself."""
    if code != 1:
        return _fate(code)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return plain(lines[-1].removeprefix("ganctl: ")) if lines else "it did not say why"


def _fate(code: int) -> str:
    """Return in words how a process ended that did not end by itself."""
    number = -code if code < 0 else code - 128
    name = {known.value: known.name for known in signal.Signals}.get(number, f"exit code {code}")
    return f"was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
