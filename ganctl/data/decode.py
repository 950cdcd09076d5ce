"""From one image, encoded or not, to square pixels: upright, without transparency, 8 bits, 1 or 3 channels."""

from __future__ import annotations

import io
import logging
import warnings
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

# Importing a format registers it. The others, which Pillow would load to look for a match, cost time and have run
# programs (EPS starts Ghostscript), so that they are not asked.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from ganctl.errors import GanctlError, plain

Fit = Literal["crop", "pad", "stretch"]
"""How an image that is not square becomes so: its centre, laid on the background, or out of proportion."""

_FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    PpmImagePlugin.PpmImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    Jpeg2KImagePlugin.Jpeg2KImageFile.format,
)

_TURNS = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""What undoes each value of EXIF's orientation."""

_COLOURS = MappingProxyType({(255, 255, 255): "white", (0, 0, 0): "black"})

# Pillow logs what it dislikes in a file; without a handler of its own, Python prints that.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class BrokenImage(GanctlError):
    """An image that cannot be decoded; its text is the reason, in a few words."""


class Target(NamedTuple):
    """What every image becomes."""

    size: int
    """Side of the square, in pixels."""
    channels: int
    """1 (grey) or 3 (sRGB)."""
    fit: Fit = "crop"
    background: tuple[int, int, int] = (255, 255, 255)
    """sRGB, 0 to 255: what shows through transparent images and beside padded ones."""


def open_image(source: bytes | Path) -> Image.Image:
    """Return an image whose header is read and whose pixels are not. Raise :class:`BrokenImage`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _open(source)
    except Exception as error:
        raise BrokenImage(_reason(error)) from error


def is_grey(image: Image.Image) -> bool:
    """Tell whether the image's mode has no colours; a coloured mode may still hold nothing but greys."""
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def decode(source: bytes | Image.Image, target: Target) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], frozenset[str]]:
    """Return the pixels, (size, size, channels) uint8, and short phrases that say what was done to get them.

    Content decides the format, whatever the file is called. Raise :class:`BrokenImage` with a short reason.
    """
    if not isinstance(source, bytes | Image.Image):
        raise TypeError(f"read() must return the bytes of an image file or a PIL image, not {type(source).__name__}")
    notes: set[str] = set()
    # Damaged files make Pillow raise nearly anything: OSError, ValueError, SyntaxError, struct.error, MemoryError, ...
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _open(source) if isinstance(source, bytes) else source
            upright = _load(image, target, notes)
            return _fit(_colours(upright, image, target, notes), target, notes), frozenset(notes)
    except Exception as error:
        raise BrokenImage(_reason(error)) from error


def _open(source: bytes | Path) -> Image.Image:
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)
    # Pillow only warns of these, and refuses those of twice as many pixels.
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise Image.DecompressionBombError(f"Image size ({pixels} pixels) exceeds limit of {most} pixels")
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged, or of a kind that ganctl does not read"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    # What follows in Pillow's words on bombs is a suspicion of attack, which a large scan does not deserve.
    text = plain(str(error).partition("\n")[0].partition(", could be")[0])
    return text[:160] or type(error).__name__


def _load(image: Image.Image, target: Target, notes: set[str]) -> Image.Image:
    """Decode the first frame, a large JPEG at a fraction of its size, and set it upright."""
    shortest, longest = sorted(image.size)
    if shortest < 1:
        raise ValueError("it has no pixels")
    if (longest if target.fit == "pad" else shortest) < target.size:
        notes.add(f"enlarged from less than {target.size} px")
    if _is_animated(image):
        notes.add("several frames: the first one")
    if shortest >= 4 * target.size:
        # To twice the size, as the resampling filter wants more than the pixels it ends with.
        image.draft(None, (2 * target.size, 2 * target.size))
    image.load()
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    notes.add("turned by its EXIF orientation")
    return image.transpose(turn)


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a second frame that is broken; the first may well be whole
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF that cannot be parsed; the picture may well be whole
        return 1


def _colours(image: Image.Image, opened: Image.Image, target: Target, notes: set[str]) -> Image.Image:
    """Return *image* in the mode of *target*; *opened* is where it came from, which knows format and colour profile."""
    grey = is_grey(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, opened.format, notes)
    alpha = None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = rgba.convert("RGB")
    if not grey:
        image = _to_srgb(image, opened.info.get("icc_profile"), notes)
    if alpha is not None and alpha.getextrema() != (255, 255):
        notes.add(f"transparent: laid over {_COLOURS.get(target.background, f'rgb{target.background}')}")
        image = Image.composite(image, Image.new("RGB", image.size, target.background), alpha)
    if target.channels == 3:
        if grey:
            notes.add("grey to RGB")
        return _converted(image, "RGB")
    if not grey:
        notes.add("colour to grey")
    return _converted(image, "L")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    # Pillow's method makes a copy of what is right already; so does resize().
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image, file_format: str | None, notes: set[str]) -> Image.Image:
    """Return grey of more than 8 bits in mode L. Pillow's own conversion clips, which leaves most of it white."""
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        notes.add("16 bit: scaled to 8")
        low, high = 0.0, 65535.0
        if values.max() < 4096:
            notes.add("16 bit, but dark: 12 or fewer are used")
    else:
        notes.add("32 bit: scaled by its own range")
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, notes: set[str]) -> Image.Image:
    if image.mode not in ("RGB", "CMYK", "LAB"):
        if image.mode != "P":
            notes.add(f"{image.mode} to RGB")
        image = image.convert("RGB")
    transform = _transform(profile, image.mode) if profile or image.mode == "LAB" else None
    if image.mode != "RGB":
        notes.add(f"{image.mode} to RGB")
    if transform is not None:
        if profile:
            notes.add("colour profile: converted to sRGB")
        image = transform.apply(image)
    return _converted(image, "RGB")


@lru_cache(maxsize=32)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what makes sRGB of *mode* with an ICC *profile*, or None where it is sRGB or cannot be used."""
    try:
        if profile is None or mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if ImageCms.getProfileDescription(source).lower().startswith("srgb"):
                return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # a damaged profile, one for another mode, or a Pillow without LittleCMS; the picture is whole
        return None


def _fit(image: Image.Image, target: Target, notes: set[str]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    side = target.size
    width, height = image.size
    wanted = (side, side)
    if width != height:
        if target.fit == "crop":
            notes.add("not square: centre crop")
            shortest = min(width, height)
            left, top = (width - shortest) // 2, (height - shortest) // 2
            image = image.crop((left, top, left + shortest, top + shortest))
        elif target.fit == "pad":
            notes.add("not square: padded")
            scale = side / max(width, height)
            wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
        else:
            notes.add("not square: stretched")
    if image.size != wanted:
        image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if wanted != (side, side):
        canvas = Image.new("RGB", (side, side), target.background).convert(image.mode)
        canvas.paste(image, ((side - wanted[0]) // 2, (side - wanted[1]) // 2))
        image = canvas
    return np.asarray(image).reshape(side, side, target.channels)
