"""A folder or a zip of anybody's images, read in place."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from ganctl.api import Dataset, Description, Record
from ganctl.data.decode import is_grey, open_image
from ganctl.errors import GanctlError, did_you_mean, plain

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".jp2", ".j2k", ".pgm", ".ppm", ".pbm", ".pnm", ".pfm"),
)
"""Files with other suffixes are not looked into. Which format an image has, its content decides."""

_IMAGES = frozenset(SUFFIXES)
_LOOKED_AT = 64
_LARGEST = 256 << 20
_DENSEST, _DENSITY_MATTERS = 1000, 10 << 20
_OUTSIDE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]")

_CLUTTER = re.compile(r"(^|(?<=/))(\.|__MACOSX(/|$)|Thumbs\.db$|desktop\.ini$)")
"""What is hidden, and what file managers leave behind, as a name or anywhere in a path."""


class _Listing(NamedTuple):
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    ignored: Mapping[str, int]
    stamps: Mapping[str, int]
    """The zip, or every folder that was listed, with its mtime_ns: while these stay, the list holds."""


class Folder(Dataset):
    """Images of a folder, with the folders in it, or of a zip, read in place.

    Where every image lies in one of several folders, these are its classes.
    """

    api_version = 1

    path: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] = Field(
        description="the folder or the zip"
    )

    def describe(self) -> Description:
        """Say how many images and which classes there are; the headers of a few tell whether they are grey.

        Raise :class:`GanctlError` where there are none, or where the path or the zip cannot be used.
        """
        listing = _listing(self.path)
        count = len(listing.records)
        sample = [listing.records[i * count // _LOOKED_AT] for i in range(_LOOKED_AT)] if count > _LOOKED_AT else None
        grey = {self._is_grey(record) for record in sample or listing.records} - {None}
        return Description(count, listing.classes, 1 if grey == {True} else 3)

    def records(self) -> Sequence[Record]:
        """List the images, by path below the folder or in the zip, in bytewise order."""
        return _listing(self.path).records

    def ignored(self) -> Mapping[str, int]:
        """Count the files that are not taken for images, by suffix."""
        return _listing(self.path).ignored

    def read(self, record: Record, size: int) -> bytes:
        """Return the file's bytes. Raise :class:`GanctlError` or OSError where it cannot be read."""
        if self.path.is_dir():
            return (self.path / record.name).read_bytes()
        try:
            return _archive(self.path).read(record.name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise GanctlError(f"damaged inside the zip: {plain(error)}") from error

    def fingerprint(self) -> str:
        """Return a hash of the files' names, sizes and times, or of a zip's table of names, sizes and checksums."""
        records = _listing(self.path).records
        digest = hashlib.sha256()
        try:
            if self.path.is_dir():
                for record in records:
                    status = os.stat(f"{self.path}/{record.name}")  # noqa: PTH116 - pathlib takes three times as long
                    digest.update(repr((record.name, status.st_size, status.st_mtime_ns)).encode())
            else:
                with self.path.open("rb") as file:
                    file.seek(_archive(self.path).start_dir)
                    digest.update(file.read())
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return digest.hexdigest()

    def _is_grey(self, record: Record) -> bool | None:
        try:
            with open_image(self.path / record.name if self.path.is_dir() else self.read(record, 0)) as image:
                return is_grey(image)
        except (GanctlError, OSError):
            return None  # packing will say what is wrong with it


_listings: dict[Path, _Listing] = {}


def _listing(path: Path) -> _Listing:
    """Return what *path* holds, listed once in a process as long as it stays as it is."""
    known = _listings.get(path)
    try:
        if known is None or any(Path(folder).stat().st_mtime_ns != stamp for folder, stamp in known.stamps.items()):
            known = _listings[path] = _list(path)
    except FileNotFoundError:
        raise GanctlError(f"no such folder or zip: {plain(path)}{_similar(path)}") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return known


def _list(path: Path) -> _Listing:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        names, ignored, stamps = _walk(path)
    elif not stat.S_ISREG(mode):
        raise GanctlError(f"{plain(path)} is neither a folder nor a file")
    elif path.suffix.lower() in SUFFIXES:
        raise GanctlError(f"{plain(path)} is a single image; put it into a folder with others and name the folder")
    else:
        stamps = {str(path): path.stat().st_mtime_ns}
        names, ignored = _list_zip(path)
    if not names:
        found = ", ".join(f"{count} {plain(suffix)}" for suffix, count in ignored.most_common(8))
        raise GanctlError(
            f"no image in {plain(path)}: found {found}; ganctl reads {' '.join(SUFFIXES)}"
            if found
            else f"{plain(path)} is empty; put images into it: {' '.join(SUFFIXES)}"
        )
    names.sort()
    classes, labels = _classes(names)
    return _Listing(tuple(map(Record, names, labels)), classes, ignored, stamps)


def _walk(top: Path) -> tuple[list[str], Counter[str], dict[str, int]]:
    """Return the images below *top*, the other files by suffix, and the folders with their mtime_ns."""
    names: list[str] = []
    ignored: Counter[str] = Counter()
    stamps: dict[str, int] = {}
    seen: set[str] = set()
    folders, links = [(str(top), "")], list[tuple[str, str]]()
    while folders or links:
        # Links come last, in order, so that a folder is listed by its own name where a link leads to it as well.
        links.sort(reverse=True)
        path, prefix = (folders or links).pop()
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        stamps[path] = Path(path).stat().st_mtime_ns
        with os.scandir(path) as entries:
            for entry in entries:
                name = prefix + entry.name
                if _CLUTTER.match(entry.name):
                    continue
                if _is(entry.is_dir):
                    (links if entry.is_symlink() else folders).append((entry.path, name + "/"))
                elif not _is(entry.is_file):
                    ignored["(not a regular file)"] += 1
                elif (suffix := _suffix(name)) in _IMAGES:
                    names.append(name)
                else:
                    ignored[suffix] += 1
    return names, ignored, stamps


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads to itself
        return False


def _list_zip(path: Path) -> tuple[list[str], Counter[str]]:
    """Return the images in a zip and the other files by suffix. Raise :class:`GanctlError` for an untrustworthy one."""
    names: dict[str, None] = {}
    ignored: Counter[str] = Counter()
    for entry in _archive(path).infolist():
        name = entry.filename
        # Three plain looks save 50,000 searches of what nearly never matches.
        if (".." in name or name[:1] in "/\\" or name[1:2] == ":") and _OUTSIDE.search(name):
            raise GanctlError(f"{plain(path)}: {plain(name)!r} leads out of the zip; make it again without such names")
        if name.endswith("/") or _CLUTTER.search(name):
            continue
        suffix = _suffix(name)
        if suffix not in _IMAGES:
            ignored[suffix] += 1
            continue
        if entry.flag_bits & 1:
            raise GanctlError(f"{plain(path)}: {plain(name)!r} is encrypted; unpack the zip and name the folder")
        size = entry.file_size
        if size > _LARGEST or (size > _DENSITY_MATTERS and size > _DENSEST * entry.compress_size):
            raise GanctlError(
                f"{plain(path)}: {plain(name)!r} says that it unpacks to {size / 1e6:,.0f} MB, which no image does; "
                "remove it from the zip"
            )
        if name in names:
            ignored["(repeated name)"] += 1
        names[name] = None
    return list(names), ignored


def _archive(path: Path) -> zipfile.ZipFile:
    # By process: one that was forked shares the open file's position with its parent.
    return _open_zip(path, path.stat().st_mtime_ns, os.getpid())


@lru_cache(maxsize=4)
def _open_zip(path: Path, mtime_ns: int, pid: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        with path.open("rb") as file:
            begins_well = file.read(4) == b"PK\3\4"
        if begins_well:
            raise GanctlError(f"{plain(path)} is a zip that is damaged or cut short; get it again") from error
        raise GanctlError(
            f"{plain(path)} is neither a folder nor a zip; unpack it and name the folder, or make a zip of it"
        ) from error


def _classes(names: Sequence[str]) -> tuple[tuple[str, ...], Sequence[int]]:
    """Return the classes of sorted *names*, and the class number of each: the first folders below the common one."""
    # What the first and the last in order share, all between them share, up to the character.
    root, slash, _ = os.path.commonprefix([names[0], names[-1]]).rpartition("/")  # noqa: RUF071
    start = len(root + slash)
    parts = [name[start:].partition("/") for name in names]
    if not all(slash for _, slash, _ in parts):
        return (), [0] * len(names)
    classes = sorted({folder for folder, _, _ in parts}, key=_natural)
    numbers = {folder: number for number, folder in enumerate(classes)}
    return tuple(classes), [numbers[folder] for folder, _, _ in parts]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Order "10" after "9"."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name)], name


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else "(no suffix)"


def _similar(path: Path) -> str:
    try:
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, get_close_matches(path.name, siblings, n=1))


def _unreadable(path: Path, error: OSError | ValueError) -> GanctlError:
    where = getattr(error, "filename", None) or path
    why = getattr(error, "strerror", None) or error
    return GanctlError(f"cannot read {plain(where)}: {plain(why)}; make it readable, or name another folder or zip")
