"""Well-known data sets come whole, from torchvision's addresses or by hand, or else one line says what to do."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganctl.api import Dataset
from ganctl.data.decode import Target
from ganctl.data.pack import pack
from ganctl.datasets.torchvision import CIFAR10, MNIST, CelebA, FashionMNIST
from ganctl.errors import GanctlError

COUNT = 6
ALL = (CIFAR10, MNIST, FashionMNIST, CelebA)


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server's address, and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()


def silent(*args: object) -> None:
    pass


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def fake_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Put the four files of a tiny MNIST into *folder*, and have torchvision expect them."""
    import torchvision.datasets

    images = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), np.uint8)
    resources = []
    for part in ("train", "t10k"):
        pixels = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape) + images.tobytes()
        labels = bytes([0, 0, 8, 1]) + COUNT.to_bytes(4, "big") + bytes(range(COUNT))
        for name, data in ((f"{part}-images-idx3-ubyte.gz", pixels), (f"{part}-labels-idx1-ubyte.gz", labels)):
            packed = gzip.compress(data)
            (folder / name).write_bytes(packed)
            resources.append((name, md5(packed)))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return images


def fake_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Put the archive of a tiny CIFAR-10 into *folder*, and have torchvision expect it."""
    import torchvision.datasets

    kind = torchvision.datasets.CIFAR10
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    batch = {"data": images.transpose(0, 3, 1, 2).reshape(COUNT, -1), "labels": list(range(COUNT))}
    files = {
        "data_batch_1": pickle.dumps(batch),
        "test_batch": pickle.dumps(batch),
        "batches.meta": pickle.dumps({"label_names": [str(n) for n in range(10)]}),
    }
    with tarfile.open(folder / kind.filename, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", md5(files["data_batch_1"])]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files["batches.meta"])})
    monkeypatch.setattr(kind, "tgz_md5", md5((folder / kind.filename).read_bytes()))
    return images


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("dataset", "count", "classes", "channels", "needs", "size"),
    [
        (CIFAR10(), 50_000, 10, 3, "a download of 170 MB", 32),
        (MNIST(), 60_000, 10, 1, "a download of 12 MB", 28),
        (FashionMNIST(), 60_000, 10, 1, "a download of 31 MB", 28),
        (CelebA(), 202_599, 0, 3, "a download of 1.4 GB", 64),
    ],
)
def test_description(dataset: Dataset, count: int, classes: int, channels: int, needs: str, size: int) -> None:
    description = dataset.describe()
    assert (description.count, description.channels, description.needs) == (count, channels, needs)
    assert len(description.classes) == classes
    assert type(dataset).recipe == {"data.size": size}
    assert vars(type(dataset))["api_version"] == 1


def test_describing_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from ganctl.datasets.torchvision import *\n"
        "[kind().describe() for kind in (CIFAR10, MNIST, FashionMNIST, CelebA)]\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_class_names_are_torchvisions_in_its_order() -> None:
    import torchvision.datasets

    ours = FashionMNIST().describe().classes
    theirs = torchvision.datasets.FashionMNIST.classes
    assert [name.lower()[:5] for name in ours] == [name.lower()[:5] for name in theirs]
    assert MNIST().describe().classes == tuple(name[0] for name in torchvision.datasets.MNIST.classes)


def test_mnist_by_hand(downloads: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    (downloads / "mnist").mkdir(parents=True)
    images = fake_mnist(downloads / "mnist", monkeypatch)
    packed = pack(MNIST(), "mnist", Target(28, 1))
    assert (packed.images[..., 0] == images).all()
    assert packed.labels.tolist() == list(range(COUNT))
    assert MNIST().describe().needs == ""
    assert sorted(path.name for path in (downloads / "mnist" / "ready").iterdir()) == ["images.npy", "labels.npy"]


def test_cifar10_by_hand(downloads: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> None:
    (downloads / "cifar10").mkdir(parents=True)
    images = fake_cifar(downloads / "cifar10", monkeypatch)
    packed = pack(CIFAR10(), "cifar10", Target(32, 3))
    assert (packed.images == images).all()
    assert packed.labels.tolist() == list(range(COUNT))
    assert CIFAR10().describe().needs == ""


def test_reading_needs_no_torchvision(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (downloads / "mnist").mkdir(parents=True)
    images = fake_mnist(downloads / "mnist", monkeypatch)
    MNIST().prepare(silent)
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from ganctl.datasets.torchvision import MNIST\n"
        "data = MNIST()\n"
        "data.prepare(None)\n"
        "print(data.records()[3].label, int(np.asarray(data.read(data.records()[3], 28)).sum()))\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["3", str(images[3].sum())]


def test_download(site: tuple[str, Path], downloads: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """From the second mirror, as the first is gone; with progress to the caller and nothing on the terminal."""
    import torchvision.datasets

    address, folder = site
    images = fake_mnist(folder, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address + "gone/", address])
    steps: list[tuple[str, int, int | None]] = []
    MNIST().prepare(lambda *step: steps.append(step))
    assert (np.asarray(MNIST().read(MNIST().records()[2], 28)) == images[2]).all()
    size = (folder / "train-images-idx3-ubyte.gz").stat().st_size
    assert ("downloading train-images-idx3-ubyte.gz", size, size) in steps
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in (downloads / "mnist").iterdir()] == ["ready"]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    MNIST().prepare(silent)  # it is there


def test_download_of_something_else(site: tuple[str, Path], downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A captive portal answers every address with a page of its own."""
    import torchvision.datasets

    address, folder = site
    fake_cifar(folder, monkeypatch)
    name = torchvision.datasets.CIFAR10.filename
    (folder / name).write_bytes(b"<html>")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", address + name)
    with pytest.raises(GanctlError, match="is not what was expected"):
        CIFAR10().prepare(silent)
    assert list((downloads / "cifar10").iterdir()) == []


def test_damaged_file_by_hand_is_named_and_kept(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (downloads / "cifar10").mkdir(parents=True)
    fake_cifar(downloads / "cifar10", monkeypatch)
    file = next((downloads / "cifar10").iterdir())
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(GanctlError, match=f"{file} is damaged or cut short: remove it"):
        CIFAR10().prepare(silent)
    assert list((downloads / "cifar10").iterdir()) == [file]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ALL)
def test_without_a_network_one_line_says_what_to_do(kind: type[Dataset], downloads: Path, capfd: Any) -> None:
    import torchvision.datasets

    theirs = getattr(torchvision.datasets, kind.__name__)
    with pytest.raises(GanctlError) as caught:
        kind().prepare(silent)
    text = str(caught.value)
    assert "\n" not in text
    if kind is CelebA:
        files = ["img_align_celeba.zip", theirs.file_list[0][0], "mmlab"]
        folder = "celeba"
    elif kind is CIFAR10:
        files, folder = [theirs.url, ": Network is unreachable;"], "cifar10"
    else:
        files = [theirs.mirrors[0] + name for name, _ in theirs.resources]
        folder = {MNIST: "mnist", FashionMNIST: "fashion-mnist"}[kind]
    for part in (*files, f"by hand into {downloads}/{folder},", "or use --data FOLDER/ZIP with your own copy"):
        assert part in text
    assert not [path for path in downloads.rglob("*") if path.is_file()]
    assert capfd.readouterr() == ("", "")


def test_interrupted_download_leaves_nothing(
    site: tuple[str, Path], downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    address, folder = site
    fake_mnist(folder, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])

    def stop(what: str, done: int, total: int | None) -> None:
        if what.startswith("downloading train-labels"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MNIST().prepare(stop)
    assert list((downloads / "mnist").iterdir()) == []


def fill(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            file = io.BytesIO()
            pixels = np.zeros((218, 178, 3), np.uint8)
            pixels[20:198] = number  # the square in the middle
            Image.fromarray(pixels).save(file, "PNG")
            archive.writestr(f"img_align_celeba/{number + 1:06}.jpg", file.getvalue())


@pytest.mark.usefixtures("offline")
def test_celeba_by_hand_is_read_in_place(downloads: Path) -> None:
    fill(downloads / "celeba" / "img_align_celeba.zip")
    assert CelebA().describe().needs == ""
    packed = pack(CelebA(), "celeba", Target(64, 3))
    assert packed.images[:, 0, 0, 0].tolist() == packed.images[:, -1, -1, 0].tolist() == [0, 1, 2]
    assert packed.manifest.notes == {"not square: centre crop": 3}


def test_celeba_through_gdown(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def download(identity: str, root: Path, name: str, expected: str) -> None:
        assert (identity, expected, name) == torchvision.datasets.CelebA.file_list[0]
        fill(Path(root) / name)

    monkeypatch.setattr(torchvision.datasets.utils, "download_file_from_google_drive", download)
    CelebA().prepare(silent)
    assert len(CelebA().records()) == 3
    assert [path.name for path in (downloads / "celeba").iterdir()] == ["ready"]
