"""What is in a data set, what is wrong with it, and what ganctl would do with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from ganctl.api import Dataset, Progress, Record
from ganctl.data.decode import BrokenImage, Target, decode, open_image
from ganctl.data.pack import Pixels, fetch, find
from ganctl.data.parallel import in_parallel

T = TypeVar("T")

_CHUNK = 64
_SHOWN = 64


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect` found. Everything but *count*, *broken* and *ignored* is about the images that are whole."""

    count: int
    """Images, broken ones included."""
    channels: int
    """1 if they seem to be grey, or else 3."""
    classes: Mapping[str, int]
    """Images of each class; empty where there are no classes."""
    sizes: Mapping[tuple[int, int], int]
    """Images of each (width, height) in their files, the most common first."""
    smallest: tuple[int, int]
    """(width, height) of the image with the fewest pixels."""
    median: tuple[int, int]
    largest: tuple[int, int]
    formats: Mapping[str, int]
    """Images of each file format, the most common first; "pixels" where the plugin gives images instead of files."""
    modes: Mapping[str, int]
    """Images of each of Pillow's modes, the most common first."""
    duplicates: tuple[tuple[str, ...], ...]
    """Groups of names of images that decode to the same pixels, the largest group first."""
    broken: tuple[tuple[str, str], ...]
    """Names and reasons."""
    ignored: Mapping[str, int]
    """Other files, by suffix."""
    notes: Mapping[str, int]
    """What ganctl does to how many images to get them into shape, the most common first."""
    packed: bool
    """Whether the cache holds these images, in this shape, as they are now."""
    sample: Pixels
    """(N, size, size, channels): up to 64 images as ganctl sees them, evenly spread over the data set."""


class _Look(NamedTuple):
    name: str
    label: int
    digest: bytes
    size: tuple[int, int]
    file_format: str
    mode: str
    notes: frozenset[str]


def inspect(dataset: Dataset, name: str, target: Target, progress: Progress) -> Inspection:
    """Look at every image of the data set that plugin *name* made. Raise :class:`GanctlError` where it is unusable."""
    dataset.prepare(progress)
    description = dataset.describe()
    records = dataset.records()
    again: dict[int, Record] = {}
    if isinstance(records, Iterator):
        records = _noting_some(records, again)
    else:
        again.update(enumerate(records))
    task, said = partial(_look_at, dataset, target), partial(progress, "checking")
    chunks = in_parallel(task, records, chunk=_CHUNK, workers=None, progress=said, count=description.count)
    looks = [look for chunk in chunks for look in chunk]
    whole = [look for look in looks if isinstance(look, _Look)]
    same: dict[bytes, list[str]] = {}
    for look in whole:
        same.setdefault(look.digest, []).append(look.name)
    of_class = Counter(look.label for look in whole)
    by_area = sorted((look.size for look in whole), key=lambda size: (size[0] * size[1], size)) or [(0, 0)]
    usable = [number for number, look in enumerate(looks) if isinstance(look, _Look) and number in again]
    shown = sorted({usable[i * len(usable) // _SHOWN] for i in range(_SHOWN)}) if usable else []
    sample = np.zeros((len(shown), target.size, target.size, target.channels), np.uint8)
    for pixels, number in zip(sample, shown, strict=True):
        pixels[:], _ = decode(fetch(dataset, again[number], target.size), target)
    return Inspection(
        count=len(looks),
        channels=description.channels,
        classes={label: of_class[number] for number, label in enumerate(description.classes)},
        sizes=_counted(look.size for look in whole),
        smallest=by_area[0],
        median=by_area[len(by_area) // 2],
        largest=by_area[-1],
        formats=_counted(look.file_format for look in whole),
        modes=_counted(look.mode for look in whole),
        duplicates=tuple(tuple(group) for group in sorted(same.values(), key=len, reverse=True) if len(group) > 1),
        broken=tuple(look for look in looks if not isinstance(look, _Look)),
        ignored=dataset.ignored(),
        notes=_counted(note for look in whole for note in look.notes),
        packed=find(dataset, name, target) is not None,
        sample=sample,
    )


def _noting_some(records: Iterator[Record], noted: dict[int, Record]) -> Iterator[Record]:
    """Pass *records* on, and keep some of them by their numbers, evenly spread over all that were passed on so far."""
    step = 1
    for number, record in enumerate(records):
        if number % step == 0:
            noted[number] = record
            if len(noted) > 2 * _SHOWN:
                step *= 2
                for odd in list(noted)[1::2]:
                    del noted[odd]
        yield record


def _look_at(dataset: Dataset, target: Target, start: int, records: Sequence[Record]) -> list[_Look | tuple[str, str]]:
    """Return what each image is, or its name and why it is broken."""
    looks: list[_Look | tuple[str, str]] = []
    for record in records:
        try:
            source = fetch(dataset, record, target.size)
            image = open_image(source) if isinstance(source, bytes) else source
            # Decoding a large JPEG changes its size.
            size, mode = image.size, image.mode
            pixels, notes = decode(image, target)
        except BrokenImage as error:
            looks.append((record.name, str(error)))
            continue
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        looks.append(_Look(record.name, record.label, digest, size, image.format or "pixels", mode, notes))
    return looks


def _counted(things: Iterable[T]) -> dict[T, int]:
    return dict(Counter(things).most_common())
