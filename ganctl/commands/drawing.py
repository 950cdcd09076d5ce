"""Pictures, films and files from trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganctl import checkpoint, files, sampling, weights
from ganctl.display import Display
from ganctl.errors import GanctlError, plain
from ganctl.run import Run, open_run
from ganctl.video import write_film


def sample(source: Path, count: int, seed: int, truncation: float | None, output: Path | None, shown: Display) -> None:
    """Draw *count* images to a sheet, or to a folder of single images."""
    file = _weights_file(source)
    trained = weights.load(file)
    output = output or file.with_name("sample.png")
    points = sampling.latents(seed, count, trained.architecture.latent_dim, truncation)
    blocks = sampling.draw(trained.network, points, sampling.sheet_labels(count, len(trained.header.data.classes)))
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
    file = _weights_file(source)
    trained = weights.load(file)
    size = trained.header.data.size
    columns = min(max(512 // size, 1), 4)
    classes = len(trained.header.data.classes)
    labels = torch.arange(columns**2) % classes if classes else None
    count = max(round(seconds * fps), 1)
    stops = max(round(seconds / 2), 2)
    output = output or file.with_name("walk.mp4")

    def frames() -> Iterator[NDArray[np.uint8]]:
        for points in sampling.walk(seed, columns**2, trained.architecture.latent_dim, count, stops):
            cells = np.concatenate(list(sampling.draw(trained.network, points, labels)))
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
    output = output or run.weights
    kind = "averaged" if checkpoint.export(path, ema, output) else "last"
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
