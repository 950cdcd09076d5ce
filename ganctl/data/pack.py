"""Every image of a data set, decoded once and in parallel, into one array that later runs map at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL.Image import Image

from ganctl.api import Dataset, Progress, Record
from ganctl.data.cache import building, cache_folder, unwritable
from ganctl.data.decode import BrokenImage, Target, decode
from ganctl.data.parallel import in_parallel
from ganctl.errors import GanctlError, PluginError, plain

_FORMAT = 1
"""Counts up when a pack of the same images would be laid out, or its images decoded, in another way."""

_CHUNK, _CHUNK_BYTES = 128, 16 << 20

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Manifest:
    """What a pack holds and where it comes from."""

    dataset: str
    """The plugin's name."""
    options: dict[str, Any]
    """The plugin's options, as JSON has them."""
    target: Target
    classes: tuple[str, ...]
    count: int
    """Images in the pack, without the broken ones."""
    fingerprint: str
    """The source's, when it was packed."""
    hash: str
    """Of the pixels and labels, in order."""
    broken: tuple[tuple[str, str], ...]
    """Names and reasons of images that were left out."""
    notes: dict[str, int]
    """What was done to how many images to get them into shape."""


@dataclass(frozen=True)
class Packed:
    """Images ready for training, mapped from the cache."""

    images: Pixels
    """(N, H, W, C), read-only."""
    labels: Numbers
    """(N,), class numbers; zeros where there are no classes."""
    manifest: Manifest


def pack(
    dataset: Dataset,
    name: str,
    target: Target,
    *,
    on_error: Literal["skip", "fail"] = "skip",
    progress: Progress | None = None,
    workers: int | None = None,
) -> Packed:
    """Return the images of the data set that plugin *name* made, in the order of its records; pack them where needed.

    Raise :class:`GanctlError` where fewer than two images are usable, the cache cannot be written, or, with
    ``on_error="fail"``, any image is broken.
    """
    packed = find(dataset, name, target) or _build(dataset, name, target, progress or _silent, workers)
    broken = packed.manifest.broken
    if broken and on_error == "fail":
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise GanctlError(
            f"broken image {_listed(broken[:1])}{more}; repair or remove it, or leave out what is broken with "
            "--set data.on_error=skip"
        )
    return packed


def find(dataset: Dataset, name: str, target: Target) -> Packed | None:
    """Return the pack of these images if there is one and the source has not changed since."""
    folder = _folder(dataset, name, target)
    if not folder.is_dir():
        return None
    fingerprint = dataset.fingerprint()
    try:
        packed = _open(folder)
    except (OSError, EOFError, ValueError, TypeError, KeyError):  # another process replaces it, or somebody changed it
        return None
    return packed if packed.manifest.fingerprint == fingerprint else None


def find_hash(pixels: str) -> Packed | None:
    """Return the pack whose hash is *pixels*, as a run's config.toml records it, if there still is one."""
    for manifest in sorted(cache_folder().glob("packs/*/manifest.json")):
        try:
            packed = _open(manifest.parent)
        except (OSError, EOFError, ValueError, TypeError, KeyError):
            continue
        if packed.manifest.hash == pixels:
            return packed
    return None


def _folder(dataset: Dataset, name: str, target: Target) -> Path:
    key = json.dumps([_FORMAT, name, dataset.model_dump(mode="json"), target], sort_keys=True)
    return cache_folder() / "packs" / hashlib.sha256(key.encode()).hexdigest()[:24]


def _open(folder: Path) -> Packed:
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    size, channels, fit, background = fields.pop("target")
    manifest = Manifest(
        **fields
        | {
            "target": Target(size, channels, fit, tuple(background)),
            "classes": tuple(fields["classes"]),
            "broken": tuple((image, reason) for image, reason in fields["broken"]),
        }
    )
    images, labels = np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    if images.shape != (manifest.count, size, size, channels) or labels.shape != (manifest.count,):
        raise ValueError("arrays and manifest disagree")
    return Packed(images, labels, manifest)


def _build(dataset: Dataset, name: str, target: Target, progress: Progress, workers: int | None) -> Packed:
    dataset.prepare(progress)
    description = dataset.describe()
    # Before the images are read: a source that changes meanwhile is packed again next time.
    fingerprint = dataset.fingerprint()
    records = dataset.records()
    count = description.count if isinstance(records, Iterator) else len(records)
    shape = (target.size, target.size, target.channels)
    stride = math.prod(shape)
    folder = _folder(dataset, name, target)
    with building(folder, (count or 0) * (stride + 8)) as new:
        try:
            file = new / "images.npy"
            file.touch()
            start = _head(file, (0, *shape))
            task = partial(_pack_chunk, dataset, name, len(description.classes), target, file, start)
            chunk = min(_CHUNK, max(1, _CHUNK_BYTES // stride))
            said = partial(progress, "packing")
            chunks = in_parallel(task, records, chunk=chunk, workers=workers, progress=said, count=count)
            broken = tuple(pair for part in chunks for pair in part.broken)
            digests = [digest for part in chunks for digest in part.digests]
            usable = np.array([number for number, digest in enumerate(digests) if digest], np.int64)
            if len(usable) < 2:
                raise _too_few(len(usable), broken)
            if broken:
                _keep(file, start, (len(digests), *shape), usable)
            _head(file, (len(usable), *shape))
            labels = np.array([label for part in chunks for label in part.labels], np.int64)[usable]
            np.save(new / "labels.npy", labels)
            manifest = Manifest(
                dataset=name,
                options=dataset.model_dump(mode="json"),
                target=target,
                classes=description.classes,
                count=len(usable),
                fingerprint=fingerprint,
                hash=hashlib.sha256(b"".join(digests) + labels.tobytes()).hexdigest(),
                broken=broken,
                notes=dict(sum((part.notes for part in chunks), Counter[str]()).most_common()),
            )
            (new / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
            # Mapped before it is in its place, where another process may be about to put its own.
            packed = _open(new)
        except OSError as error:
            raise unwritable(folder.parent, error) from error
    return packed


def _too_few(usable: int, broken: Sequence[tuple[str, str]]) -> GanctlError:
    if not broken:
        return GanctlError(f"a data set needs two images or more, and this one has {usable}")
    return GanctlError(
        f"{len(broken)} of {len(broken) + usable} images are broken, which leaves too few: {_listed(broken[:3])}"
    )


def _listed(broken: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{plain(image)}: {reason}" for image, reason in broken)


class _Chunk(NamedTuple):
    digests: list[bytes]
    """Of each image's pixels; empty for a broken one."""
    labels: list[int]
    broken: list[tuple[str, str]]
    """Names and reasons."""
    notes: Counter[str]


def _pack_chunk(
    dataset: Dataset,
    name: str,
    classes: int,
    target: Target,
    file: Path,
    offset: int,
    start: int,
    records: Sequence[Record],
) -> _Chunk:
    """Decode *records*, which begin with number *start*, into their places in *file*, whose pixels are at *offset*."""
    pixels = np.zeros((len(records), target.size, target.size, target.channels), np.uint8)
    digests: list[bytes] = []
    broken: list[tuple[str, str]] = []
    notes = Counter[str]()
    for place, record in zip(pixels, records, strict=True):
        if not (isinstance(record.label, int) and 0 <= record.label < max(classes, 1)):
            raise PluginError(
                f"data set {name!r} gives {plain(record.name)} the label {record.label!r}, not the number of one of "
                f"its {classes} classes; 0 is right where there are none"
            )
        try:
            place[:], done = decode(fetch(dataset, record, target.size), target)
        except BrokenImage as error:
            broken.append((record.name, str(error)))
            digests.append(b"")
            continue
        notes.update(done)
        digests.append(hashlib.blake2b(place.tobytes(), digest_size=16).digest())
    # Written, and not mapped: where the disk is full, that is an error and not the end of the process.
    with file.open("r+b") as images:
        images.seek(offset + start * pixels[0].size)
        images.write(pixels.data)
    return _Chunk(digests, [record.label for record in records], broken, notes)


def fetch(dataset: Dataset, record: Record, size: int) -> bytes | Image:
    """Return what the data set reads. Raise :class:`BrokenImage` where it cannot."""
    try:
        return dataset.read(record, size)
    except OSError as error:
        raise BrokenImage(f"cannot be read: {plain(error.strerror or error)}") from error
    except GanctlError as error:
        raise BrokenImage(str(error)) from error


def _head(file: Path, shape: tuple[int, ...]) -> int:
    """Begin *file* with what numpy has to know of so many bytes, end it after them, and return where they begin."""
    with file.open("r+b") as packed:
        # numpy pads this so that another first axis does not change its length.
        np.lib.format.write_array_header_1_0(packed, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = packed.tell()
        packed.truncate(start + math.prod(shape))
    return start


def _keep(file: Path, start: int, shape: tuple[int, ...], usable: Numbers) -> None:
    """Close the gaps that broken images left in *file*, without a second copy of it."""
    images = np.memmap(file, np.uint8, "r+", start, shape)
    for place in range(0, len(usable), _CHUNK):
        rows = usable[place : place + _CHUNK]
        images[place : place + len(rows)] = images[rows]
    images.flush()


def _silent(what: str, done: int, total: int | None) -> None:
    pass
