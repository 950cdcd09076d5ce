"""One session of a run: consumes the trainer's reports and keeps what they lead to in the run folder."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from torch import nn

from ganctl import checkpoint, files, sampling, weights
from ganctl.run import MetricsLog, Run
from ganctl.trainer import Report, Trainer

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether a signal has asked the session to end: the first is noted, and Ctrl-C once more ends at once."""

    def __init__(self) -> None:
        self.signal = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


@contextmanager
def listening() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM instead of dying of them, while the block runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop.note) for number in ENDING_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(trainer: Trainer, run: Run, show: Callable[[Report], None], log_bytes: int = 0) -> int:
    """Train to the end, or until a signal comes: then save, and return its number; at the end return 0.

    *log_bytes* is how much of metrics.jsonl the checkpoint, from which *trainer* was restored, had seen.
    """
    settings = trainer.settings.train
    dim, classes = trainer.settings.architecture.latent_dim, len(trainer.settings.spec.classes)
    layout = sampling.layout(kept(trainer), dim, classes, settings.seed)
    saved_at = time.monotonic()
    with MetricsLog(run.metrics, keep=log_bytes) as log, listening() as stop:
        for report in trainer.run():
            for kind, figures in report.rows.items():
                row = {"kind": kind, "step": report.step, "epoch": report.epoch, "images": report.images}
                log.append(row | {"seconds": round(report.seconds, 3), **figures})
            try:
                show(report)
            except BrokenPipeError:  # whoever read what is shown has gone; what was trained is kept
                save(trainer, run, log)
                raise
            ended = report.step == trainer.total_steps
            epoch = report.epoch if "epoch" in report.rows else None
            if report.step == 0 or ended or (epoch and epoch % settings.sample_every == 0):
                with files.replacing(run.sample(report.epoch)) as path:
                    sampling.sheet(kept(trainer), *layout).save(path, format="PNG")
            due = (epoch and epoch % settings.checkpoint_every == 0) or (
                time.monotonic() - saved_at > settings.checkpoint_minutes * 60
            )
            if due or ended or stop.signal:
                save(trainer, run, log)
                saved_at = time.monotonic()
            if stop.signal and not ended:
                return stop.signal
    return 0


def save(trainer: Trainer, run: Run, log: MetricsLog) -> None:
    """Keep all that the run needs to go on, and the generator; the log is on the disk before what counts on it."""
    checkpoint.save(run.checkpoint(trainer.step), trainer, log.sync())
    for old in run.saved()[: -trainer.settings.train.keep]:
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
