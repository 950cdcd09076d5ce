"""Train, resume, and what training would be."""

from __future__ import annotations

import math
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from ganctl import checkpoint, files, session, weights
from ganctl.assemble import Layers, assemble, config_text, differences, load_data, load_init
from ganctl.config import Settings
from ganctl.data.pack import Packed
from ganctl.display import Display, clock
from ganctl.errors import GanctlError, plain
from ganctl.evaluation import Judge
from ganctl.health.watch import Watch
from ganctl.resolve import Layer, expected, read_recipe
from ganctl.run import Run, make
from ganctl.summary import LayerLine, summarise
from ganctl.trainer import Trainer


def train(user: Layer, recipe: Layer, out: Path | None, overwrite: bool, shown: Display) -> int:
    """Train in a new run folder. Return the number of the signal that ended it early, or 0."""
    layers = Layers(user, recipe)
    packed = load(layers, shown)
    trainer = assemble(layers, packed, lambda line: shown.note(line, "dim"))
    load_init(trainer)
    return begin(trainer, packed, out, overwrite, shown)[0]


def load(layers: Layers, shown: Display) -> Packed:
    """Pack the data of *layers*, or map what is packed already."""
    settings = layers.resolve()
    _check_extras(settings)
    packed = load_data(settings, shown.progress)
    _tell_of_data(packed, shown)
    return packed


def begin(trainer: Trainer, packed: Packed, out: Path | None, overwrite: bool, shown: Display) -> tuple[int, Run]:
    """Train *trainer* in a new run folder, and return it with the number of the signal that ended it early, or 0."""
    for line in trainer.settings.skipped:
        shown.note(line, style="dim")
    _hint(trainer.settings, shown)
    judge = _judge(trainer, packed, shown)
    with make(out, overwrite, config_text(trainer, packed)) as run:
        return _train(trainer, run, shown, 0, judge), run


def resume(run: Run, user: Layer, shown: Display, anyway: bool = False) -> int:
    """Go on with *run*, if it is *anyway*, though its images have changed.

    Return the number of the signal that ended it early, or 0.
    """
    with run.hold():
        return _resume(run, user, shown, anyway)


def _resume(run: Run, user: Layer, shown: Display, anyway: bool) -> int:
    run.sweep()
    saved = run.saved()
    layers = Layers(user, read_recipe(run.config), begun=bool(saved))
    settings = layers.resolve()
    _check_extras(settings)
    packed = load_data(settings, shown.progress)
    for line in differences(run.about(), settings, packed, anyway):
        shown.note(line, "yellow")
    trainer = assemble(layers, packed, lambda line: shown.note(line, "dim"))
    log_bytes = 0
    if saved:
        log_bytes = _last_checkpoint(run, trainer, shown)
    else:
        shown.note(f"{run} ended before its first checkpoint: it starts over")
        load_init(trainer)
    if trainer.step >= trainer.total_steps:
        session.export(trainer, run)
        epochs = _epochs(trainer, trainer.step)
        shown.note(
            f"{run} is finished: {trainer.step} steps, {epochs} epochs; "
            f"ganctl resume {run} --epochs {2 * epochs} goes on"
        )
        return 0
    files.write(run.config, config_text(trainer, packed).encode())
    return _train(trainer, run, shown, log_bytes, _judge(trainer, packed, shown))


def _last_checkpoint(run: Run, trainer: Trainer, shown: Display) -> int:
    """Bring *trainer* to the last checkpoint of *run* that is whole; return how long metrics.jsonl was then.

    Later ones are set aside, for they would be taken for better ones, and kept: a disk may fail to read what is whole.
    Raise :class:`GanctlError` where none is whole.
    """
    damaged: list[Path] = []
    for path in reversed(run.saved()):
        try:
            log_bytes = checkpoint.load(path, trainer)
        except weights.Unreadable as error:
            shown.note(str(error), "yellow")
            damaged.append(path)
            continue
        for each in damaged:
            aside = each.replace(each.with_suffix(".damaged"))
            shown.note(f"it is set aside as {plain(aside)}, and {plain(path)} is gone on from", "yellow")
        return log_bytes
    raise GanctlError(f"no checkpoint of {run} can be read; ganctl train --init {run} begins anew from its weights")


def _check_extras(settings: Settings) -> None:
    """Raise :class:`GanctlError` for what is to be used and is not installed, before anything is made."""
    if settings.train.log == "tensorboard" and not find_spec("tensorboard"):
        raise GanctlError("--log tensorboard needs tensorboard: pip install 'ganctl[tensorboard]'")


def _judge(trainer: Trainer, packed: Packed, shown: Display) -> Judge | None:
    """Return what evaluates *trainer*'s generator, if anything does. Real images are looked at here, once."""
    if not trainer.settings.train.eval_every:
        return None
    judge = Judge(trainer.settings, packed, trainer.device, shown.aside)
    for line in judge.hints:
        shown.note(f"hint: {line}", style="yellow")
    return judge


def _train(trainer: Trainer, run: Run, shown: Display, log_bytes: int, judge: Judge | None) -> int:
    settings, epochs = trainer.settings, _epochs(trainer, trainer.total_steps)
    names = [settings.entries[table].name for table in ("arch", "loss")]
    images = f"{len(trainer.batches)} images of {settings.spec.size} px"
    shown.note(f"{names[0]} with {names[1]} on {images}, {trainer.device} {settings.train.precision}", "bold")
    shown.note(f"{trainer.total_steps} steps in {epochs} epochs, into {run}/")
    if trainer.step:
        shown.note(f"goes on at step {trainer.step}, epoch {_epochs(trainer, trainer.step)}")
    shown.training(epochs, trainer.total_steps, trainer.steps_per_epoch, trainer.step, trainer.meters["step"].peek)
    with ExitStack() as stack:
        shows: list[session.Show] = [shown]
        if settings.train.log == "tensorboard":
            from ganctl.tensorboard import TensorBoard

            shows.append(stack.enter_context(TensorBoard(run, trainer.step)))
        number = session.train(trainer, run, shows, log_bytes, judge)
    shown.trained()
    if number:
        shown.note(
            f"stopped and saved at step {trainer.step} of {trainer.total_steps}; ganctl resume {run} goes on", "yellow"
        )
        return number
    sheets = len(list(run.samples.glob("epoch-*.png")))
    shown.note(
        f"done in {clock(trainer.seconds)}; {run}/ holds {sheets} sample sheets and generator.safetensors", "bold green"
    )
    if judge:
        _tell_of_best(trainer, run, shown)
    shown.note(f"  ganctl video {run}     films how the samples changed")
    shown.note(f"  ganctl sample {run}    draws new images")
    return 0


def _tell_of_best(trainer: Trainer, run: Run, shown: Display) -> None:
    """Say where the best evaluation was, and by how much it is better than the last ones."""
    watch = Watch(trainer.settings, trainer.notes["watch"])
    if not (best := watch.best):
        return
    text = f"best at epoch {best['epoch']}: {best['name']} {best['value']:.4g}, and {best['floor']:.4g} of real images"
    if best["step"] < trainer.step:
        text += f", {watch.worse:.0%} better than of late; ganctl export {run} --checkpoint best writes it"
    shown.note(text)


def dry_run(user: Layer, recipe: Layer, shown: Display) -> None:
    """Show what a training would be: settings with their sources, networks, steps, memory."""
    layers = Layers(user, recipe)
    settings = layers.resolve()
    shown.table([(key, value, source) for key, value, source in settings.rows()], ("setting", "value", "from"))
    for line in settings.skipped:
        shown.note(f"skipped: {line}")
    _hint(settings, shown)
    summary = summarise(settings)
    for name, lines in (("generator", summary.generator), ("discriminator", summary.discriminator)):
        total = sum(line.parameters for line in lines)
        shown.note()
        shown.note(f"{name}: {total:,} parameters", style="bold")
        shown.table([_cells(line) for line in lines], ("layer", "", "shape", "parameters"))
    shown.note()
    description = settings.dataset.describe()
    if description.needs:
        shown.note(f"first needs {description.needs}")
    shown.note(_length(settings))
    shown.note(f"about {summary.memory_mb:,.0f} MB of memory at batch {settings.train.batch_size}")


def _hint(settings: Settings, shown: Display) -> None:
    for line in settings.architecture.hints(settings.spec):
        shown.note(f"hint: {plain(line)}", style="yellow")


def _length(settings: Settings) -> str:
    count = expected(settings.dataset.describe(), settings.data)
    if count is None:
        return "how many images there are, and so how many steps, is known once they are packed"
    steps, per_epoch = settings.total_steps(count), settings.steps_per_epoch(count)
    return f"{steps} steps in {math.ceil(steps / per_epoch)} epochs of {per_epoch} steps, on {count} images"


def _cells(line: LayerLine) -> tuple[str, str, str, str]:
    return line.name, line.kind, " x ".join(map(str, line.shape)), f"{line.parameters:,}" if line.parameters else ""


def _epochs(trainer: Trainer, steps: int) -> int:
    return math.ceil(steps / trainer.steps_per_epoch)


def _tell_of_data(packed: Packed, shown: Display) -> None:
    """Say once what was done to the images, and how many are broken."""
    for phrase, count in packed.manifest.notes.items():
        shown.note(f"{count} of {packed.manifest.count} images: {phrase}", style="dim")
    if broken := packed.manifest.broken:
        name, reason = broken[0]
        shown.note(f"{len(broken)} broken images are left out, such as {plain(name)}: {plain(reason)}", style="yellow")
