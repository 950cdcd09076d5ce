"""Well-known data sets, downloaded on first use from where torchvision knows them to be.

torchvision takes ten seconds to import, and reads CIFAR-10 from pickles. So it is used once, in one process, and its
arrays are kept as .npy files, from which everything else is read.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from PIL import Image

from ganctl.api import Dataset, Description, Progress, Record
from ganctl.data.cache import building, cache_folder
from ganctl.data.download import download, reason
from ganctl.datasets.folder import Folder
from ganctl.errors import GanctlError, plain


class _Known(NamedTuple):
    """What is known of a data set without a look at it."""

    kind: str
    """Its class in torchvision.datasets."""
    name: str
    """Its folder below the cache's ``downloads``."""
    images: int
    side: int
    channels: Literal[1, 3]
    classes: tuple[str, ...]
    megabytes: int
    """The download's."""

    @property
    def home(self) -> Path:
        """Where a file that somebody downloaded by hand is looked for."""
        return cache_folder() / "downloads" / self.name

    @property
    def ready(self) -> Path:
        """What ``prepare`` makes: there whole or not at all."""
        return self.home / "ready"


class _Arrays(Dataset):
    """Training images that torchvision holds in memory, in its order."""

    api_version = 1

    _known: ClassVar[_Known]

    def describe(self) -> Description:
        """Say what is known without a look at the images, and whether they have to be downloaded."""
        known = self._known
        needs = "" if known.ready.is_dir() else f"a download of {known.megabytes} MB"
        return Description(known.images, known.classes, known.channels, needs)

    def prepare(self, progress: Progress) -> None:
        """Download them, or take what lies in their folder. Raise :class:`GanctlError` that says what to do by hand."""
        if not self._known.ready.is_dir():
            _prepare(self._known, progress)

    def records(self) -> Sequence[Record]:
        """List the images by their numbers."""
        return [Record(str(number), label) for number, label in enumerate(_arrays(self._known.ready)[1].tolist())]

    def read(self, record: Record, size: int) -> Image.Image:
        """Return an image in mode L or RGB."""
        return Image.fromarray(_arrays(self._known.ready)[0][int(record.name)])


class CIFAR10(_Arrays):
    """CIFAR-10: 50,000 photographs of animals and vehicles, 32 x 32, in 10 classes (Krizhevsky, 2009)."""

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"data.size": 32})

    _known = _Known(
        "CIFAR10",
        "cifar10",
        50_000,
        32,
        3,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        170,
    )


class MNIST(_Arrays):
    """MNIST: 60,000 handwritten digits, grey, 28 x 28, in 10 classes (LeCun et al., 1998)."""

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"data.size": 28})

    _known = _Known("MNIST", "mnist", 60_000, 28, 1, tuple("0123456789"), 12)


class FashionMNIST(_Arrays):
    """Fashion-MNIST: 60,000 pieces of clothing, grey, 28 x 28, in 10 classes (Xiao et al., 2017)."""

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"data.size": 28})

    _known = _Known(
        "FashionMNIST",
        "fashion-mnist",
        60_000,
        28,
        1,
        ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        31,
    )


class CelebA(Dataset):
    """CelebA: 202,599 portraits, aligned, 178 x 218, of which the centre is taken (Liu et al., 2015).

    The zip is read in place.
    """

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"data.size": 64})

    def describe(self) -> Description:
        """Say what is known without a look at the images, and whether they have to be downloaded."""
        return Description(_CELEBA.images, _CELEBA.classes, _CELEBA.channels, "" if _zip() else "a download of 1.4 GB")

    def prepare(self, progress: Progress) -> None:
        """Download the zip, unless it is there. Raise :class:`GanctlError` that says how to get it by hand."""
        if _zip():
            return
        kind = _torchvision(_CELEBA, progress)
        identity, md5, name = kind.file_list[0]
        # Google Drive takes more than an address: torchvision leaves it to the package gdown.
        from torchvision.datasets.utils import download_file_from_google_drive

        page = re.search(r"https?://[^\s>]+", kind.__doc__ or "")
        where = f"{name} from {page[0] if page else 'its home page'} (in Google Drive: {identity})"
        with building(_CELEBA.ready, _CELEBA.megabytes * 10**6) as new:
            progress(f"downloading {name}", 0, None)
            try:
                download_file_from_google_drive(identity, new, name, md5)
            except Exception as error:  # torchvision's RuntimeError, or one of gdown's own
                raise _by_hand(_CELEBA, where, error) from error

    def records(self) -> Sequence[Record]:
        """List the images in the zip."""
        return _celeba(_zip()).records()

    def read(self, record: Record, size: int) -> bytes:
        """Return a JPEG's bytes."""
        return _celeba(_zip()).read(record, size)


_CELEBA = _Known("CelebA", "celeba", 202_599, 178, 3, (), 1443)


def _zip() -> Path | None:
    for folder in (_CELEBA.ready, _CELEBA.home):
        if (path := folder / "img_align_celeba.zip").is_file():
            return path
    return None


@lru_cache
def _celeba(path: Path | None) -> Folder:
    if path is None:
        raise GanctlError("CelebA is not downloaded yet")
    return Folder(path=path)


@lru_cache
def _arrays(ready: Path) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return images, (N, H, W) or (N, H, W, 3), mapped, and their class numbers, (N,)."""
    try:
        return np.load(ready / "images.npy", mmap_mode="r"), np.load(ready / "labels.npy")
    except (OSError, ValueError) as error:
        raise GanctlError(
            f"cannot read {plain(ready)}: {plain(error)}; remove it to have it downloaded again"
        ) from error


class _File(NamedTuple):
    addresses: Sequence[str]
    path: str
    """Where torchvision looks for it, below its root."""
    md5: str


def _prepare(known: _Known, progress: Progress) -> None:
    kind = _torchvision(known, progress)
    files = _files(kind)
    pixels = known.images * known.side * known.side * known.channels
    with building(known.ready, 2 * pixels + known.megabytes * 10**6) as new:
        root = new / "raw"
        try:
            for file in files:
                _provide(file, known.home / Path(file.path).name, root / file.path, progress)
            progress(f"unpacking {known.name}", 0, None)
            # It finds the files, verifies and unpacks them. Some of its versions say so.
            with contextlib.redirect_stdout(io.StringIO()):
                loaded = kind(str(root), train=True, download=True)
            np.save(new / "images.npy", np.asarray(loaded.data, np.uint8))
            np.save(new / "labels.npy", np.asarray(loaded.targets, np.int64))
            shutil.rmtree(root)
        except (OSError, HTTPException, RuntimeError, EOFError) as error:
            raise _by_hand(known, " and ".join(file.addresses[0] for file in files), error) from error


def _torchvision(known: _Known, progress: Progress) -> Any:
    progress("importing torchvision", 0, None)
    import torchvision.datasets

    return getattr(torchvision.datasets, known.kind)


def _files(kind: Any) -> list[_File]:
    """Return what a class of torchvision downloads: several files from mirrors, or one archive."""
    if hasattr(kind, "resources"):
        folder = f"{kind.__name__}/raw"
        return [_File([site + name for site in kind.mirrors], f"{folder}/{name}", md5) for name, md5 in kind.resources]
    return [_File([kind.url], kind.filename, kind.tgz_md5)]


def _provide(file: _File, by_hand: Path, path: Path, progress: Progress) -> None:
    """Put *file* at *path*: a copy of what was downloaded *by_hand*, or else a download from the first site that works.

    Raise OSError, HTTPException or RuntimeError where there is no such site.
    """
    from torchvision.datasets.utils import check_integrity

    path.parent.mkdir(parents=True, exist_ok=True)
    if by_hand.is_file():
        if not check_integrity(by_hand, file.md5):
            raise RuntimeError(f"{by_hand} is damaged or cut short: remove it")
        shutil.copyfile(by_hand, path)
        return
    problem: Exception = RuntimeError("torchvision knows no address")
    for address in file.addresses:
        try:
            download(address, path, progress)
            if check_integrity(path, file.md5):
                return
            problem = RuntimeError(f"what came from {address} is not what was expected")
        except (OSError, HTTPException) as error:
            problem = error
    raise problem


def _by_hand(known: _Known, what: str, error: Exception) -> GanctlError:
    return GanctlError(
        f"cannot download {known.name}: {reason(error)}; download {what} by hand into {plain(known.home)}, "
        "or use --data FOLDER/ZIP with your own copy"
    )
