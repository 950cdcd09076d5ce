"""Pictures, films and files from trained weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganctl import checkpoint, files, sampling, weights
from ganctl.display import Display
from ganctl.errors import GanctlError, did_you_mean, plain
from ganctl.run import Run, open_run
from ganctl.video import write_film


def sample(
    source: Path,
    count: int | None,
    seed: int,
    label: str | None,
    truncation: float | None,
    output: Path | None,
    shown: Display,
) -> None:
    """Draw *count* images, of one class if it is named, to a sheet, or to a folder of single images."""
    file = weights_file(source)
    trained = weights.load(file)
    output = output or file.with_name("sample.png")
    classes = trained.header.data.classes
    dim = trained.architecture.latent_dim
    points, labels, columns = sampling.layout(trained.network, dim, len(classes), seed, count, truncation)
    if label is not None:
        (number,) = _labels([label], trained, file)
        points = sampling.latents(seed, count or sampling.COLUMNS**2, dim, truncation)
        labels, columns = torch.full((len(points),), number), math.ceil(math.sqrt(len(points)))
    count = len(points)
    blocks = sampling.draw(trained.network, points, labels)
    if output.suffix.lower() == ".png":
        with files.replacing(output) as path:
            sampling.picture(sampling.grid(np.concatenate(list(blocks)), columns)).save(path, format="PNG")
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


def walk(
    source: Path, output: Path | None, seconds: float, seed: int, names: Sequence[str], shown: Display, fps: int = 24
) -> None:
    """Film a few walks side by side, each from one latent to the next and back to the first.

    With the name of one class they stay in it; with several, the latents stay and each walk goes from class to class.
    """
    file = weights_file(source)
    trained = weights.load(file)
    chosen = _labels(names, trained, file)
    size = trained.header.data.size
    columns = min(max(512 // size, 1), 4)
    paths = columns**2
    classes = len(trained.header.data.classes)
    dim = trained.architecture.latent_dim
    count = max(round(seconds * fps), 1)
    stops = max(round(seconds / 2), 2)
    output = output or file.with_name("walk.mp4")

    def steps() -> Iterator[tuple[Tensor, Tensor | None]]:
        if len(chosen) > 1:
            still = sampling.latents(seed, paths, dim)
            for shares in sampling.class_walk(chosen, classes, paths, count):
                yield still, shares
        else:
            of_each = torch.arange(paths) % classes if classes else None
            labels = torch.full((paths,), chosen[0]) if chosen else of_each
            for points in sampling.walk(seed, paths, dim, count, stops):
                yield points, labels

    def frames() -> Iterator[NDArray[np.uint8]]:
        todo = steps()
        # Several frames at once: a generator draws large batches faster.
        while few := list(islice(todo, max(sampling.BATCH // paths, 1))):
            points = torch.cat([points for points, _ in few])
            labels = torch.cat([of for _, of in few if of is not None]) if few[0][1] is not None else None
            cells = np.concatenate(list(sampling.draw(trained.network, points, labels)))
            for frame in np.split(cells, len(few)):
                picture = sampling.grid(frame)
                yield np.broadcast_to(picture, (*picture.shape[:2], 3))

    if len(chosen) > 1:
        _check_mixes(trained, file)
    side = size * columns
    progress = partial(shown.progress, "filming")
    written = write_film(output, frames(), fps=fps, size=(side, side), total=count, progress=progress)
    shown.note(f"{plain(output)}: {written} frames, {written / fps:.1f} s")


def _labels(names: Sequence[str], trained: weights.Trained, file: Path) -> list[int]:
    """Return the numbers of the classes of *names*, which may be numbers already.

    Raise :class:`GanctlError` for a name that is none, and where the generator does not heed classes.
    """
    classes = trained.header.data.classes
    if names and not sampling.tells_classes(trained.network, trained.architecture.latent_dim, len(classes)):
        why = "its data had no classes" if len(classes) < 2 else "it was trained without conditioning"
        raise GanctlError(
            f"--label: {plain(file)} draws all classes alike, for {why}; "
            "train with --loss acgan, or with --set arch.conditioning=projection, on images in class folders"
        )
    numbers = []
    for name in names:
        if name in classes:
            numbers.append(classes.index(name))
        elif name.isdecimal() and int(name) < len(classes):
            numbers.append(int(name))
        else:
            raise GanctlError(f"--label: there is no class {plain(name)!r}{did_you_mean(name, classes)}")
    return numbers


def _check_mixes(trained: weights.Trained, file: Path) -> None:
    """Raise :class:`GanctlError` where the generator takes no shares of classes."""
    classes = len(trained.header.data.classes)
    try:
        next(sampling.draw(trained.network, torch.zeros(1, trained.architecture.latent_dim), torch.eye(classes)[:1]))
    except Exception as error:
        raise GanctlError(
            f"{plain(file)}: {trained.header.architecture} of {trained.header.package} draws whole classes only; "
            "name one --label, and walk within it"
        ) from error


def export(run: Run, output: Path | None, which: str, ema: bool | None, shown: Display) -> None:
    """Write the generator of a checkpoint of *run* to one file."""
    saved = run.saved()
    if not saved:
        raise GanctlError(f"{run} has no checkpoint yet; ganctl resume {run} goes on with it")
    steps = {str(Run.step(path)): path for path in saved}
    named = {"last": saved[-1]} | ({"best": run.best} if run.best.exists() else {})
    if which == "best" and which not in named:
        raise GanctlError(f"{run} was not evaluated in training (--eval-every N), so no checkpoint is known to be best")
    # A step may be asked for with zeros before it, as in its file's name.
    path = (named | steps).get(which.lstrip("0") or which)
    if path is None:
        known = f"the steps {', '.join(steps)}, and {' and '.join(named)}"
        raise GanctlError(f"--checkpoint {plain(which)}: {run} has checkpoints of {known}")
    output = output or run.weights
    exported = checkpoint.export(path, ema, output)
    kind = "averaged" if exported.ema else "last"
    shown.note(f"{plain(output)}: the generator of step {exported.step}, {kind} weights")


def weights_file(source: Path) -> Path:
    """Return the exported file that *source*, a run folder or a file, means."""
    if not source.is_dir():
        return source
    run = open_run(source)
    if not run.weights.exists():
        raise GanctlError(
            f"{run} has no generator.safetensors yet; ganctl resume {run} goes on to its first checkpoint"
        )
    return run.weights
