"""A folder or zip of anybody's images is listed as its owner would, read in place, and refused in one line."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from ganctl.api import Description, Record
from ganctl.datasets import folder as module
from ganctl.datasets.folder import Folder
from ganctl.errors import GanctlError


def draw(path: Path, mode: str = "RGB", size: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size)).save(path, "PNG")
    return path


def zipped(path: Path, names: list[str], data: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data or name.encode())
    return path


def names(path: Path) -> list[str]:
    return [record.name for record in Folder(path=path).records()]


def refusal(path: Path) -> str:
    with pytest.raises(GanctlError) as caught:
        Folder(path=path).describe()
    text = str(caught.value)
    assert "\n" not in text
    return text


def touch(path: Path, seconds: int) -> None:
    """Give *path* another time than it had: the clock of a file system may tick only every few milliseconds."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + seconds * 10**9))


def test_flat_folder(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "10.png", "9.webp", "ä.gif"):
        draw(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "README").write_text("")
    data = Folder(path=tmp_path)
    assert data.records() == tuple(Record(name, 0) for name in ("10.png", "9.webp", "a.jpeg", "b.PNG", "ä.gif"))
    assert data.describe() == Description(5)
    assert data.ignored() == {".txt": 1, "(no suffix)": 1}
    assert data.read(Record("b.PNG"), 64) == (tmp_path / "b.PNG").read_bytes()


@pytest.mark.parametrize("top", ["", "set/", "a/b/"])
def test_folders_are_classes_in_natural_order(tmp_path: Path, top: str) -> None:
    for name in ("10/x.png", "9/x.png", "9/deep/y.png", "10/a.png"):
        draw(tmp_path / top / name)
    data = Folder(path=tmp_path)
    assert data.describe().classes == ("9", "10")
    assert data.records() == tuple(
        Record(top + name, label)
        for name, label in (("10/a.png", 1), ("10/x.png", 1), ("9/deep/y.png", 0), ("9/x.png", 0))
    )


@pytest.mark.parametrize(
    "files", [["a/1.png", "b/1.png", "1.png"], ["a/1.png", "a/2.png"], ["a/b/1.png", "a/2.png"], ["1.png"]]
)
def test_no_classes_unless_every_image_has_one(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        draw(tmp_path / name)
    assert Folder(path=tmp_path).describe().classes == ()
    assert {record.label for record in Folder(path=tmp_path).records()} == {0}


def test_similar_names_share_no_folder(tmp_path: Path) -> None:
    """The common beginning of two names is not a folder."""
    for name in ("cat/1.png", "catfish/1.png"):
        draw(tmp_path / name)
    assert Folder(path=tmp_path).describe().classes == ("cat", "catfish")


def test_clutter_is_ignored(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden.png", ".git/b.png", "__MACOSX/._a.png", "__MACOSX/c.png", "._a.png"):
        draw(tmp_path / name)
    (tmp_path / "Thumbs.db").write_text("")
    assert names(tmp_path) == ["a.png"]
    assert Folder(path=tmp_path).ignored() == {}
    inside = ["set/a.png", "__MACOSX/set/a.png", "set/._a.png", "set/.DS_Store", "set/Thumbs.db"]
    assert names(zipped(tmp_path / "x.zip", inside)) == ["set/a.png"]


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    """Opening a FIFO that nobody writes to would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    draw(tmp_path / "a.png")
    data = Folder(path=tmp_path)
    assert data.describe().count == 1
    assert data.ignored() == {"(not a regular file)": 1}
    data.fingerprint()
    assert "neither a folder nor a file" in refusal(tmp_path / "pipe.png")


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    outside = draw(tmp_path / "outside" / "z.png")
    data = tmp_path / "data"
    draw(data / "a" / "1.png")
    (data / "linked.png").symlink_to(outside)
    (data / "cats").symlink_to(outside.parent)
    (data / "a" / "up").symlink_to(data)
    (data / "0-same-as-a").symlink_to(data / "a")
    for number in range(9):
        (data / f"mice{number}").symlink_to(draw(tmp_path / "mice" / "m.png").parent)
    (data / "itself.png").symlink_to(data / "itself.png")
    (data / "nowhere.png").symlink_to(data / "missing")
    assert names(data) == ["a/1.png", "cats/z.png", "linked.png", "mice0/m.png"]
    assert Folder(path=data).ignored() == {"(not a regular file)": 2}
    assert Folder(path=data).read(Record("cats/z.png"), 4) == outside.read_bytes()


@pytest.mark.parametrize(
    ("modes", "channels"), [(["L", "1", "LA", "I;16"], 1), (["L", "RGB"], 3), (["L", "P"], 3), (["RGBA"], 3)]
)
def test_channels(tmp_path: Path, modes: list[str], channels: int) -> None:
    for number, mode in enumerate(modes):
        draw(tmp_path / f"{number}.png", mode)
    (tmp_path / "broken.png").write_bytes(b"")
    assert Folder(path=tmp_path).describe().channels == channels
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in tmp_path.glob("*.png"):
            archive.write(path, path.name)
    assert Folder(path=tmp_path / "x.zip").describe().channels == channels


def test_only_some_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(150):
        draw(tmp_path / f"{number:03}.png", "L")
    draw(tmp_path / "150.png", "RGB")
    opened = []
    monkeypatch.setattr(module, "open_image", lambda path: opened.append(path.name) or Image.open(path))
    assert Folder(path=tmp_path).describe().channels == 1
    assert len(set(opened)) == len(opened) == 64
    assert opened[0] == "000.png"
    assert opened[-1] > "145.png"


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    path = zipped(tmp_path / "alone" / "x.zip", ["s/b/2.png", "s/a/1.png", "s/a/readme.md", "s/inner.zip"])
    data = Folder(path=path)
    assert data.describe() == Description(2, ("a", "b"))
    assert data.records() == (Record("s/a/1.png", 0), Record("s/b/2.png", 1))
    assert data.ignored() == {".md": 1, ".zip": 1}
    assert data.read(Record("s/a/1.png"), 64) == b"s/a/1.png"
    assert list(path.parent.iterdir()) == [path]


def test_zip_with_repeated_names_gives_the_last(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"new")
    data = Folder(path=tmp_path / "x.zip")
    assert data.records() == (Record("a.png"),)
    assert data.ignored() == {"(repeated name)": 1}
    assert data.read(Record("a.png"), 4) == b"new"


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/a.png", "C:\\a.png", "..\\a.png", "../evil.txt"])
def test_zip_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    text = refusal(zipped(tmp_path / "x.zip", ["ok.png", name]))
    assert repr(name) in text
    assert "out of the zip" in text


def test_dots_in_names_are_fine(tmp_path: Path) -> None:
    inside = ["a..b/c...png", "a..b/..c.png.png", "x/y..png"]
    assert names(zipped(tmp_path / "x.zip", inside)) == ["a..b/c...png", "x/y..png"]


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", ["a.png", "b.png"])
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    data[entry + 8] |= 1
    path.write_bytes(data)
    text = refusal(path)
    assert "'b.png' is encrypted" in text
    assert "unpack" in text


def bomb(path: Path, declared: int, real: int) -> Path:
    """Write a zip whose table says that its image unpacks to *declared* bytes."""
    zipped(path, ["a.png"], bytes(real))
    data = bytearray(path.read_bytes())
    data[(at := data.rindex(b"PK\1\2") + 24) : at + 4] = struct.pack("<L", declared)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("declared", "real"), [(300 << 20, 4), (20 << 20, 20 << 20)])
def test_zip_bombs_are_refused(tmp_path: Path, declared: int, real: int) -> None:
    assert "'a.png' says that it unpacks to" in refusal(bomb(tmp_path / "x.zip", declared, real))


def test_never_reads_more_than_declared(tmp_path: Path) -> None:
    data = Folder(path=bomb(tmp_path / "x.zip", 1000, 1 << 20))
    with pytest.raises(GanctlError, match="damaged inside the zip"):
        data.read(data.records()[0], 4)


def test_damage_inside_a_zip_costs_one_image(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", ["a.png", "b.png"], os.urandom(100))
    data = bytearray(path.read_bytes())
    data[data.index(b"a.png") + 20] ^= 255
    path.write_bytes(data)
    folder = Folder(path=path)
    with pytest.raises(GanctlError, match="damaged inside the zip"):
        folder.read(Record("a.png"), 4)
    assert len(folder.read(Record("b.png"), 4)) == 100


def test_missing_path_suggests_a_sibling(tmp_path: Path) -> None:
    draw(tmp_path / "anime-faces" / "a.png")
    text = refusal(tmp_path / "anime-face")
    assert text == f"no such folder or zip: {tmp_path}/anime-face; did you mean 'anime-faces'?"
    assert refusal(tmp_path / "x" / "y").startswith("no such folder or zip")
    assert refusal(tmp_path / "zzz") == f"no such folder or zip: {tmp_path}/zzz"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.png", b"", "single image; put it into a folder"),
        ("a.zip", b"PK\3\4" + bytes(100), "damaged or cut short"),
        ("a.zip", b"<html>", "neither a folder nor a zip"),
        ("a.tar", b"", "neither a folder nor a zip"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert expected in refusal(tmp_path / name)


def test_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", ["a.png", "b.png"])
    path.write_bytes(path.read_bytes()[:-30])
    assert "damaged or cut short; get it again" in refusal(path)


def test_nothing_to_train_on(tmp_path: Path) -> None:
    assert "is empty" in refusal(tmp_path)
    (tmp_path / "a.heic").write_text("")
    (tmp_path / "b.heic").write_text("")
    (tmp_path / "c.txt").write_text("")
    assert "found 2 .heic, 1 .txt; ganctl reads .jpg" in refusal(tmp_path)
    assert "no image in" in refusal(zipped(tmp_path / "x.zip", ["a.txt"]))


@pytest.mark.parametrize("where", ["top", "below", "zip"])
def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Not by taking away permissions, which do not bind root."""
    inner = draw(tmp_path / "a" / "1.png").parent
    path = zipped(tmp_path / "x.zip", ["a.png"]) if where == "zip" else tmp_path
    forbidden = {"top": tmp_path, "below": inner, "zip": path}[where]

    def guarded(real):  # type: ignore[no-untyped-def]
        def call(path, *args, **kwargs):  # type: ignore[no-untyped-def]
            if Path(path) == forbidden:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    monkeypatch.setattr(zipfile, "ZipFile", guarded(zipfile.ZipFile))
    assert f"cannot read {forbidden}: Permission denied" in refusal(path)


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in refusal(tmp_path / "\x1b[31m")
    assert "\x1b" not in refusal(zipped(tmp_path / "x.zip", ["../\x1b[31m.png"]))


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    draw(tmp_path / os.fsdecode(b"\xff.png"))
    data = Folder(path=tmp_path)
    assert data.describe().count == 1
    assert len(data.fingerprint()) == 64
    assert data.read(data.records()[0], 4)


def test_fingerprint_of_a_folder(tmp_path: Path) -> None:
    image = draw(tmp_path / "a" / "1.png")
    data = Folder(path=tmp_path)
    seen = {data.fingerprint()}
    assert data.fingerprint() in seen
    touch(image, 5)  # changed in place
    seen.add(data.fingerprint())
    draw(tmp_path / "a" / "2.png")  # added, below the top
    touch(tmp_path / "a", 5)
    seen.add(data.fingerprint())
    assert data.describe().count == 2
    image.rename(tmp_path / "a" / "0.png")
    touch(tmp_path / "a", 9)
    seen.add(data.fingerprint())
    assert len(seen) == 4


def test_fingerprint_of_a_zip_is_of_its_content(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", ["a.png"], b"one")
    data = Folder(path=path)
    first = data.fingerprint()
    touch(path, 5)  # copied or downloaded again
    assert data.fingerprint() == first
    zipped(path, ["a.png"], b"two")
    touch(path, 9)
    assert data.fingerprint() != first
    assert data.read(Record("a.png"), 4) == b"two"


def test_lists_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "a.png")
    Folder(path=tmp_path).describe()
    monkeypatch.setattr(os, "scandir", None)
    assert Folder(path=tmp_path).records()


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder is one source, wherever the command was typed."""
    draw(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert Folder(path=Path(tmp_path.name)) == Folder(path=tmp_path) == Folder(path=Path("~") / tmp_path.name)
    assert pickle.loads(pickle.dumps(Folder(path=tmp_path))) == Folder(path=tmp_path)
    assert stat.S_ISDIR(Folder(path=tmp_path).path.stat().st_mode)


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_sources() -> None:
    cifar = Folder(path=SHARED / "cifar10-train.zip").describe()
    assert (cifar.count, len(cifar.classes), cifar.channels) == (50_000, 10, 3)
    assert Folder(path=SHARED / "mnist-test.zip").describe() == Description(10_000, tuple("0123456789"), 1)
    assert Folder(path=SHARED / "anime-8k.zip").describe() == Description(8_000)
    assert Folder(path=SHARED / "awkward").describe() == Description(30)
    assert Folder(path=SHARED / "awkward").ignored() == {".tsv": 1}
