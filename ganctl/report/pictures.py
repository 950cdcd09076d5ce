"""A run's pictures as data URLs, each within a number of bytes: sample sheets, film, real images, kernels."""

from __future__ import annotations

import base64
import io
import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganctl.data.pack import Packed
from ganctl.errors import GanctlError, plain
from ganctl.kernels import first_kernels, mosaic
from ganctl.run import Run
from ganctl.video import film_run

Progress: TypeAlias = Callable[[str, int, int | None], None]

LARGEST, SHOWN = 1024, 640
"""Longest side of a picture, in pixels, and the one to which small pictures are enlarged."""
FILM_SIDE, FILM_FEWEST = 512, 6
"""Longest side of the film's sheets, and the fewest to which a film is shortened."""
QUALITIES = (None, 90, 75, 60)
"""From the best: as it is, without any loss, and then of WebP."""
COLUMNS, MOST_CLASSES = 8, 32
"""Of the sheet of real images: as wide as a sample sheet, and a row a class where they are not more than this."""


class Picture(NamedTuple):
    """A picture of so many pixels, as a data URL, and what is in it in words."""

    url: str
    width: int
    height: int
    words: str

    @property
    def scale(self) -> int:
        """By how much it is enlarged on the page: by whole numbers, which keeps pixels square."""
        return max(SHOWN // max(self.width, self.height), 1)


class Sheet(NamedTuple):
    """The sample sheet of an epoch."""

    epoch: int
    picture: Picture


def sheets(run: Run, room: int, side: int, progress: Progress, notes: list[str]) -> list[Sheet]:
    """Return the sample sheets of *run*, whose images have *side* pixels, in at most *room* bytes of the page.

    Where they do not fit they lose some quality at first, and then some are left out, evenly; *notes* is told.
    """
    files = _sample_files(run)
    quality, chosen = _fitting(files, room)
    found: dict[int, Sheet] = {}
    for done, epoch in enumerate(chosen, start=1):
        progress("looking at samples", done, len(chosen))
        if (image := _read(files[epoch])) is None:
            notes.append(f"{plain(files[epoch].name)} cannot be read and is left out.")
            continue
        size, image = image.size, _shrunk(image)
        url = _png(files[epoch]) if quality is None and size == image.size else _webp(image, quality)
        found[epoch] = Sheet(epoch, Picture(url, *image.size, _words(size, side, epoch)))
    while found and (total := sum(len(sheet.picture.url) for sheet in found.values())) > room:
        # They were larger than those by which the quality was chosen.
        fewer = evenly(list(found), min(int(len(found) * room / total), len(found) - 1))
        found = {epoch: found[epoch] for epoch in fewer}
    if len(found) < len(files) - sum("cannot be read" in note for note in notes):
        notes.append(f"Of {len(files)} sample sheets there was room for {len(found)}; ganctl video shows all.")
    return list(found.values())


def _sample_files(run: Run) -> dict[int, Path]:
    """Return the sample sheets' files by epoch, in order."""
    names = {file: file.stem.removeprefix("epoch-") for file in run.samples.glob("epoch-*.png")}
    return dict(sorted((int(name), file) for file, name in names.items() if name.isascii() and name.isdecimal()))


def _fitting(files: Mapping[int, Path], room: int) -> tuple[int | None, list[int]]:
    """Return the best quality in which all *files* fit into *room*, or the worst and those that fit, spread evenly."""
    epochs = list(files)
    if sum(file.stat().st_size for file in files.values()) * 4 / 3 <= room:
        return None, epochs
    tried = [_shrunk(image) for epoch in evenly(epochs, 4) if (image := _read(files[epoch]))]
    if not tried:
        return None, epochs
    for quality in QUALITIES[1:]:
        size = max(len(_webp(image, quality)) for image in tried)
        if size * len(epochs) <= room:
            break
    return quality, evenly(epochs, room // size)


def evenly(items: Sequence[int], count: int) -> list[int]:
    """Return at most *count* of *items*, spread evenly, the last among them, and the first where there are two."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[-1:]) * count
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def _words(size: tuple[int, int], side: int, epoch: int) -> str:
    columns, rows = (max(round(length / side), 1) for length in size)
    when = f"after epoch {epoch}" if epoch else "before training"
    return f"{columns * rows} generated images in {rows} rows of {columns}, {when}"


def film(run: Run, room: int, progress: Progress, notes: list[str]) -> str | None:
    """Return a film of *run*'s sheets, of at most *room* bytes of the page, as a data URL; None where there is none."""
    files = _sample_files(run)
    epochs = list(files)
    with tempfile.TemporaryDirectory() as name:
        while len(epochs) > 1 and len(epochs) >= min(FILM_FEWEST, len(files)):
            folder = Path(name) / str(len(epochs))
            _copy(run, folder, [files[epoch] for epoch in epochs])
            try:
                made = film_run(
                    folder, caption=True, progress=lambda done, total: progress("filming", done, total)
                ).path.read_bytes()
            except GanctlError as error:
                notes.append(f"No film: {error}")
                return None
            if (size := len(made) * 4 / 3 + 50) <= room:
                if len(epochs) < len(files):
                    notes.append(f"The film shows {len(epochs)} of {len(files)} sheets; ganctl video shows all.")
                return _url("video/mp4", made)
            epochs = evenly(epochs, min(int(len(epochs) * room / size * 0.9), len(epochs) - 1))
    if len(files) > 1:
        notes.append("There was no room for a film; ganctl video makes it.")
    return None


def _copy(run: Run, folder: Path, files: Iterable[Path]) -> None:
    """Make a run folder of these sheets, none larger than the film shows, and of the figures for its captions."""
    (folder / "samples").mkdir(parents=True)
    if run.metrics.exists():
        (folder / run.metrics.name).symlink_to(run.metrics.resolve())
    for file in files:
        if image := _read(file):
            _shrunk(image, FILM_SIDE).save(folder / "samples" / file.name, compress_level=1)


def kernels(run: Run, room: int, notes: list[str]) -> Picture | None:
    """Return the kernels of the discriminator's first layer, from the newest checkpoint."""
    saved = run.saved()
    if not saved:
        return None
    try:
        drawn = mosaic(first_kernels(saved[-1]))
    except GanctlError as error:
        notes.append(f"No kernels: {error}.")
        return None
    image = _shrunk(Image.fromarray((drawn.pixels * 255).round().astype(np.uint8)))
    step = Run.step(saved[-1])
    return _encoded(image, room, f"{drawn.words}; at step {step:,}")


def real(packed: Packed, wanted: Collection[str], room: int) -> Picture | None:
    """Return a sheet of real images of the classes called *wanted*, or of all where there are none of those."""
    manifest = packed.manifest
    members = {name: np.flatnonzero(packed.labels == number) for number, name in enumerate(manifest.classes)}
    members = {name: rows for name, rows in members.items() if len(rows) and (not wanted or name in wanted)}
    random = np.random.default_rng(0)
    if 1 < len(members) <= MOST_CLASSES:
        most = max(COLUMNS // len(members), 1) * COLUMNS
        drawn = [random.choice(rows, min(most, len(rows)), replace=False) for rows in members.values()]
        order = f", class by class: {', '.join(map(plain, members))}"
    else:
        rows = np.concatenate(list(members.values())) if members else np.arange(manifest.count)
        drawn, order = [random.choice(rows, min(COLUMNS**2, len(rows)), replace=False)], ""
    words = f"{sum(map(len, drawn))} of the {manifest.count:,} real images{order}"
    image = Image.fromarray(np.concatenate([_grid(packed.images[rows]) for rows in drawn]))
    return _encoded(_shrunk(image), room, words)


def _grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay images (N, H, W, C) out in rows of eight, in colour; the rest of the last row is black."""
    count, height, width, _ = images.shape
    sheet = np.zeros((math.ceil(count / COLUMNS) * height, COLUMNS * width, 3), np.uint8)
    for number, image in enumerate(images):
        top, left = number // COLUMNS * height, number % COLUMNS * width
        sheet[top : top + height, left : left + width] = image
    return sheet


def _read(file: Path) -> Image.Image | None:
    """Return a picture in RGB; None if the file is no whole PNG."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all that Pillow says of a broken PNG
        return None


def _shrunk(image: Image.Image, largest: int = LARGEST) -> Image.Image:
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return image


def _encoded(image: Image.Image, room: int, words: str) -> Picture | None:
    """Return *image* in the best quality that fits into *room*; None where none does."""
    urls = (_webp(image, quality) for quality in QUALITIES)
    return next((Picture(url, *image.size, words) for url in urls if len(url) <= room), None)


def _png(file: Path) -> str:
    return _url("image/png", file.read_bytes())


def _webp(image: Image.Image, quality: int | None) -> str:
    file = io.BytesIO()
    image.save(file, format="WEBP", lossless=quality is None, quality=50 if quality is None else quality)
    return _url("image/webp", file.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
