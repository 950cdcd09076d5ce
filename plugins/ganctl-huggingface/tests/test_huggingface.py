"""Rows are read in order, columns are found by their types, and what the Hub has to say it is asked once."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ganctl_huggingface import HuggingFace
from PIL import Image

from ganctl.errors import GanctlError
from ganctl.testing import dataset_checks

NAMES = ["cat", "dog", "eel"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


def picture(number: int, mode: str = "RGB") -> bytes:
    image = Image.new("RGB", (12, 12), (number * 40 % 256, 90, 255 - number * 20 % 256)).convert(mode)
    image.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def held(content: bytes | None) -> dict[str, Any]:
    return {"bytes": content, "path": None}


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    """Write a parquet file, with *features* as the library datasets would."""
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def typed(path: Path, numbers: range, **more: Any) -> Path:
    columns = {
        "index": pa.array(numbers, pa.int64()),
        "picture": pa.array([held(picture(n)) for n in numbers], IMAGE),
        "kind": pa.array([n % 3 for n in numbers], pa.int64()),
    }
    features = {
        "index": {"dtype": "int64", "_type": "Value"},
        "picture": {"_type": "Image"},
        "kind": {"names": NAMES, "_type": "ClassLabel"},
    }
    return write(path, columns | more, features)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of train and one of test, with ten images each."""
    for name, start in (("train-00000-of-00002", 0), ("train-00001-of-00002", 10), ("test-00000-of-00001", 20)):
        typed(tmp_path / "set" / "data" / f"{name}.parquet", range(start, start + 10))
    return tmp_path / "set"


def listed(data: HuggingFace) -> list[tuple[str, int]]:
    return [(record.name, record.label) for record in data.records()]


@pytest.mark.parametrize("options", [{}, {"split": "test"}, {"first": 7}, {"label": ""}, {"label": "index"}])
def test_conforms(folder: Path, options: dict[str, Any]) -> None:
    for check in dataset_checks(HuggingFace, path=str(folder), **options):
        check()


def test_rows_come_in_order_with_images_and_classes(folder: Path) -> None:
    data = HuggingFace(path=str(folder))
    assert (data.describe().count, data.describe().classes, data.describe().needs) == (20, tuple(NAMES), "")
    records = list(data.records())
    assert [record.label for record in records] == [n % 3 for n in range(20)]
    assert [data.read(record, 8) for record in records] == [picture(n) for n in range(20)]
    assert [record.name for record in records[:2]] == ["row 0", "row 1"]


def test_splits_are_told_by_names(folder: Path) -> None:
    test = HuggingFace(path=str(folder), split="test")
    assert next(test.records()).image == picture(20)
    with pytest.raises(GanctlError, match=r"data\.split: .* has no 'tests'; did you mean 'test'"):
        HuggingFace(path=str(folder), split="tests").describe()
    file = HuggingFace(path=str(folder / "data" / "test-00000-of-00001.parquet"))
    assert next(file.records()).image == picture(20)
    typed(folder.parent / "bare" / "all.parquet", range(5))
    assert HuggingFace(path=str(folder.parent / "bare")).describe().count == 5
    with pytest.raises(GanctlError, match=r"has no 'test'; there are: train"):
        HuggingFace(path=str(folder.parent / "bare"), split="test").describe()


def test_no_more_than_asked_for(folder: Path) -> None:
    data = HuggingFace(path=str(folder), first=13)
    assert data.describe().count == len(listed(data)) == 13
    assert HuggingFace(path=str(folder), first=99).describe().count == 20


def test_a_path_stays_what_it_was_when_the_folder_of_work_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert HuggingFace(path="set").path == str(folder)
    assert HuggingFace(path="no/such.parquet").path == str(folder.parent / "no" / "such.parquet")
    assert HuggingFace(path="ylecun/mnist").path == "ylecun/mnist"
    data = HuggingFace(path="set")
    assert HuggingFace.model_validate(data.model_dump()) == data


def test_columns_without_the_librarys_types(tmp_path: Path) -> None:
    """As pandas writes them: images as bytes or as structures, classes as numbers or texts."""
    images = [picture(n) for n in range(6)]
    path = write(tmp_path / "a.parquet", {"png": images, "size": [12] * 6, "who": ["bo", "al", None, "bo", "al", "al"]})
    data = HuggingFace(path=str(path))
    assert data.describe().classes == ()
    assert [record.image for record in data.records()] == images
    assert HuggingFace(path=str(path), label="size").describe().classes == ("12",)
    who = HuggingFace(path=str(path), label="who")
    assert who.describe().classes == ("al", "bo")
    with pytest.raises(GanctlError, match=r"row 2 of .* has no class \(who = None\)"):
        listed(who)
    assert listed(HuggingFace(path=str(path), label="who", first=2)) == [("row 0", 1), ("row 1", 0)]
    numbers = [10, 2, 10, 2, 2, 2]
    write(path, {"im": pa.array(list(map(held, images)), IMAGE), "n": numbers})
    data = HuggingFace(path=str(path), label="n")
    assert data.describe().classes == ("2", "10")
    assert [record.label for record in data.records()] == [1, 0, 1, 0, 0, 0]
    assert [record.image for record in data.records()] == images


def test_columns_that_have_to_be_named(folder: Path) -> None:
    path = str(folder)
    for options, says in (
        ({"image": "pictur"}, r"data\.image: .* has no column 'pictur'; did you mean 'picture'\?"),
        ({"label": "kinds"}, r"data\.label: .* has no column 'kinds'; did you mean 'kind'\?"),
        ({"label": "picture"}, r"data\.label: the column picture holds no classes"),
    ):
        with pytest.raises(GanctlError, match=says):
            HuggingFace(path=path, **options).describe()
    several = write(folder.parent / "b.parquet", {"a": [b"1"], "b": [b"2"], "c": [1]})
    with pytest.raises(GanctlError, match=r"several columns of the type of data\.image: choose one of a, b with --set"):
        HuggingFace(path=str(several)).describe()
    with pytest.raises(GanctlError, match=r"no column of the type of data\.image: choose one of c with"):
        HuggingFace(path=str(write(folder.parent / "c.parquet", {"c": [1]}))).describe()
    labels = {"x": {"_type": "ClassLabel", "names": ["p"]}, "y": {"_type": "ClassLabel", "names": ["q"]}}
    both = write(folder.parent / "d.parquet", {"i": [b"1"], "x": [0], "y": [0]}, {"i": {"_type": "Image"}, **labels})
    with pytest.raises(GanctlError, match=r"several columns of the type of data\.label: choose one of x, y"):
        HuggingFace(path=str(both)).describe()
    assert HuggingFace(path=str(both), label="y").describe().classes == ("q",)
    assert HuggingFace(path=str(both), label="").describe().classes == ()


def test_a_row_without_an_image_is_a_broken_one(tmp_path: Path) -> None:
    images = pa.array([held(picture(0)), held(None), None, {"bytes": None, "path": "/etc/passwd"}], IMAGE)
    data = HuggingFace(path=str(typed(tmp_path / "a.parquet", range(4), picture=images)))
    records = list(data.records())
    assert data.read(records[0], 8) == picture(0)
    for record in records[1:]:
        with pytest.raises(GanctlError, match="the row holds no image"):
            data.read(record, 8)


def test_an_unlabelled_row_says_what_to_do(tmp_path: Path) -> None:
    path = typed(tmp_path / "a.parquet", range(4), kind=pa.array([0, 1, -1, 2]))
    with pytest.raises(GanctlError, match=r"row 2 of .* has no class \(kind = -1\); choose another data\.split"):
        listed(HuggingFace(path=str(path)))


def test_grey_images_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": [picture(n, "L") for n in range(3)]})
    assert HuggingFace(path=str(path)).describe().channels == 1


def test_what_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but no more")
    for place, says in (
        (path, r"a\.parquet is damaged, or not parquet"),
        (tmp_path / "empty", "no parquet in .*empty"),
        (tmp_path / "b.parquet", r"no such file or folder: .*b\.parquet"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(GanctlError, match=says) as caught:
            HuggingFace(path=str(place)).describe()
        assert "\n" not in str(caught.value)


def test_damage_amid_a_file_is_one_line(tmp_path: Path) -> None:
    path = typed(tmp_path / "a.parquet", range(40), picture=pa.array([held(os.urandom(4000))] * 40, IMAGE))
    whole = path.read_bytes()
    middle = pq.ParquetFile(path).metadata.row_group(6).column(1).data_page_offset
    path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    with pytest.raises(GanctlError, match=r"a\.parquet cannot be read on after row \d+: ") as caught:
        listed(HuggingFace(path=str(path)))
    assert "\n" not in str(caught.value)


def test_files_that_changed_change_the_fingerprint(folder: Path) -> None:
    data = HuggingFace(path=str(folder))
    before = data.fingerprint()
    assert HuggingFace(path=str(folder)).fingerprint() == before
    typed(folder / "data" / "train-00001-of-00002.parquet", range(5))
    assert data.fingerprint() != before
    assert data.describe().count == 15


def test_the_hub_away_is_one_line(folder: Path) -> None:
    data = HuggingFace(path="ylecun/mnist")
    assert data.describe().needs == "images of ylecun/mnist from the Hugging Face Hub"
    assert data.describe().count is None
    with pytest.raises(GanctlError, match=r"no ylecun/mnist here, and it cannot be had from .* Hub: ") as caught:
        data.prepare(lambda *_: None)
    assert "\n" not in str(caught.value)


def test_a_training(folder: Path) -> None:
    typed(
        folder / "data" / "train-00001-of-00002.parquet",
        range(8),
        picture=pa.array([held(picture(1))] * 7 + [held(b"no")], IMAGE),
    )
    command = [sys.executable, "-m", "ganctl", "train", "--data", "huggingface", "--set", f"data.path={folder}"]
    command += ["--size", "16", "--set", "arch.width=4", "--set", "train.steps=2", "--batch-size", "4"]
    env = {**os.environ, "GANCTL_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "17 images of 16 px" in re.sub(r"\s+", " ", done.stderr + done.stdout)
    assert "row 17" in done.stderr + done.stdout
    assert (folder / "run" / "generator.safetensors").is_file()
