"""Packing decodes each image once, in order, whole or not at all, and says what it could not use."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganctl.api import Dataset, Description, Progress, Record
from ganctl.data import cache
from ganctl.data import pack as module
from ganctl.data.cache import cache_folder
from ganctl.data.check import inspect
from ganctl.data.decode import Target
from ganctl.data.pack import Packed, find, pack
from ganctl.data.parallel import in_parallel
from ganctl.datasets.folder import Folder
from ganctl.errors import GanctlError

SMALL = Target(2, 3)
MANY = 450
"""More than are decoded in this process."""


class Numbers(Dataset):
    """Image number n is of colour n. Negative ones are broken in some way."""

    api_version = 1
    count: int = 10
    broken: tuple[int, ...] = ()
    deadly: int | None = None
    version: str = "1"

    def describe(self) -> Description:
        return Description(self.count, ("even", "odd"))

    def prepare(self, progress: Progress) -> None:
        progress("preparing", 0, None)

    def records(self) -> Sequence[Record]:
        return [Record(f"image {n}", n % 2) for n in range(self.count)]

    def read(self, record: Record, size: int) -> bytes | Image.Image:
        number = int(record.name.split()[1])
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.broken:
            return b"<html>"
        return Image.new("RGB", (size, size), (number % 256, number // 256, 7))

    def fingerprint(self) -> str:
        return VERSION or self.version


VERSION = ""


@pytest.fixture(autouse=True)
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packs"


def numbers(packed: Packed) -> list[int]:
    flat = packed.images[:, 0, 0].astype(int)
    return (flat[:, 0] + 256 * flat[:, 1]).tolist()


def failing(*_: object) -> Any:
    raise AssertionError("decoded again")


@pytest.mark.parametrize(("count", "workers"), [(10, None), (MANY, 1), (MANY, 2), (MANY, 3), (MANY, None)])
def test_order_is_the_records_whatever_the_workers(count: int, workers: int | None) -> None:
    packed = pack(Numbers(count=count), "numbers", SMALL, workers=workers)
    assert packed.images.shape == (count, 2, 2, 3)
    assert packed.images.dtype == np.uint8
    assert not packed.images.flags.writeable
    assert numbers(packed) == list(range(count))
    assert packed.labels.dtype == np.int64
    assert packed.labels.tolist() == [n % 2 for n in range(count)]
    manifest = packed.manifest
    assert (manifest.dataset, manifest.count, manifest.classes) == ("numbers", count, ("even", "odd"))
    assert (manifest.target, manifest.broken, manifest.notes) == (SMALL, (), {})


def test_hash_is_of_the_content(packs: Path) -> None:
    hashes = []
    for dataset, workers in ((Numbers(count=MANY), 1), (Numbers(count=MANY), 2), (Numbers(count=MANY + 1), 2)):
        hashes.append(pack(dataset, "numbers", SMALL, workers=workers).manifest.hash)
        shutil.rmtree(packs)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("count", [10, 1000])
def test_broken_images_are_left_out_and_named(packs: Path, count: int) -> None:
    """From 1,000 to 998 also changes the length of the number in the array's header."""
    broken = (0, 5, count - 1)
    packed = pack(Numbers(count=count, broken=broken), "numbers", SMALL)
    left = [n for n in range(count) if n not in broken]
    assert numbers(packed) == left
    assert packed.labels.tolist() == [n % 2 for n in left]
    assert [name for name, _ in packed.manifest.broken] == [f"image {n}" for n in broken]
    assert all("not an image" in reason for _, reason in packed.manifest.broken)
    assert packed.manifest.count == count - 3
    assert isinstance(packed.images, np.memmap)
    file = next(packs.iterdir()) / "images.npy"
    assert file.stat().st_size == packed.images.offset + packed.images.nbytes


def test_on_error_fail_names_the_first_also_from_the_cache() -> None:
    dataset = Numbers(count=MANY, broken=(3, 400))
    for _ in range(2):
        with pytest.raises(GanctlError, match=r"image 3: not an image.*\(and 1 more\)"):
            pack(dataset, "numbers", SMALL, on_error="fail")
        assert len(numbers(pack(dataset, "numbers", SMALL))) == MANY - 2
    assert len(numbers(pack(Numbers(), "numbers", SMALL, on_error="fail"))) == 10


@pytest.mark.parametrize(("count", "broken"), [(10, range(10)), (3, (0, 2)), (1, ()), (0, ())])
def test_too_few(packs: Path, count: int, broken: Sequence[int]) -> None:
    with pytest.raises(GanctlError) as caught:
        pack(Numbers(count=count, broken=tuple(broken)), "numbers", SMALL)
    text = str(caught.value)
    assert "\n" not in text
    assert ("image 0: not an image" in text) == bool(broken)
    assert not packs.exists() or not list(packs.iterdir())


def test_cache_does_not_decode_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int | None]] = []
    first = pack(Numbers(), "numbers", SMALL, progress=lambda *args: seen.append(args))
    assert seen[0][0] == "preparing"
    assert seen[1] == ("packing", 0, 10)
    assert seen[-1] == ("packing", 10, 10)
    monkeypatch.setattr(module, "decode", failing)
    monkeypatch.setattr(Numbers, "prepare", failing)
    second = pack(Numbers(), "numbers", SMALL)
    assert second.manifest == first.manifest
    assert (second.images == first.images).all()
    assert (second.labels == first.labels).all()


@pytest.mark.parametrize(
    ("dataset", "name", "target"),
    [
        (Numbers(count=11), "numbers", SMALL),
        (Numbers(), "others", SMALL),
        (Numbers(), "numbers", Target(3, 3)),
        (Numbers(), "numbers", Target(2, 1)),
        (Numbers(), "numbers", Target(2, 3, "pad")),
        (Numbers(), "numbers", Target(2, 3, background=(0, 0, 0))),
    ],
)
def test_whatever_changes_the_pixels_has_a_pack_of_its_own(dataset: Dataset, name: str, target: Target) -> None:
    pack(Numbers(), "numbers", SMALL)
    assert find(dataset, name, target) is None
    pack(dataset, name, target)
    assert find(dataset, name, target)
    assert find(Numbers(), "numbers", SMALL)


def test_a_source_that_changed_is_packed_again(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pack(Numbers(), "numbers", SMALL)
    monkeypatch.setattr(sys.modules[__name__], "VERSION", "2")
    monkeypatch.setattr(Numbers, "read", lambda self, record, size: Image.new("L", (2, 2), 99))
    assert find(Numbers(), "numbers", SMALL) is None
    new = pack(Numbers(), "numbers", SMALL)
    assert (new.images == 99).all()
    assert numbers(old) == list(range(10))  # a run that uses the old one goes on
    assert len(list(packs.iterdir())) == 1


@pytest.mark.parametrize("file", ["manifest.json", "images.npy", "labels.npy"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x93NUMPY"])
def test_a_damaged_pack_is_made_again(packs: Path, file: str, content: bytes | None) -> None:
    pack(Numbers(), "numbers", SMALL)
    path = next(packs.iterdir()) / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert numbers(pack(Numbers(), "numbers", SMALL)) == list(range(10))


@pytest.mark.parametrize("count", [10, MANY])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143), ZeroDivisionError])
def test_what_fails_midway_leaves_nothing(packs: Path, count: int, error: Any) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if done:
            assert list(packs.iterdir())  # something is there while it is made
            raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        pack(Numbers(count=count), "numbers", SMALL, progress=stop)
    assert not list(packs.iterdir())
    assert not multiprocessing.active_children()


def test_a_rebuild_that_fails_keeps_the_old_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    pack(Numbers(), "numbers", SMALL)
    with monkeypatch.context() as changed:
        changed.setattr(sys.modules[__name__], "VERSION", "2")
        changed.setattr(Numbers, "records", failing)
        with pytest.raises(AssertionError, match="decoded again"):
            pack(Numbers(), "numbers", SMALL)
    monkeypatch.setattr(module, "decode", failing)
    assert numbers(pack(Numbers(), "numbers", SMALL)) == list(range(10))


def test_a_worker_that_dies_is_one_clear_error(packs: Path) -> None:
    with pytest.raises(GanctlError, match="a process that decodes images died"):
        pack(Numbers(count=MANY, deadly=300), "numbers", SMALL, workers=2)
    assert not list(packs.iterdir())


@pytest.mark.parametrize("count", [10, MANY])
def test_a_bug_in_a_plugin_is_not_a_broken_image(packs: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(Numbers, "read", lambda self, record, size: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack(Numbers(count=count), "numbers", SMALL, workers=2)
    assert not list(packs.iterdir())


def test_an_unreadable_image_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Numbers, record: Record, size: int) -> Image.Image:
        if record.name == "image 1":
            raise PermissionError(13, "Permission denied")
        if record.name == "image 2":
            raise GanctlError("its disk is away")
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(Numbers, "read", read)
    packed = pack(Numbers(), "numbers", SMALL)
    assert packed.manifest.broken == (
        ("image 1", "cannot be read: Permission denied"),
        ("image 2", "its disk is away"),
    )


def pack_with_another(together: Any, results: Any) -> None:
    def wait(what: str, done: int, total: int | None) -> None:
        if done == total:
            together.wait(20)

    results.put(numbers(pack(Numbers(count=50), "numbers", SMALL, progress=wait)))


def test_two_at_once_both_end_well(packs: Path) -> None:
    context = multiprocessing.get_context("fork")
    together, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=pack_with_another, args=(together, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=20) for _ in processes] == [list(range(50))] * 2
    for process in processes:
        process.join()
    assert len(list(packs.iterdir())) == 1


def test_no_room_is_said_before_anything_is_written(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 5_000_000))
    with pytest.raises(GanctlError, match=r"too little room in .* MB are needed and 5 MB are free.*GANCTL_CACHE"):
        pack(Numbers(), "numbers", SMALL)
    assert not list(packs.iterdir())


def test_disk_that_fills_up_meanwhile(packs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_pack_chunk", full)
    with pytest.raises(GanctlError, match=r"cannot write to the cache folder .*No space left.*GANCTL_CACHE"):
        pack(Numbers(), "numbers", SMALL)
    assert not list(packs.iterdir())


def test_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANCTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(GanctlError, match=r"cannot write to the cache folder .*GANCTL_CACHE"):
        pack(Numbers(), "numbers", SMALL)


def test_abandoned_packs_are_removed_in_time(packs: Path) -> None:
    for name, age in (("old", 3 * 86400), ("new", 60)):
        (packs / f".key.{name}").mkdir(parents=True)
        os.utime(packs / f".key.{name}", (time.time() - age,) * 2)
    pack(Numbers(), "numbers", SMALL)
    assert not (packs / ".key.old").exists()
    assert (packs / ".key.new").exists()


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("GANCTL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "ganctl"


def fill(path: Path, count: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            file = path.with_name("one.png")
            Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(file)
            archive.writestr(f"{number:05}.png", file.read_bytes())


def test_a_zip_in_several_processes(tmp_path: Path) -> None:
    """Forked processes must not share the position in an open file."""
    fill(tmp_path / "x.zip", MANY)
    dataset = Folder(path=tmp_path / "x.zip")
    dataset.read(dataset.records()[0], 2)
    assert numbers(pack(dataset, "folder", SMALL, workers=4)) == list(range(MANY))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_signals_end_all_processes_quietly(tmp_path: Path, packs: Path, name: str) -> None:
    """As in a terminal, where Ctrl-C reaches the whole group; and no process outlives its parent's sudden death."""
    fill(tmp_path / "x.zip", 300)
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "from multiprocessing import parent_process\n"
        "from ganctl.data.decode import Target\n"
        "from ganctl.data.pack import pack\n"
        "from ganctl.datasets.folder import Folder\n"
        "class Slow(Folder):\n"
        "    def read(self, record, size):\n"
        "        time.sleep(1 if parent_process() and record.name > '00060' else 0)\n"  # minutes, were it not stopped
        "        return super().read(record, size)\n"
        "def say(what, done, total):\n"
        "    if done: print(done, flush=True)\n"
        "try: pack(Slow(path=sys.argv[1]), 'slow', Target(2, 3), progress=say, workers=2)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.zip")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    process.stdout.readline()
    began = time.monotonic()
    if name == "SIGKILL":
        process.kill()
    else:
        os.killpg(process.pid, getattr(signal, name))
    # The workers hold the pipes too: this returns when all are gone.
    _, noise = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[name]
    assert noise == b""
    if name != "SIGKILL":
        assert not list(packs.iterdir())


def signals(start: int, records: Sequence[Record]) -> tuple[Any, ...]:
    return (
        os.getpid(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
    )


def test_ctrl_c_is_not_the_workers_business() -> None:
    def handler(*args: object) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    try:
        found = in_parallel(signals, [Record("")] * MANY, chunk=50, workers=2, progress=lambda *_: None)
        assert {answer[1:3] for answer in found} == {(signal.SIG_IGN, signal.SIG_DFL)}
        assert not any({signal.SIGINT, signal.SIGTERM} & answer[3] for answer in found)
        assert os.getpid() not in {answer[0] for answer in found}
        assert signal.getsignal(signal.SIGTERM) is handler
        assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_manifest_is_readable_json(packs: Path) -> None:
    pack(Numbers(), "numbers", SMALL)
    manifest = json.loads((next(packs.iterdir()) / "manifest.json").read_text())
    assert manifest["dataset"] == "numbers"
    assert manifest["options"]["count"] == 10


def test_inspection(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("cat", "dog"):
        (source / folder).mkdir(parents=True)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(source / "cat" / "a.png")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(source / "cat" / "b.bmp")
    Image.new("L", (30, 10), 50).save(source / "dog" / "c.png")
    Image.new("RGB", (1, 2), (9, 9, 9)).save(source / "dog" / "d.png")
    (source / "dog" / "e.jpg").write_bytes(b"<html>")
    (source / "dog" / "f.txt").write_text("")
    dataset, target, steps = Folder(path=source), Target(8, 3), []
    found = inspect(dataset, "folder", target, lambda *step: steps.append(step))
    assert (found.count, found.channels, found.classes) == (5, 3, {"cat": 2, "dog": 2})
    assert found.sizes == {(8, 8): 1, (16, 16): 1, (30, 10): 1, (1, 2): 1}
    assert (found.smallest, found.median, found.largest) == ((1, 2), (16, 16), (30, 10))
    assert found.formats == {"PNG": 3, "BMP": 1}
    assert found.modes == {"RGB": 3, "L": 1}
    assert found.duplicates == (("cat/a.png", "cat/b.bmp"),)
    assert [name for name, _ in found.broken] == ["dog/e.jpg"]
    assert found.ignored == {".txt": 1}
    assert found.notes["not square: centre crop"] == 2
    assert found.notes["grey to RGB"] == 1
    assert found.sample[:, 0, 0].tolist() == [[1, 2, 3], [1, 2, 3], [50, 50, 50], [9, 9, 9]]
    assert steps[-1] == ("checking", 5, 5)
    assert not found.packed
    pack(dataset, "folder", target)
    assert inspect(dataset, "folder", target, lambda *_: None).packed


def test_inspection_of_nothing_but_broken_images() -> None:
    found = inspect(Numbers(count=3, broken=(0, 1, 2)), "numbers", SMALL, lambda *_: None)
    assert len(found.broken) == found.count == 3
    assert found.sample.shape == (0, 2, 2, 3)
    assert found.formats == found.ignored == {}


class Stream(Numbers):
    """The same images, which come in order, as bytes and as pictures by turns, and nobody knows how many."""

    ends_at: int | None = None

    def describe(self) -> Description:
        return Description(None, ("even", "odd"))

    def records(self) -> Iterator[Record]:  # type: ignore[override]
        for n, record in enumerate(super().records()):
            if n == self.ends_at:
                raise TimeoutError(110, "Connection timed out")
            READ.append(n)
            image = super().read(record, 2)
            if n % 2 and isinstance(image, Image.Image):
                image.save(file := io.BytesIO(), "PNG")
                image = file.getvalue()
            yield record._replace(image=image)

    def read(self, record: Record, size: int) -> bytes | Image.Image:
        return Dataset.read(self, record, size)


READ: list[int] = []
"""Numbers of images that streams have yielded in this process."""


@pytest.mark.parametrize("count", [2, 17, MANY])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_stream_is_packed_as_the_same_images_in_a_list_are(count: int, workers: int, packs: Path) -> None:
    broken = (0, 5, count - 1) if count > 5 else ()
    listed = pack(Numbers(count=count, broken=broken), "listed", SMALL)
    streamed = pack(Stream(count=count, broken=broken), "streamed", SMALL, workers=workers)
    assert (streamed.images == listed.images).all()
    assert (streamed.labels == listed.labels).all()
    assert streamed.manifest.hash == listed.manifest.hash
    assert streamed.manifest.broken == listed.manifest.broken
    assert len({file.stat().st_size for file in packs.glob("*/images.npy")}) == 1
    assert find(Stream(count=count, broken=broken), "streamed", SMALL)


def test_a_stream_says_how_far_it_is_and_how_far_it_goes_if_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int | None]] = []
    pack(Stream(count=40), "stream", SMALL, progress=lambda *step: seen.append(step))
    assert seen == [("preparing", 0, None), *(("packing", done, None) for done in (0, 16, 32, 40))]
    monkeypatch.setattr(Stream, "describe", Numbers.describe)
    pack(Stream(count=50), "stream", SMALL, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("packing", 50, 50)


def test_of_a_stream_no_more_than_a_few_blocks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, held = threading.Event(), []

    def decode(source: Any, target: Target) -> Any:
        may_go_on.wait(20)
        return module_decode(source, target)

    def records(self: Stream) -> Iterator[Record]:
        for number, record in enumerate(Numbers.records(self)):
            held.append(number)
            if number == 5 * 16 - 1:  # two blocks each for two threads, and the one that is being read
                may_go_on.set()
            yield record._replace(image=Image.new("RGB", (2, 2)))

    def taken(what: str, done: int, total: int | None) -> None:
        assert len(held) - done <= 5 * 16

    module_decode = module.decode
    monkeypatch.setattr(module, "decode", decode)
    monkeypatch.setattr(Stream, "records", records)
    assert pack(Stream(count=MANY), "stream", SMALL, workers=2, progress=taken).manifest.count == MANY
    assert may_go_on.is_set()


def test_a_source_that_fails_midway_is_not_taken_for_a_full_disk(packs: Path) -> None:
    with pytest.raises(GanctlError, match="^cannot read on after 32 images: Connection timed out$"):
        pack(Stream(count=MANY, ends_at=40), "stream", SMALL)
    assert not list(packs.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit(143), ZeroDivisionError])
def test_a_stream_that_is_stopped_leaves_nothing_and_reads_no_further(packs: Path, error: Any) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if done:
            raise error

    READ.clear()
    threads = threading.active_count()
    with pytest.raises(error if isinstance(error, type) else type(error)):
        pack(Stream(count=5000), "stream", SMALL, progress=stop, workers=2)
    assert len(READ) < 200
    assert not list(packs.iterdir())
    assert threading.active_count() == threads


def test_a_stream_s_bugs_labels_and_full_disks_are_told_as_a_list_s(
    packs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_pack_chunk", full)
        with pytest.raises(GanctlError, match=r"cannot write to the cache folder .*No space left"):
            pack(Stream(), "stream", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "read", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pack(Stream(), "stream", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "describe", lambda self: Description(None, ("even",)))
        with pytest.raises(GanctlError, match="data set 'stream' gives image 1 the label 1"):
            pack(Stream(), "stream", SMALL)
    for count, broken in ((0, ()), (1, ()), (3, (0, 2))):
        with pytest.raises(GanctlError, match=r"needs two images|which leaves too few"):
            pack(Stream(count=count, broken=broken), "stream", SMALL)
    assert not list(packs.iterdir())


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    pack(Stream(count=MANY), "stream", SMALL, workers=4)
    assert warnings.filters == before


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_end_a_stream_that_has_stalled(packs: Path, name: str) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "from PIL import Image\n"
        "from ganctl.api import Dataset, Description, Record\n"
        "from ganctl.data.decode import Target\n"
        "from ganctl.data.pack import pack\n"
        "class Stalled(Dataset):\n"
        "    def describe(self): return Description(None)\n"
        "    def fingerprint(self): return ''\n"
        "    def records(self):\n"
        "        for n in range(100): yield Record(str(n), image=Image.new('L', (4, 4)))\n"
        "        print('stalled', flush=True)\n"
        "        time.sleep(60)\n"
        "try: pack(Stalled(), 'stalled', Target(2, 3), workers=2)\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"stalled\n"
    process.send_signal(getattr(signal, name))
    _, noise = process.communicate(timeout=20)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert noise == b""
    assert not list(packs.iterdir())


@pytest.mark.parametrize("count", [20, 24, 300])
def test_a_stream_is_inspected_as_a_list_is(count: int) -> None:
    broken = (2, 17)
    listed, streamed = (
        inspect(kind(count=count, broken=broken), "numbers", SMALL, lambda *_: None) for kind in (Numbers, Stream)
    )
    assert len(streamed.sample) == min(count - sum(n < count for n in broken), 64)
    if count < 64:
        assert (streamed.sample == listed.sample).all()
    shades = streamed.sample[:, 0, 0, 0] + 256 * streamed.sample[:, 0, 0, 1].astype(int)
    assert shades.min() == 0 and shades.max() > 0.9 * (count - 1)
    for name in ("count", "classes", "sizes", "smallest", "median", "largest", "modes", "broken", "notes", "ignored"):
        assert getattr(streamed, name) == getattr(listed, name), name


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_images() -> None:
    packed = pack(Folder(path=SHARED / "emoji-twitter.zip"), "folder", Target(32, 3))
    assert packed.images.shape == (3786, 32, 32, 3)
    assert packed.manifest.broken == ()
    assert packed.manifest.notes["transparent: laid over white"] > 3000
    assert packed.images[:, 0, 0].mean() > 200  # transparent corners are not black


class Mislabelled(Numbers):
    """Numbers whose labels are no class's."""

    wrong: int | None = 2

    def records(self) -> Sequence[Record]:
        return [Record(f"image {n}", self.wrong) for n in range(self.count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [None, 2, -1])
def test_a_label_that_is_no_classs_is_blamed_on_the_data_set(label: int | None, packs: Path) -> None:
    with pytest.raises(GanctlError, match=f"data set 'mislabelled' gives image 0 the label {label}"):
        pack(Mislabelled(wrong=label), "mislabelled", SMALL)
    assert not packs.exists() or not any(packs.iterdir())


def test_by_default_images_are_packed_again_when_the_class_s_file_changes(tmp_path: Path) -> None:
    import importlib.util

    code = "from ganctl.api import Dataset\nclass Mine(Dataset):\n    api_version = 1\n    n: int = 1\n"
    prints = []
    for text in (code, code, code + "# changed\n"):
        file = tmp_path / "mine.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location("mine", file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["mine"] = loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        prints += [loaded.Mine().fingerprint(), loaded.Mine(n=2).fingerprint()]
    assert prints[0] == prints[2]
    assert len({prints[0], prints[1], prints[4], prints[5]}) == 4
