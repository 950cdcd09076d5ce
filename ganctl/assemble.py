"""Settings -> a trainer that is ready: its data packed, its plugins rehearsed, its weights in place."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tomli_w
import torch
from PIL import ImageColor
from torch import Tensor

from ganctl import __version__, weights
from ganctl import device as devices
from ganctl.api import Progress
from ganctl.checkpoint import KEY
from ganctl.config import BUILT_IN, Settings
from ganctl.data.batches import Batches, choose
from ganctl.data.decode import Target
from ganctl.data.pack import Packed, pack
from ganctl.errors import GanctlError, plain
from ganctl.precision import precision
from ganctl.rehearsal import rehearse
from ganctl.resolve import Layer, Value, resolve
from ganctl.run import FORMAT, open_run
from ganctl.summary import recorded
from ganctl.trainer import Trainer


class Layers(NamedTuple):
    """Where settings come from, from the last word to the first."""

    user: Layer
    recipe: Layer
    begun: bool = False
    """Whether the run has a checkpoint: the weights that it once started from do not matter then, and may be gone."""

    def resolve(self, images: int | None = None) -> Settings:
        """Resolve them. Raise :class:`GanctlError` for the first that is wrong."""
        init = self.user.values.get("train.init") or self.recipe.values.get("train.init")
        start = init_layer(Path(str(init.value))) if init and not self.begun else None
        return resolve(self.user, self.recipe, start, images)


def target(settings: Settings) -> Target:
    """Return the form that images are packed in."""
    background = ImageColor.getrgb(settings.data.background)[:3]
    return Target(settings.data.size, settings.spec.channels, settings.data.fit, background)


def load_data(settings: Settings, progress: Progress) -> Packed:
    """Pack the data of *settings*, or map what is packed already. Raise :class:`GanctlError` where it is unusable."""
    name = settings.entries["data"].name
    return pack(settings.dataset, name, target(settings), on_error=settings.data.on_error, progress=progress)


class Parts(NamedTuple):
    """What a trainer is made of."""

    settings: Settings
    batches: Batches
    device: torch.device
    precision: torch.dtype


def assemble(layers: Layers, packed: Packed, tell: Callable[[str], None] = lambda _: None) -> Trainer:
    """Build the trainer of *layers* on *packed*, as :func:`parts` describes."""
    return Trainer(*parts(layers, packed, tell))


def parts(layers: Layers, packed: Packed, tell: Callable[[str], None] = lambda _: None) -> Parts:
    """Return what the trainer of *layers* on *packed* is made of, and *tell* what was chosen for the user, and why.

    Raise :class:`GanctlError` for what cannot be trained.
    """
    settings = layers.resolve()
    rows, labels = choose(
        packed.labels, packed.manifest.classes, settings.data.classes, settings.data.limit, settings.train.seed
    )
    if len(rows) < 2:
        raise GanctlError(f"only {len(rows)} usable images are left to train on; choose more classes")
    settings = layers.resolve(images=len(rows))
    device = devices.device(settings.train.device)
    devices.prepare(device)
    # The choice is recorded, so that the run can be repeated to the bit where auto would choose otherwise.
    chosen = precision(settings.train.precision, device)
    if chosen.why:
        tell(f"precision {chosen.name}: {chosen.why}")
    settings = replace(settings, train=settings.train.model_copy(update={"precision": chosen.name}))
    rehearse(settings, device, chosen.dtype)
    batches = Batches(
        packed.images,
        labels,
        seed=settings.train.seed,
        device=device,
        flip=settings.data.flip,
        chosen=rows,
        hold=devices.has_room(device, packed.images.nbytes),
    )
    return Parts(settings, batches, device, chosen.dtype)


def config_text(trainer: Trainer, packed: Packed) -> str:
    """Return config.toml: every resolved setting, where it came from, and what was made and trained with it."""
    settings = trainer.settings
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "python": platform.python_version(),
        **_software(),
        "images": len(trainer.batches),
        "pixels": packed.manifest.hash,
        "packages": {entry.package: entry.version for entry in settings.entries.values()},
        "sources": {
            key: origin for key, _, _ in settings.rows() if (origin := settings.origins.get(key, BUILT_IN)) != BUILT_IN
        },
        "networks": recorded(settings),
    }
    head = "# ganctl train --recipe FILE, with this as the file, repeats the run.\n\n"
    return head + tomli_w.dumps(settings.tables() | {"ganctl": about})


def init_layer(path: Path) -> Layer:
    """Return the settings that the weights at *path*, a run folder or an exported file, need: its network and size."""
    _, about = weights.read_header(open_run(path).weights if path.is_dir() else path)
    values = {f"arch.{name}": value for name, value in about.options.items() if value is not None}
    values |= {"arch.name": about.architecture, "data.size": about.data.size, "data.channels": about.data.channels}
    return Layer(MappingProxyType({key: Value(value, f"init {path}") for key, value in values.items()}), exact=False)


def load_init(trainer: Trainer) -> None:
    """Start *trainer* from the weights that its settings name; from a run folder, the discriminator's too."""
    if trainer.settings.train.init is None:
        return
    path = Path(trainer.settings.train.init)
    run = open_run(path) if path.is_dir() else None
    file = run.weights if run else path
    tensors, _ = weights.read_header(file)
    for network in (trainer.generator, trainer.ema.network):
        weights.fit(network, tensors, file)
    if run and run.saved():
        checkpoint = run.saved()[-1]
        saved, _ = weights.read(checkpoint, KEY)
        own: dict[str, Tensor] = {
            name.removeprefix("discriminator."): tensor
            for name, tensor in saved.items()
            if name.startswith("discriminator.")
        }
        weights.fit(trainer.discriminator, own, checkpoint)


def differences(about: Mapping[str, Any], settings: Settings, packed: Packed, anyway: bool) -> Iterator[str]:
    """Yield in words why a run cannot go on to the bit as it would have: what is not as *about* it, its config.toml.

    Raise :class:`GanctlError` where that is its images, unless they are to be trained on *anyway*.
    """
    if about.get("pixels") != packed.manifest.hash:
        if not anyway:
            raise GanctlError(
                "the images have changed since this run began, so it cannot go on exactly; put them back, go on with "
                "ganctl resume RUN --anyway, or start a new run from its weights with ganctl train --init RUN"
            )
        yield "the images have changed since this run began, and it goes on with what there is now"
    packages = about.get("packages")
    then = {**about, **(packages if isinstance(packages, Mapping) else {})}
    now = _software() | {entry.package: entry.version for entry in settings.entries.values()}
    changed = [f"{name} was {then[name]} and is {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        yield plain(f"goes on, but not to the bit as it would have: {', '.join(changed)}")


def _software() -> dict[str, Any]:
    """Return what the last bits of a run depend on, beside its settings and plugins."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
