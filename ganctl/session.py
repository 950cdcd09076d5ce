"""One session of a run: consumes the trainer's reports and keeps what they lead to in the run folder."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple, Protocol

from PIL import Image
from torch import nn

from ganctl import checkpoint, files, sampling, weights
from ganctl.errors import GanctlError, plain
from ganctl.evaluation import Judge, Score
from ganctl.health import vitals
from ganctl.health.watch import NOT_FINITE, Event, Watch
from ganctl.run import MetricsLog, Run
from ganctl.trainer import Report, Trainer


class Asked:
    """What signals have asked the session for."""

    def __init__(self) -> None:
        self.end = 0
        """The number of the first signal to end: Ctrl-C, SIGTERM, or a terminal that was closed."""
        self._save = False

    def to_end(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; Ctrl-C once more ends at once."""
        if self.end and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.end = self.end or number

    def to_save(self, number: int, frame: FrameType | None) -> None:
        """Note SIGUSR1, by which schedulers warn of a kill that may come."""
        self._save = True

    def save(self) -> bool:
        """Whether a checkpoint was asked for since this was called last."""
        asked, self._save = self._save, False
        return asked


@contextmanager
def listening() -> Iterator[Asked]:
    """Note signals instead of dying of them, while the block runs; one that was ignored, as by nohup, still is.

    Python lets the main thread alone do so: in another, nothing is noted.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers = {"SIGINT": asked.to_end, "SIGTERM": asked.to_end, "SIGHUP": asked.to_end, "SIGUSR1": asked.to_save}
    known = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
    ignored = {number for number in known if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in known.items() if number not in ignored}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


UNSAMPLED = "unsampled"
"""The event of the first sample sheet that cannot be written."""


class Show(Protocol):
    """What is told of a training while it goes on."""

    def report(self, report: Report) -> None:
        """Take what the trainer says before the first step and after each."""

    def event(self, event: Event) -> None:
        """Take a sickness that begins or ends."""

    def verdict(self, verdict: Verdict) -> None:
        """Take what an evaluation found."""

    def sheet(self, sheet: Image.Image) -> None:
        """Take a sample sheet."""


class Verdict(NamedTuple):
    """What an evaluation in training found."""

    epoch: int
    scores: list[Score]
    best: bool
    """Whether the first of *scores* is the best so far."""


def train(
    trainer: Trainer,
    run: Run,
    shows: Sequence[Show],
    log_bytes: int = 0,
    judge: Judge | None = None,
) -> int:
    """Train to the end, or until a signal comes: then save, and return its number; at the end return 0.

    *shows* are told what happens. *judge*, if there is one, evaluates every ``train.eval_every`` epochs and at the end.
    *log_bytes* is how much of metrics.jsonl the checkpoint, from which *trainer* was restored, had seen. Raise
    :class:`GanctlError` when the run's numbers are not finite any more: what was saved last stays.
    """
    settings = trainer.settings.train
    dim, classes = trainer.settings.architecture.latent_dim, len(trainer.settings.spec.classes)
    layout = sampling.layout(kept(trainer), dim, classes, settings.seed)
    signs = vitals.Vitals(trainer, layout, sampling.tells_classes(kept(trainer), dim, classes))
    watch = Watch(trainer.settings, trainer.notes.setdefault("watch", {}))
    saved_at, unsampled = time.monotonic(), False
    with MetricsLog(run.metrics, keep=log_bytes, step=trainer.step) as log, listening() as asked, _unwritten(run):
        for report in trainer.run():
            place = report.step, report.epoch, report.images
            for kind, figures in report.rows.items():
                row = {"kind": kind, "step": report.step, "epoch": report.epoch, "images": report.images}
                log.append(row | {"seconds": round(report.seconds, 3), **figures})
            ended, stopped = report.step == trainer.total_steps, asked.end
            epoch = report.epoch if "epoch" in report.rows else None
            draws = report.step == 0 or ended or (epoch and epoch % settings.sample_every == 0)
            due = (epoch and epoch % settings.checkpoint_every == 0) or (
                time.monotonic() - saved_at > settings.checkpoint_minutes * 60
            )
            saves = asked.save() or due or ended or stopped
            judges = judge and epoch and (ended or epoch % settings.eval_every == 0)
            events = examine(trainer, signs, watch, report, writes=bool(draws or saves or judges))
            if events and events[0].name == NOT_FINITE:
                log.append(events[0].row(*place))
                onward = f"ganctl train --init {run} goes on from it with other settings"
                raise GanctlError(f"{events[0].text}; {_last_good(run, onward)}")
            verdict = None
            if judge and judges:
                scores = judge.scores(kept(trainer))
                rows = [score.row(*place) for score in scores]
                for row in rows:
                    log.append(row)
                events += watch.metric(rows[0])
                verdict = Verdict(report.epoch, scores, best=watch.best == rows[0])
            for event in events:
                log.append(event.row(*place))
            try:
                for show in shows:
                    show.report(report)
                    if verdict:
                        show.verdict(verdict)
                    for event in events:
                        show.event(event)
            except OSError:  # whoever read what is shown has gone, or its disk is full; what was trained is kept
                if vitals.finite(trainer):
                    save(trainer, run, log)
                raise
            if draws:
                sheet = sampling.sheet(kept(trainer), *layout)
                for show in shows:
                    show.sheet(sheet)
                try:
                    with files.replacing(run.sample(report.epoch)) as path:
                        sheet.save(path, format="PNG")
                except files.CannotWrite as error:  # no reason to lose more than this
                    for show in () if unsampled else shows:
                        show.event(Event(UNSAMPLED, True, f"{error}; training goes on without such sheets"))
                    unsampled = True
            if verdict and verdict.best:  # before the checkpoint that knows of it
                checkpoint.save(run.best, trainer, log.sync())
            if saves:
                save(trainer, run, log)
                saved_at = time.monotonic()
            if stopped and not ended:
                return stopped
    return 0


def examine(trainer: Trainer, signs: vitals.Vitals, watch: Watch, report: Report, writes: bool) -> list[Event]:
    """Return what there is to tell of the run's health at *report*, after which something is written if *writes*."""
    looks = signs.due(report.step)
    if (looks or writes) and not vitals.finite(trainer):
        return [watch.not_finite(report.step, report.epoch)]
    events = watch.look(signs.look(report, kept(trainer))) if looks else []
    return [watch.not_finite(report.step, report.epoch)] if watch.diverged else events


def _last_good(run: Run, onward: str) -> str:
    """Say which of what *run* has saved is the last, and how to go *onward*."""
    saved = run.saved()
    if saved:
        return f"{plain(saved[-1])} was saved before; {onward}"
    return f"nothing was saved before, and {run} can be removed"


@contextmanager
def _unwritten(run: Run) -> Iterator[None]:
    """Say what is left of *run* when the disk takes no more."""
    try:
        yield
    except files.CannotWrite as error:
        onward = f"once it can be written, ganctl resume {run} goes on from it"
        raise GanctlError(f"{error}; {_last_good(run, onward)}") from error


def save(trainer: Trainer, run: Run, log: MetricsLog) -> None:
    """Keep all that the run needs to go on, and the generator; the log is on the disk before what counts on it."""
    checkpoint.save(run.checkpoint(trainer.step), trainer, log.sync())
    settings = trainer.settings.train
    for old in run.saved()[: -settings.keep]:
        epoch, within = divmod(run.step(old), trainer.steps_per_epoch)
        if within or not settings.keep_every or epoch % settings.keep_every:
            with suppress(OSError):  # one that stays does no harm
                old.unlink()
    export(trainer, run)


def kept(trainer: Trainer) -> nn.Module:
    """Return the generator that is sampled and exported: the averaged one, if there is one."""
    return trainer.ema.network if trainer.settings.train.ema else trainer.generator


def export(trainer: Trainer, run: Run) -> None:
    """Write the generator to the run folder, usable alone."""
    about = weights.header(
        trainer.settings, ema=trainer.settings.train.ema > 0, step=trainer.step, images=trainer.images
    )
    weights.save(run.weights, kept(trainer).state_dict(), about.model_dump(mode="json"))
