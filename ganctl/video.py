"""Films: how the samples of a run changed, or any frames, as MP4, WebM or GIF, streamed to ffmpeg."""

from __future__ import annotations

import math
import re
import secrets
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageDraw, ImageFont, ImageOps

from ganctl.errors import GanctlError, plain
from ganctl.run import Run

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, (H, W, 3)."""
Progress: TypeAlias = Callable[[int, int | None], None]
"""Called after each frame with the number of frames written and the number expected, if known."""
AHEAD = 4
"""Sheets that are decoded before ffmpeg asks for them: enough to keep two cores busy."""

_CODEC = {  # superfast: at this crf it looks like veryfast at a similar size, in two thirds of the time
    ".mp4": "-c:v libx264 -preset superfast -crf 18 -movflags +faststart -f mp4",
    ".webm": "-c:v libvpx-vp9 -crf 24 -b:v 0 -deadline realtime -cpu-used 6 -row-mt 1 -f webm",
}
# The matrix is stated because players would guess it from the film's size.
_YUV = (
    "-vf scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
    " -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
)


class Film(NamedTuple):
    """A film: *frames* frames, the same number for each of *images* sheets. Those *skipped* could not be read."""

    path: Path
    frames: int
    images: int
    seconds: float
    skipped: tuple[Path, ...] = ()


def enlargement(size: tuple[int, int]) -> int:
    """Return the smallest whole factor that makes the longer side of *size* (width, height) at least 256."""
    return max(1, math.ceil(256 / max(size)))


def write_film(
    path: Path,
    frames: Iterable[Pixels],
    *,
    fps: float,
    size: tuple[int, int],
    total: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write *frames*, each uint8 (H, W, 3) of *size* (W, H), to *path* and return how many there were.

    Frames are taken one by one, as ffmpeg takes them: a film may be longer than memory. Small pictures are enlarged
    (``enlargement``) without smoothing. MP4 and WebM have even sides: an odd picture's last row or column is doubled.
    The file appears whole or not at all. Raises GanctlError for a suffix, rate or place that cannot be, and if ffmpeg
    fails; what *frames* or *progress* raise passes through.
    """
    kind = path.suffix.lower()
    if kind not in (*_CODEC, ".gif"):
        raise GanctlError(f"{plain(path)}: a film's name ends in .mp4, .webm or .gif")
    most = 50 if kind == ".gif" else 240  # browsers play a GIF whose frames last under 0.02 s at a tenth of its speed
    if not 0.1 <= fps <= most:
        raise GanctlError(f"{fps:g} frames per second: a {kind} film has from 0.1 to {most}")
    factor, written = enlargement(size), 0

    def pictures() -> Generator[Pixels]:
        nonlocal written
        for frame in frames:
            if frame.shape != (size[1], size[0], 3) or frame.dtype != np.uint8:
                raise ValueError(f"a frame is {frame.dtype} {frame.shape}, in a film of size {size}")
            yield _enlarged(frame, factor)
            written += 1
            if progress is not None:
                progress(written, total)

    temporary = path.with_name(f".{secrets.token_hex(8)}{kind}")
    try:
        if path.is_dir():
            raise _Unwritable("it is a folder")
        with _unwritable():
            temporary.touch(exist_ok=False)
        try:
            encode = _write_gif if kind == ".gif" else _write_yuv
            encode(temporary, pictures(), fps, (size[0] * factor, size[1] * factor))
            if not written:
                raise _Unwritable("there is no frame to film")
            with _unwritable():
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except _Unwritable as error:
        why = error if path.parent.is_dir() else f"there is no folder {plain(path.parent)}"
        raise GanctlError(f"cannot write {plain(path)}: {why}") from error
    return written


class _Unwritable(Exception):
    """Why a film cannot be written."""


@contextmanager
def _unwritable() -> Iterator[None]:
    """Tell the system's refusals to write apart from whatever those who make the frames may raise."""
    try:
        yield
    except OSError as error:
        raise _Unwritable(error.strerror) from error


def _enlarged(pixels: Pixels, factor: int) -> Pixels:
    return pixels if factor == 1 else pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _write_yuv(path: Path, pictures: Iterable[Pixels], fps: float, size: tuple[int, int]) -> None:
    """Write an MP4 or WebM with ffmpeg."""
    right, below = size[0] % 2, size[1] % 2
    source = f"-f rawvideo -pixel_format rgb24 -video_size {size[0] + right}x{size[1] + below} -framerate {fps}"
    options = f"-loglevel error -nostdin -y {source} -i pipe:0 {_YUV} {_CODEC[path.suffix]}".split()
    with tempfile.TemporaryFile() as log:  # a file, unlike a pipe, is never full
        try:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, f"file:{path}"]
            # Its own session, so that Ctrl-C in the terminal reaches ganctl alone, which then ends ffmpeg.
            process = subprocess.Popen(command, stdin=-1, stdout=log, stderr=log, start_new_session=True)
        except (RuntimeError, OSError) as error:
            raise _Unwritable(f"ffmpeg does not start: {plain(error)}; see IMAGEIO_FFMPEG_EXE") from error
        pipe = process.stdin
        assert pipe is not None
        try:
            for picture in pictures:
                if right or below:
                    picture = np.pad(picture, ((0, below), (0, right), (0, 0)), mode="edge")
                try:
                    pipe.write(np.ascontiguousarray(picture).data)
                except OSError:  # ffmpeg has gone, and says why below
                    break
            with suppress(OSError):
                pipe.close()
            if process.wait():
                raise _Unwritable(f"ffmpeg says: {_last_words(log)}")
        finally:
            process.kill()
            with suppress(OSError):
                pipe.close()
            process.wait()


def _last_words(log: IO[bytes]) -> str:
    """Return the last line of ffmpeg's *log* that says something, without the address of the part that says it."""
    log.seek(0)
    said = log.read().decode(errors="replace").replace("Conversion failed!", "")
    lines = re.findall(r"^(?:\[[^]\n]* @ [^]\n]*\]\s*)*(\S.*)", said, re.M)
    return plain(lines[-1].strip()) if lines else "nothing"


def _write_gif(path: Path, pictures: Iterable[Pixels], fps: float, size: tuple[int, int]) -> None:
    """Write a GIF that loops for ever, each picture in its own 256 colours.

    Not with ffmpeg: its palettes take 0.8 s for a sheet of 530x530 and come out 2 dB worse than these do in 20 ms; and
    it repeats the whole of a picture that is held. There is no dithering: in a film its dots flicker.
    """
    last, indexed = np.zeros(0, np.uint8), Image.new("P", (1, 1))
    head = b"GIF89a" + struct.pack("<HHxxx", *size) + b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    with path.open("wb", buffering=0) as file:
        for number, picture in enumerate(pictures):
            if np.array_equal(last, picture):  # held: a frame that paints a single pixel again
                indexed = indexed.crop((0, 0, 1, 1)).convert("RGB").quantize(1)
            else:
                last, image = picture.copy(), Image.fromarray(picture)
                if image.getcolors(256):  # pixel art: median cut keeps all of its colours
                    indexed = image.quantize(256, Image.Quantize.MEDIANCUT)
                else:  # the octree's palette is good; that it sorts pixels into it roughly, the second pass puts right
                    palette = image.quantize(256, Image.Quantize.FASTOCTREE)
                    indexed = image.quantize(palette=palette, dither=Image.Dither.NONE)
            hundredths = round((number + 1) * 100 / fps) - round(number * 100 / fps)
            data = GifImagePlugin.getdata(indexed, duration=hundredths * 10, include_color_table=True)
            with _unwritable():
                file.write(b"".join([*([] if number else [head]), *data]))
        with _unwritable():
            file.write(b";")


def film_run(
    run: Path,
    path: Path | None = None,
    fps: float = 24,
    hold: int | None = None,
    *,
    caption: bool,
    progress: Progress | None = None,
) -> Film:
    """Film the sample sheets of *run* in the order of their epochs, each for *hold* frames.

    Without *hold* the film lasts about 8 s, but a sheet at least one frame and at most half a second. Without *path* it
    is RUN/video.mp4. *caption* adds a strip below the picture: a bar for how far training has come, epoch and losses.
    Unreadable sheets are left out, those of another size fitted into the first's. Raises GanctlError if there is
    nothing to film, and as `write_film` does.
    """
    names = {file: re.fullmatch(r"epoch-(\d+)\.png", file.name) for file in (run / "samples").glob("epoch-*.png")}
    epochs = {file: int(name[1]) for file, name in names.items() if name}
    files = sorted(epochs, key=lambda file: (epochs[file], file))
    if not files:
        what = "has no samples/epoch-*.png, which training writes" if run.is_dir() else "is not a folder"
        raise GanctlError(f"{plain(run)} {what}; a film needs a run folder, as `ganctl train` makes it")
    if hold is None:
        hold = max(1, min(round(8 * fps / len(files)), int(fps / 2)))
    if hold < 1:
        raise GanctlError(f"hold {hold}: a sheet is shown for at least 1 frame")
    first = next((image for image in map(_read, files) if image), None)
    if first is None:
        raise GanctlError(f"{plain(run / 'samples')}: no sheet can be read ({len(files)} tried, from {files[0].name})")
    factor = enlargement(first.size)
    width, height = first.width * factor, first.height * factor
    strip = _Caption(width, list(epochs.values()), _losses(Run(run))) if caption else None

    def compose(file: Path) -> Pixels | None:
        image = _read(file)
        if image is None:
            return None
        if image.size != first.size:
            image = ImageOps.pad(image, first.size, Image.Resampling.LANCZOS)
        pixels = _enlarged(np.asarray(image), factor)
        return np.concatenate((pixels, strip.draw(epochs[file]))) if strip else pixels

    skipped: list[Path] = []

    def frames() -> Generator[Pixels]:
        with closing(_ahead(compose, files)) as pictures:
            for file, picture in zip(files, pictures, strict=True):
                if picture is None:
                    skipped.append(file)
                else:
                    yield from [picture] * hold

    path = path or run / "video.mp4"
    size = width, height + (strip.height if strip else 0)
    with closing(frames()) as film:
        count = write_film(path, film, fps=fps, size=size, total=len(files) * hold, progress=progress)
    return Film(path, count, count // hold, count / fps, tuple(skipped))


def _ahead(compose: Callable[[Path], Pixels | None], files: Iterable[Path]) -> Generator[Pixels | None]:
    """Yield ``compose(file)`` for each of *files*, in order; two threads are at most ``AHEAD`` files ahead."""
    waiting: deque[Future[Pixels | None]] = deque()
    with ThreadPoolExecutor(2) as pool:
        for file in files:
            waiting.append(pool.submit(compose, file))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(file: Path) -> Image.Image | None:
    """Return the sheet in RGB, or None if the file is broken."""
    try:
        with Image.open(file) as image:
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all that Pillow says of a broken PNG
        return None


def _losses(run: Run) -> dict[int, tuple[str, ...]]:
    """Return loss_g and loss_d of each epoch that *run* has them of."""
    losses: dict[int, tuple[str, ...]] = {}
    for row in run.rows():
        with suppress(ValueError, TypeError, KeyError):
            if row["kind"] == "epoch":
                two = row["loss_g"], row["loss_d"]
                losses[int(row["epoch"])] = tuple(f"{x:.2f}" if abs(x) < 1000 else f"{x:.3g}" for x in two)
    return losses


class _Caption:
    """The strip below a sheet *width* pixels wide: a bar, and as much of epoch and losses as fits in one line."""

    def __init__(self, width: int, epochs: Sequence[int], losses: Mapping[int, tuple[str, ...]]) -> None:
        size = max(13, width // 34)
        self.font = ImageFont.load_default(size)
        self.width, self.height, self.bar, self.gap = width, size * 2 + size // 4, max(2, size // 6), size // 2
        self.last = max(*epochs, 1)
        numbers = {epoch: (str(epoch), *losses.get(epoch, ("", ""))) for epoch in epochs}
        for form in (("epoch ", "loss G ", "loss D "), ("epoch ", "G ", "D "), ("epoch ",), ("",)):
            self.texts = {e: [word + n if n else "" for word, n in zip(form, numbers[e], strict=False)] for e in epochs}
            # Columns as wide as their widest text, so that nothing moves from frame to frame.
            widths = [max(map(self.font.getlength, column)) for column in zip(*self.texts.values(), strict=True)]
            self.lefts = list(accumulate(widths, lambda left, w: left + w + 2 * self.gap, initial=float(self.gap)))
            if self.lefts[-1] - self.gap <= width:
                break

    def draw(self, epoch: int) -> Pixels:
        strip = Image.new("RGB", (self.width, self.height), "#16181d")
        draw = ImageDraw.Draw(strip)
        draw.rectangle((0, 0, self.width - 1, self.bar - 1), "#383c46")
        if done := round(self.width * epoch / self.last):
            draw.rectangle((0, 0, done - 1, self.bar - 1), "#6cb2f7")
        for left, text in zip(self.lefts, self.texts[epoch], strict=False):
            draw.text((left, self.bar + self.gap), text, "#e8eaee", self.font)
        return np.asarray(strip)
