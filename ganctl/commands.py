"""What the commands do that need torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganctl import checkpoint, files, sampling, session, weights
from ganctl.assemble import Layers, assemble, check_same_data, config_text, load_data, load_init, target
from ganctl.config import Settings
from ganctl.data.pack import Packed
from ganctl.display import Display, clock
from ganctl.errors import GanctlError, plain
from ganctl.resolve import Layer, options, read_recipe
from ganctl.run import Run, clear, open_run
from ganctl.summary import LayerLine, summarise
from ganctl.trainer import Trainer


def train(user: Layer, recipe: Layer, run: Run, shown: Display) -> int:
    """Train in a new run folder. Return the number of the signal that ended it early, or 0."""
    layers = Layers(user, recipe)
    settings = layers.resolve()
    packed = load_data(settings, shown.progress)
    _tell_of_data(packed, shown)
    trainer = assemble(layers, packed)
    load_init(trainer)
    for line in trainer.settings.skipped:
        shown.note(line, style="dim")
    clear(run)
    run.create(config_text(trainer, packed))
    return _train(trainer, run, shown, 0)


def resume(run: Run, user: Layer, shown: Display) -> int:
    """Go on with *run*. Return the number of the signal that ended it early, or 0."""
    saved = run.saved()
    layers = Layers(user, read_recipe(run.config), begun=bool(saved))
    packed = load_data(layers.resolve(), shown.progress)
    check_same_data(run.about(), packed)
    trainer = assemble(layers, packed)
    log_bytes = 0
    if saved:
        log_bytes = checkpoint.load(saved[-1], trainer)
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
    return _train(trainer, run, shown, log_bytes)


def _train(trainer: Trainer, run: Run, shown: Display, log_bytes: int) -> int:
    settings, epochs = trainer.settings, _epochs(trainer, trainer.total_steps)
    names = [settings.entries[table].name for table in ("arch", "loss")]
    images = f"{len(trainer.batches)} images of {settings.spec.size} px"
    shown.note(f"{names[0]} with {names[1]} on {images}, {trainer.device} {settings.train.precision}", "bold")
    shown.note(f"{trainer.total_steps} steps in {epochs} epochs, into {run}/")
    if trainer.step:
        shown.note(f"goes on at step {trainer.step}, epoch {_epochs(trainer, trainer.step)}")
    shown.training(epochs, trainer.total_steps, trainer.steps_per_epoch, trainer.step, trainer.meters["step"].peek)
    number = session.train(trainer, run, shown.report, log_bytes)
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
    shown.note(f"  ganctl video {run}     films how the samples changed")
    shown.note(f"  ganctl sample {run}    draws new images")
    return 0


def dry_run(user: Layer, recipe: Layer, shown: Display) -> None:
    """Show what a training would be: settings with their sources, networks, steps, memory."""
    layers = Layers(user, recipe)
    settings = layers.resolve()
    shown.table([(key, value, source) for key, value, source in settings.rows()], ("setting", "value", "from"))
    for line in settings.skipped:
        shown.note(f"skipped: {line}")
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


def _length(settings: Settings) -> str:
    description = settings.dataset.describe()
    if description.count is None:
        return f"{settings.train.steps or settings.train.epochs} {'steps' if settings.train.steps else 'epochs'}"
    count = min(description.count, settings.data.limit or description.count)
    if settings.data.classes and description.classes:
        count = count * len(settings.data.classes) // len(description.classes)
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


def sample(source: Path, count: int, seed: int, truncation: float | None, output: Path | None, shown: Display) -> None:
    """Draw *count* images to a sheet, or to a folder of single images."""
    file = _weights_file(source)
    trained = weights.load(file)
    output = output or file.with_name("sample.png")
    points = sampling.latents(seed, count, trained.architecture.latent_dim, truncation)
    blocks = sampling.draw(trained.network, points)
    if output.suffix.lower() == ".png":
        with files.replacing(output) as path:
            sampling.picture(sampling.grid(np.concatenate(list(blocks)))).save(path, format="PNG")
        shown.note(f"{plain(output)}: {count} images")
        return
    if output.suffix or output.is_file():
        raise GanctlError(f"-o {plain(output)}: name a .png for a sheet, or a folder for single images")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GanctlError(f"cannot make the folder {plain(output)}: {error.strerror}") from error
    for number, pixels in enumerate(image for block in blocks for image in block):
        with files.replacing(output / f"{number:06d}.png") as path:
            sampling.picture(pixels).save(path, format="PNG")
        shown.progress("drawing", number + 1, count)
    shown.note(f"{plain(output)}/: {count} images")


def walk(source: Path, output: Path | None, seconds: float, seed: int, shown: Display, fps: int = 24) -> None:
    """Film a few walks side by side, each from one latent to the next and back to the first."""
    from ganctl.video import write_film

    file = _weights_file(source)
    trained = weights.load(file)
    size = trained.header.data.size
    columns = min(max(512 // size, 1), 4)
    count = max(round(seconds * fps), 1)
    stops = max(round(seconds / 2), 2)
    output = output or file.with_name("walk.mp4")

    def frames() -> Iterator[NDArray[np.uint8]]:
        for points in sampling.walk(seed, columns**2, trained.architecture.latent_dim, count, stops):
            cells = np.concatenate(list(sampling.draw(trained.network, points)))
            picture = sampling.grid(cells)
            yield np.broadcast_to(picture, (*picture.shape[:2], 3))

    side = size * columns
    progress = partial(shown.progress, "filming")
    written = write_film(output, frames(), fps=fps, size=(side, side), total=count, progress=progress)
    shown.note(f"{plain(output)}: {written} frames, {written / fps:.1f} s")


def export(run: Run, output: Path | None, which: str, ema: bool | None, shown: Display) -> None:
    """Write the generator of a checkpoint of *run* to one file."""
    saved = run.saved()
    if not saved:
        raise GanctlError(f"{run} has no checkpoint yet; ganctl resume {run} goes on with it")
    steps = {int(path.stem.split("-")[1]): path for path in saved}
    if which != "last" and (not which.isdecimal() or int(which) not in steps):
        known = ", ".join(map(str, steps))
        raise GanctlError(f"--checkpoint {plain(which)}: {run} has checkpoints of the steps {known}, and last")
    path = saved[-1] if which == "last" else steps[int(which)]
    settings = Layers(Layer(), read_recipe(run.config), begun=True).resolve()
    averaged = settings.train.ema > 0 if ema is None else ema
    if averaged and not settings.train.ema:
        raise GanctlError(f"{run} was trained without averaged weights (train.ema = 0); use --no-ema")
    output = output or run.weights
    checkpoint.export(path, settings, averaged, output)
    kind = "averaged" if averaged else "last"
    shown.note(f"{plain(output)}: the generator of step {int(path.stem.split('-')[1])}, {kind} weights")


def _weights_file(source: Path) -> Path:
    """Return the exported file that *source*, a run folder or a file, means."""
    if not source.is_dir():
        return source
    run = open_run(source)
    if not run.weights.exists():
        raise GanctlError(
            f"{run} has no generator.safetensors yet; ganctl resume {run} goes on to its first checkpoint"
        )
    return run.weights


def check_plugins(shown: Display) -> int:
    """Load and test each installed plugin, and say which fail. Return how many do, at most 1."""
    from ganctl import registry
    from ganctl.testing import checks

    failed = 0
    for entry in registry.entries():
        name = f"{entry.kind} {entry.name} ({entry.owner})"
        try:
            every = list(checks(registry.load(entry.kind, entry.name)))
        except GanctlError as error:
            shown.note(f"{name}: {error}", "red")
            failed += 1
            continue
        complaints = []
        for check in every:
            try:
                check()
            except Exception as error:
                complaints.append(f"  {check}: {plain(error or type(error).__name__)}")
        shown.note(f"{name}: {len(every) - len(complaints)} of {len(every)} checks passed", "red" if complaints else "")
        for complaint in complaints:
            shown.note(complaint, "red")
        failed += bool(complaints)
    return min(failed, 1)


def show(name: str, shown: Display) -> None:
    """Show what a plugin says of itself, and its options; each, where two kinds share the name."""
    import inspect

    from ganctl import registry
    from ganctl.errors import did_you_mean

    kind, _, rest = name.rpartition(":")
    found = [e for e in registry.entries() if e.name == rest and kind in ("", e.kind)]
    if not found:
        known = {e.name for e in registry.entries()}
        raise GanctlError(f"no plugin is called {plain(name)!r}{did_you_mean(rest, known)}")
    for number, entry in enumerate(found):
        plugin = registry.load(entry.kind, entry.name)
        if number:
            shown.note()
        shown.note(f"{entry.kind} {entry.name}, of {entry.owner}", "bold")
        shown.note(inspect.cleandoc(plugin.__doc__ or ""))
        table = {"architecture": "arch", "dataset": "data"}.get(entry.kind, entry.kind)
        rows = [(f"{table}.{option}", default, text) for option, default, text in options(plugin)]
        if rows:
            shown.note()
            shown.table(rows, ("option", "default", ""))
        if plugin.recipe:
            shown.note()
            shown.note("sets by default: " + ", ".join(f"{key} = {value!r}" for key, value in plugin.recipe.items()))


def check_data(user: Layer, output: Path | None, shown: Display) -> None:
    """Say what is in a data set, what is broken and what ganctl would do with it; write a sheet of it to *output*."""
    from ganctl.data.check import inspect

    settings = Layers(user, Layer()).resolve()
    found = inspect(settings.dataset, settings.entries["data"].name, target(settings), shown.progress)
    whole = found.count - len(found.broken)
    colour = "grey" if found.channels == 1 else "colour"
    shown.note(f"{plain(settings.source)}: {found.count} images, {whole} usable, {colour}", "bold")
    rows = [("sizes", f"{_size(found.smallest)} to {_size(found.largest)}, median {_size(found.median)}")]
    rows += [("most common", ", ".join(f"{_size(size)} ({count})" for size, count in list(found.sizes.items())[:3]))]
    rows += [(name, _counts(counts)) for name, counts in (("formats", found.formats), ("modes", found.modes)) if counts]
    rows += [("classes", _counts(found.classes))] if found.classes else [("classes", "none")]
    if found.ignored:
        rows.append(("other files", f"{_counts(found.ignored)}, which are not looked into"))
    if found.duplicates:
        more = sum(len(group) - 1 for group in found.duplicates)
        rows.append(("duplicates", f"{more} images repeat another, such as {', '.join(found.duplicates[0][:3])}"))
    shown.table(rows)
    shown.note()
    shown.note(f"ganctl train --data {plain(settings.source)} --size {settings.data.size} would", "bold")
    shown.note(
        f"  make them {_size((settings.data.size,) * 2)} {colour}{', as is packed already' if found.packed else ''}"
    )
    for phrase, count in found.notes.items():
        shown.note(f"  {count}: {phrase}")
    if found.broken:
        shown.note(f"  leave out {len(found.broken)} broken images (--set data.on_error=fail refuses them)", "yellow")
        for name, reason in found.broken[:10]:
            shown.note(f"    {plain(name)}: {plain(reason)}", "yellow")
        if len(found.broken) > 10:
            shown.note(f"    and {len(found.broken) - 10} more", "yellow")
    if output:
        with files.replacing(output) as path:
            sampling.picture(sampling.grid(found.sample)).save(path, format="PNG")
        shown.note(f"{plain(output)}: a sheet of {len(found.sample)}")


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _counts(counts: Mapping[str, int], most: int = 12) -> str:
    words = [f"{name} {count}" for name, count in list(counts.items())[:most]]
    return ", ".join(words) + (f" and {len(counts) - most} more" if len(counts) > most else "")
