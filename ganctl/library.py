"""Training from Python: what ``from ganctl import Trainer`` gives. The same settings give the same bits as the command.

trainer = Trainer("photos/", loss="hinge", size=64, epochs=5, settings={"arch.width": 32})
run = trainer.train("run")              # shown here, and all of it kept in run/

for report in trainer.run():            # or step by step, with nothing written
    ...
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from ganctl import sampling, session
from ganctl.assemble import Layers, load_init, parts
from ganctl.commands import training
from ganctl.display import display
from ganctl.errors import GanctlError
from ganctl.resolve import Layer, Value, read_recipe
from ganctl.run import Run, check_out, open_run
from ganctl.trainer import Trainer as Loop

PathLike = str | os.PathLike[str]


class Trainer(Loop):
    """Trains a GAN. The arguments are the options of ``ganctl train``, and *settings* is what ``--set`` takes.

    ``Trainer()`` is ``ganctl train`` without options. The images are packed, and the networks made, at once; training
    begins with :meth:`train`, or with the first report of :meth:`~ganctl.trainer.Trainer.run`. The networks are in
    ``generator``, ``discriminator`` and ``ema.network``. Raise :class:`GanctlError` for settings that are wrong.
    """

    def __init__(
        self,
        data: PathLike | None = None,
        *,
        arch: str | None = None,
        loss: str | None = None,
        size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        device: str | None = None,
        precision: str | None = None,
        recipe: PathLike | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        init: PathLike | None = None,
        eval_every: int | None = None,
        log: str | None = None,
        show: bool = True,
    ) -> None:
        """Get ready to train; with *show*, tell of it, and later of the training."""
        # Named as on the command line, so that run folders are the same, and errors name what both have.
        flags: dict[str, tuple[str, object]] = {
            "data.source": ("--data", None if data is None else os.fspath(data)),
            "arch.name": ("--arch", arch),
            "loss.name": ("--loss", loss),
            "data.size": ("--size", size),
            "train.epochs": ("--epochs", epochs),
            "train.batch_size": ("--batch-size", batch_size),
            "train.seed": ("--seed", seed),
            "train.device": ("--device", device),
            "train.precision": ("--precision", precision),
            "train.init": ("--init", None if init is None else os.fspath(init)),
            "train.eval_every": ("--eval-every", eval_every),
            "train.log": ("--log", log),
        }
        values = {key: Value(value, "--set") for key, value in settings.items()}
        values |= {key: Value(value, name) for key, (name, value) in flags.items() if value is not None}
        layers = Layers(Layer(values), read_recipe(Path(recipe)) if recipe is not None else Layer())
        self._display = display(quiet=not show)
        with self._display as shown:
            self._packed = training.load(layers, shown)
            super().__init__(*parts(layers, self._packed, lambda line: shown.note(line, "dim")))
        load_init(self)

    def train(self, out: PathLike | None = None, overwrite: bool = False) -> Run:
        """Train to the end, as ``ganctl train --out OUT`` does, and return the run folder.

        An interrupt, of the keyboard or of a notebook's kernel, saves, and is raised as usual then;
        :func:`ganctl.resume` goes on. Raise :class:`GanctlError` where *out* exists and is not to be replaced.
        """
        folder = None if out is None else Path(out)
        if self.step >= self.total_steps:
            raise GanctlError("this trainer has trained to its end; make another, or ganctl.resume(run, epochs=...)")
        check_out(folder, overwrite)
        with self._display as shown:
            number, run = training.begin(self, self._packed, folder, overwrite, shown)
        _finish(number)
        return run

    def sheet(self) -> Image.Image:
        """Draw the sample sheet: the same latents each time, with the weights as they are."""
        architecture, classes = self.settings.architecture, len(self.settings.spec.classes)
        network = session.kept(self)
        return sampling.sheet(
            network, *sampling.layout(network, architecture.latent_dim, classes, self.settings.train.seed)
        )


def resume(run: Run | PathLike, epochs: int | None = None, anyway: bool = False, show: bool = True) -> Run:
    """Go on with a run from its last checkpoint, as ``ganctl resume`` does, up to *epochs* in all.

    Raise :class:`GanctlError` where it is no run, or its images have changed and it is not to go on *anyway*.
    """
    opened = run if isinstance(run, Run) else open_run(Path(run))
    more = {} if epochs is None else {"train.epochs": Value(epochs, "--epochs")}
    with display(quiet=not show) as shown:
        number = training.resume(opened, Layer(more), shown, anyway)
    _finish(number)
    return opened


def _finish(number: int) -> None:
    """Go on with what the signal *number* had asked for, once all is saved."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number:
        raise SystemExit(128 + number)
