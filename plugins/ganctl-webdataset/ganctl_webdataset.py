"""Images in tar shards, as WebDataset lays them out: files of one sample share a name, and stand side by side."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from PIL import Image
from pydantic import AfterValidator, Field

from ganctl.api import Dataset, Description, Record
from ganctl.errors import GanctlError, did_you_mean, plain

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm")
"""Endings of images. Which format one has, its content decides."""

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LARGEST = 256 << 20
_MOST_CLASSES = 10_000
_LOOKED_AT = 16
_MOST_SHARDS = 100_000

Ending = Annotated[str, AfterValidator(lambda ending: ending.removeprefix("."))]


class Sample(NamedTuple):
    """One image, and what else there is of it."""

    name: str
    image: bytes | None
    """None where nobody asked for it."""
    label: str | None
    """As it is written."""


class WebDataset(Dataset):
    """Images in tar shards, read in order and in place; nothing is unpacked.

    Files of one sample share a name: 000123.jpg is an image, and 000123.cls says its class.
    """

    api_version = 1

    path: Annotated[str, AfterValidator(lambda path: str(Path(path).expanduser().absolute()))] = Field(
        description="a tar, a folder of tars, or several, as in shards-{0000..0009}.tar or *.tar"
    )
    image: Ending | None = Field(
        default=None, description="the ending of images, such as png; by default each sample's first that is known"
    )
    label: Ending | None = Field(
        default=None,
        description="the ending of files that hold the class, or json.KEY; by default cls, if any; empty for none",
    )
    names: tuple[str, ...] = Field(
        default=(), description="the classes in the order of their numbers; by default all shards are looked through"
    )

    def describe(self) -> Description:
        """Say which classes there are; how many images, only where they had to be looked through for that."""
        head = list(islice(self.samples(Counter()), _LOOKED_AT))
        if not head:
            raise GanctlError(f"no image in {plain(self.path)}; {self._wanted()}")
        channels: Literal[1, 3] = 1 if all(_is_grey(sample.image) for sample in head) else 3
        if not self._label(head[0]):
            return Description(None, channels=channels)
        if self.names:
            return Description(None, self.names, channels)
        survey = _survey(self, self._stamps())
        return Description(survey.images, survey.classes, channels)

    def records(self) -> Iterator[Record]:
        """Yield the images, shard by shard. Raise :class:`GanctlError` for a damaged one."""
        classes = self.describe().classes
        numbers = {name: number for number, name in enumerate(classes)}
        for sample in self.samples(Counter()):
            if not classes:
                yield Record(sample.name, 0, sample.image)
            elif sample.label is not None:
                yield Record(sample.name, _number(sample, numbers), sample.image)

    def ignored(self) -> Mapping[str, int]:
        """Count what is not taken, by ending or by reason."""
        return _survey(self, self._stamps()).ignored

    def fingerprint(self) -> str:
        """Return a hash of the options, and of the shards' names, sizes and times."""
        return hashlib.sha256(f"{self.model_dump_json()} {self._stamps()}".encode()).hexdigest()

    def samples(self, ignored: Counter[str], images: bool = True) -> Iterator[Sample]:
        """Yield the samples that have an image, and count in *ignored* what else there is."""
        shards = _shards(self.path)
        common = os.path.commonpath([shard.parent for shard in shards])
        for shard in shards:
            last = "its beginning"
            try:
                with tarfile.open(shard, tarinfo=_Strict) as archive:
                    for sample in self._samples_of(archive, ignored, images):
                        last = sample.name
                        within = f"{shard.relative_to(common)}/" if len(shards) > 1 else ""
                        yield sample._replace(name=within + sample.name)
            except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                reason = plain(str(error).partition("\n")[0]) or type(error).__name__
                raise GanctlError(
                    f"{plain(shard)} is no tar, or damaged, or cut short, after {plain(last)}: {reason}; get it again"
                ) from error

    def _samples_of(self, archive: tarfile.TarFile, ignored: Counter[str], images: bool) -> Iterator[Sample]:
        seen: set[str] = set()
        for key, members in groupby(_files(archive, ignored), key=lambda member: _key(member.name)):
            if key in seen:
                ignored["(repeated name)"] += sum(1 for _ in members)
                continue
            seen.add(key)
            found: Sample | None = None
            label: str | None = None
            for member in members:
                ending = member.name.removeprefix(key + ".").lower()
                if member.size > _LARGEST:
                    ignored["(larger than 256 MB)"] += 1
                elif found is None and ending in ([self.image.lower()] if self.image else IMAGES):
                    found = Sample(member.name, _content(archive, member) if images else None, None)
                elif label is None and ending == (self.label or "cls").partition(".")[0] and self.label != "":
                    label = _text(_content(archive, member), self.label or "cls", member.name)
                else:
                    ignored[f".{ending}"] += 1
            if found:
                yield found._replace(label=label)

    def _label(self, first: Sample) -> bool:
        """Tell whether images have labels, as far as the *first* sample shows it."""
        if self.label and first.label is None:
            raise GanctlError(f"data.label = {plain(self.label)}: {plain(first.name)} has no such file beside it")
        return first.label is not None

    def _wanted(self) -> str:
        return f"ganctl looks for files that end in {', '.join([self.image] if self.image else IMAGES)}"

    def _stamps(self) -> tuple[tuple[str, int, int], ...]:
        return tuple((str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in _shards(self.path))


class _Survey(NamedTuple):
    images: int
    classes: tuple[str, ...]
    ignored: Mapping[str, int]


@lru_cache(maxsize=4)
def _survey(dataset: WebDataset, stamps: object) -> _Survey:
    """Look through all shards without reading an image; *stamps* tell whether they are as they were."""
    ignored = Counter[str]()
    values = Counter[str]()
    bare = 0
    for sample in dataset.samples(ignored, images=False):
        if sample.label is None:
            bare += 1
            continue
        values[sample.label] += 1
        if len(values) > _MOST_CLASSES:
            raise GanctlError(f"data.label: there are more than {_MOST_CLASSES} different ones, which are no classes")
    if not values:
        return _Survey(bare, (), ignored)
    if bare:
        ignored["(image without a label)"] = bare
    if dataset.names:
        classes = dataset.names
    elif all(re.fullmatch("[0-9]{1,9}", value) for value in values):
        highest = max(map(int, values))
        if highest >= _MOST_CLASSES:
            raise GanctlError(f"data.label: the number {highest} is not that of a class")
        classes = tuple(map(str, range(highest + 1)))
    else:
        classes = tuple(sorted(values))
    return _Survey(values.total(), classes, ignored)


class _Strict(tarfile.TarInfo):
    """A header in which damage is an error; to tarfile it is the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Strict:
        try:
            return super().fromtarfile(archive)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


def _files(archive: tarfile.TarFile, ignored: Counter[str]) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep each of a million
        if member.isdir() or Path(member.name).name.startswith("."):
            continue
        if member.isreg():
            yield member
        else:
            ignored["(not a regular file)"] += 1


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _key(name: str) -> str:
    """Return what files of one sample share: all up to the first dot of the last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _text(content: bytes, label: str, name: str) -> str:
    """Return the class that a file says."""
    try:
        text = content.decode().strip()
        _, dot, key = label.partition(".")
        value = json.loads(text)[key] if dot else text
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise GanctlError(f"{plain(name)} holds no {plain(label)}: {plain(error)}") from error
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise GanctlError(f"{plain(name)}: {plain(repr(value)[:80])} is neither a number nor a name of a class")
    return str(value)


def _number(sample: Sample, numbers: Mapping[str, int]) -> int:
    """Return the number of a sample's class, which its label gives or names."""
    label = sample.label or ""
    if label in numbers:
        return numbers[label]
    if re.fullmatch("[0-9]{1,9}", label) and int(label) < len(numbers):
        return int(label)
    raise GanctlError(
        f"{plain(sample.name)} has the label {plain(label)!r}, which is none of the {len(numbers)} classes"
        f"{did_you_mean(label, numbers)}"
    )


def _is_grey(image: bytes | None) -> bool:
    try:
        with Image.open(io.BytesIO(image or b"")) as opened:
            return opened.mode in ("1", "L", "LA") or opened.mode.startswith("I")
    except Exception:  # packing will say what is wrong with it
        return True


def _shards(path: str) -> list[Path]:
    """Return the tars that *path* means. Raise :class:`GanctlError` where there are none, or one is missing."""
    if Path(path).is_dir():
        found = sorted(file for file in Path(path).iterdir() if file.name.lower().endswith(_TARS) and file.is_file())
    elif Path(path).exists():
        return [Path(path)]
    else:
        patterns = list(map(Path, _expanded(path)))
        found = [file for pattern in patterns for file in sorted(_matching(pattern)) or [pattern]]
    missing = next((file for file in found if not file.is_file()), None)
    if missing or not found:
        raise GanctlError(f"no tar in {plain(path)}" if not missing else f"no such tar: {plain(missing)}")
    return found


def _matching(pattern: Path) -> Iterator[Path]:
    return Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))


def _expanded(path: str) -> Iterator[str]:
    """Yield what braces stand for: a{0..2}.tar and a{x,y}.tar, as in a shell."""
    braces = re.search(r"\{(?:([0-9]+)\.\.([0-9]+)|([^{}]*,[^{}]*))\}", path)
    if not braces:
        yield path
        return
    first, last, words = braces.groups()
    if first and int(last) - int(first) > _MOST_SHARDS:
        raise GanctlError(f"data.path: {plain(braces[0])} is more than {_MOST_SHARDS} shards")
    parts = (
        words.split(",")
        if words is not None
        else [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    )
    for part in parts:
        yield from _expanded(path[: braces.start()] + part + path[braces.end() :])
