"""What the health watch adds to a step: ``python tests/benchmarks/health.py [ROUNDS]``.

Rounds with the watch and without take turns, each of as many steps as lie between two looks. What counts is the time
that this process had a core, which other people's work on the machine disturbs least.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch

from ganctl import sampling
from ganctl.data.batches import Batches
from ganctl.health import vitals
from ganctl.health.watch import Watch
from ganctl.resolve import Layer, Value, resolve
from ganctl.session import examine, kept
from ganctl.trainer import Report, Trainer

MEASURED_EVERY = vitals.MEASURED_EVERY
SIZES = {"64 filters, batch 128": (64, 128), "16 filters, batch 16": (16, 16)}


def make(width: int, batch: int) -> Trainer:
    """Return a trainer on noise of 32 pixels."""
    values = {"data.size": 32, "arch.width": width, "train.batch_size": batch, "train.steps": 10**6}
    settings = resolve(Layer({key: Value(value, "--set") for key, value in values.items()}), images=4096)
    images = np.random.default_rng(0).integers(0, 256, (4096, 32, 32, 3), np.uint8)
    cpu = torch.device("cpu")
    return Trainer(settings, Batches(images, None, seed=0, device=cpu), cpu, torch.float32)


class Rounds:
    """One training, whose rounds are watched or not."""

    def __init__(self, trainer: Trainer) -> None:
        settings, state = trainer.settings, dict[str, Any]()
        layout = sampling.layout(kept(trainer), settings.architecture.latent_dim, 0, 0)
        self._trainer, self._reports = trainer, trainer.run()
        self._signs, self._watch = vitals.Vitals(trainer, layout, conditional=False), Watch(settings, state)
        next(self._reports)
        self.steps = next(step for step in range(1, 10**4) if self._signs.due(step))

    def round(self, watched: bool) -> float:
        """Return the seconds of a step."""
        vitals.MEASURED_EVERY = MEASURED_EVERY if watched else 10**9
        began = time.process_time()
        for report in self._some():
            if watched:
                examine(self._trainer, self._signs, self._watch, report, writes=False)
        return (time.process_time() - began) / self.steps

    def _some(self) -> Iterator[Report]:
        for _ in range(self.steps):
            yield next(self._reports)


def main(rounds: int) -> None:
    """Print for each size what a step takes with the watch and without, and their ratio."""
    torch.set_num_threads(1)
    for name, size in SIZES.items():
        trial = Rounds(make(*size))
        trial.round(watched=True)  # the first look is at the images, too
        pairs = [(trial.round(watched=False), trial.round(watched=True)) for _ in range(rounds)]
        off, on = (median(times) for times in zip(*pairs, strict=True))
        ratio = median(watched / without for without, watched in pairs)
        print(f"{name}: {off * 1e3:.2f} ms a step without, {on * 1e3:.2f} with it, ratio {ratio:.4f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
