"""Shards are read in order, whatever is in them, and what cannot be read is one line."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ganctl_webdataset import WebDataset
from PIL import Image
from pydantic import ValidationError

from ganctl.errors import GanctlError
from ganctl.testing import dataset_checks


def picture(number: int, mode: str = "RGB") -> bytes:
    Image.new("RGB", (12, 12), (number * 40 % 256, 90, 255 - number * 20 % 256)).convert(mode).save(
        file := io.BytesIO(), "PNG"
    )
    return file.getvalue()


def write(path: Path, files: Mapping[str, bytes | str] | list[tuple[str, bytes | str]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items() if isinstance(files, Mapping) else files:
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def samples(
    numbers: range, label: Callable[[int], bytes | str] | None = str, ending: str = "cls"
) -> dict[str, bytes | str]:
    return {
        f"{n:06}.{kind}": content
        for n in numbers
        for kind, content in (("png", picture(n)), *([(ending, label(n))] if label else []))
    }


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of four images each, in three classes."""
    for number in range(2):
        content = samples(range(4 * number, 4 * number + 4), lambda n: f"{n % 3}\n")
        write(tmp_path / f"shard-{number:04}.tar", content)
    return tmp_path


def listed(data: WebDataset) -> list[tuple[str, int]]:
    return [(record.name, record.label) for record in data.records()]


@pytest.mark.parametrize("path", [".", "shard-{0000..0001}.tar", "*.tar", "shard-{0000,0001}.tar", "shard-0000.tar"])
def test_conforms(shards: Path, path: str) -> None:
    for check in dataset_checks(WebDataset, path=str(shards / path)):
        check()


def test_images_come_in_order_with_names_labels_and_bytes(shards: Path) -> None:
    data = WebDataset(path=str(shards))
    assert data.describe().classes == ("0", "1", "2")
    assert data.describe().count == 8
    assert listed(data) == [(f"shard-{n // 4:04}.tar/{n:06}.png", n % 3) for n in range(8)]
    assert [data.read(record, 8) for record in data.records()] == [picture(n) for n in range(8)]
    assert listed(WebDataset(path=str(shards / "shard-0001.tar")))[0] == ("000004.png", 1)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_compressed_shards(tmp_path: Path, suffix: str) -> None:
    kind = {".tgz": "gz"}.get(suffix, suffix.rpartition(".")[2])
    write(tmp_path / f"a{suffix}", samples(range(3)), f"w:{kind}")
    assert [label for _, label in listed(WebDataset(path=str(tmp_path)))] == [0, 1, 2]


def test_names_are_given_or_found(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", samples(range(4), lambda n: ("cat", "ant")[n % 2]))
    found = WebDataset(path=str(tmp_path))
    assert found.describe().classes == ("ant", "cat")
    assert [label for _, label in listed(found)] == [1, 0, 1, 0]
    given = WebDataset(path=str(tmp_path), names=("cat", "ant", "bee"))
    assert (given.describe().classes, given.describe().count) == (("cat", "ant", "bee"), None)
    assert [label for _, label in listed(given)] == [0, 1, 0, 1]
    write(tmp_path / "a.tar", samples(range(4), lambda n: str(n % 2)))
    assert [label for _, label in listed(given)] == [0, 1, 0, 1]
    write(tmp_path / "a.tar", samples(range(4), lambda n: "bea"))
    with pytest.raises(GanctlError, match=r"000000\.png has the label 'bea', which is none of the 3.*mean 'bee'"):
        listed(given)


def test_labels_in_json_and_other_files_and_none(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", samples(range(4), lambda n: json.dumps({"kind": n % 2, "odd": None}), "json"))
    path = str(tmp_path / "a.tar")
    assert WebDataset(path=path).describe().classes == ()
    assert [label for _, label in listed(WebDataset(path=path, label="json.kind"))] == [0, 1, 0, 1]
    for label, what in (("json.knid", "knid"), ("json.odd", "None"), ("txt", "no such file")):
        with pytest.raises(GanctlError, match=what):
            WebDataset(path=path, label=label).describe()
    write(tmp_path / "a.tar", samples(range(4), lambda n: f"shade {n}", ".txt"[1:]))
    assert len(WebDataset(path=path, label=".txt").describe().classes) == 4
    write(tmp_path / "a.tar", samples(range(4)))
    without = WebDataset(path=path, label="")
    assert (without.describe().classes, without.ignored()) == ((), {".cls": 4})


def test_what_is_not_taken_is_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        [
            *samples(range(2)).items(),
            ("000002.seg.png", picture(9)),
            ("000002.PNG", picture(2)),
            ("000002.cls", "1"),
            ("000002.json", "{}"),
            ("000003.png", picture(3)),  # without a label
            ("000000.png", picture(7)),  # again
            ("000000.cls", "1"),
            ("../../etc/000004.png", picture(4)),
            ("../../etc/000004.cls", "0"),
            (".hidden.png", b""),
        ],
    )
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("000005.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    data = WebDataset(path=str(path))
    assert listed(data) == [("000000.png", 0), ("000001.png", 1), ("000002.PNG", 1), ("../../etc/000004.png", 0)]
    assert data.ignored() == {
        ".seg.png": 1,
        ".json": 1,
        "(image without a label)": 1,
        "(repeated name)": 2,
        "(not a regular file)": 4,
    }
    assert [name for name, _ in listed(WebDataset(path=str(path), image="seg.png", label=""))] == ["000002.seg.png"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["", ":gz", ":xz", ":bz2"])
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_shard_is_one_line_that_says_where(tmp_path: Path, suffix: str, damage: str) -> None:
    noise = {f"{n:06}.png": os.urandom(3000) for n in range(200)}
    path = write(tmp_path / "a.tar", noise, f"w{suffix}")
    whole = path.read_bytes()
    middle = len(whole) // 2 // 512 * 512
    path.write_bytes(whole[:middle] if damage == "cut" else whole[:middle] + b"x" * 8192 + whole[middle + 8192 :])
    names: list[str] = []
    with pytest.raises(GanctlError, match=r"a\.tar is no tar, or damaged, .* after .*; get it again") as caught:
        names.extend(record.name for record in WebDataset(path=str(path)).records())
    assert "\n" not in str(caught.value)
    if suffix in ("", ":gz"):  # the others are decompressed in large pieces
        assert 50 < len(names) < 150
        assert f"after {names[-1]}:" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nothing", "no such tar: .*nothing"),
        ("shard-{0000..0002}.tar", r"no such tar: .*shard-0002\.tar"),
        ("shard-*.tgz", r"no such tar: .*shard-\*\.tgz"),
        ("empty", "no tar in .*empty"),
        ("text.tar", r"text\.tar is no tar, or damaged"),
        ("labels.tar", "no image in .*that end in jpg, jpeg, png"),
        ("shard-{0..999999999}.tar", "more than 100000 shards"),
    ],
)
def test_a_path_that_is_not_right(shards: Path, path: str, says: str) -> None:
    (shards / "empty").mkdir()
    (shards / "text.tar").write_text("no tar at all")
    write(shards / "labels.tar", {"1.cls": "1"})
    with pytest.raises(GanctlError, match=says) as caught:
        WebDataset(path=str(shards / path)).describe()
    assert "\n" not in str(caught.value)


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", samples(range(2), lambda n: "123456789"))
    with pytest.raises(GanctlError, match="the number 123456789 is not that of a class"):
        WebDataset(path=str(path)).describe()
    path = write(tmp_path / "a.tar", samples(range(2), lambda n: b"\xff"))
    with pytest.raises(GanctlError, match=r"000000\.cls holds no cls"):
        WebDataset(path=str(path)).describe()
    with pytest.raises(ValidationError):
        WebDataset()


def test_grey_images_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", {f"{n}.png": picture(n, "L") for n in range(3)})
    assert WebDataset(path=str(path)).describe().channels == 1


def test_a_shard_that_changed_changes_the_fingerprint(shards: Path) -> None:
    data = WebDataset(path=str(shards))
    before = data.fingerprint()
    assert WebDataset(path=str(shards)).fingerprint() == before
    write(shards / "shard-0001.tar", samples(range(3)))
    assert data.fingerprint() != before
    assert data.describe().count == 7


def test_a_training(shards: Path) -> None:
    data = shards / "shard-{0000..0001}.tar"
    write(shards / "shard-0000.tar", {**samples(range(4), lambda n: str(n % 3)), "1.png": b"broken", "1.cls": "1"})
    command = [sys.executable, "-m", "ganctl", "train", "--data", "webdataset", "--set", f"data.path={data}"]
    command += ["--size", "16", "--set", "arch.width=4", "--set", "train.steps=2", "--batch-size", "4"]
    env = {**os.environ, "GANCTL_CACHE": str(shards / "cache")}
    done = subprocess.run(command, cwd=shards, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "8 images of 16 px" in re.sub(r"\s+", " ", done.stderr + done.stdout)
    assert (shards / "run" / "generator.safetensors").is_file()
