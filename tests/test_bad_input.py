"""Bad input gets one line and the right exit code; nothing is left behind."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, draw

Cli = Callable[..., Result]

TINY = ["--size", "16", "--set", "arch.width=2", "--set", "train.steps=1", "--set", "arch.latent_dim=4"]


def folder(count: int) -> Path:
    for number in range(count):
        draw(Path("images") / f"{number}.png", number)
    Path("images").mkdir(exist_ok=True)
    return Path("images")


def broken() -> Path:
    for number in range(4):
        folder(0).joinpath(f"{number}.jpg").write_bytes(b"no picture")
    return Path("images")


def zipped(*names: str) -> Path:
    with zipfile.ZipFile("images.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 10)
    return Path("images.zip")


def bomb() -> Path:
    with zipfile.ZipFile("images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * (300 << 20))
    return Path("images.zip")


def torn() -> Path:
    Path("images.zip").write_bytes(b"PK\3\4 and no more")
    return Path("images.zip")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: "/no/such/folder", "no such folder or zip"),
        (lambda: folder(0), "empty"),
        (lambda: (folder(0) / "notes.txt").write_text("x") and "images", "no image"),
        (lambda: folder(1), "two images or more"),
        (broken, "4 of 4 images are broken"),
        (lambda: zipped("../evil.png"), r"\.\./evil\.png"),
        (bomb, "a.png"),
        (torn, "zip"),
    ],
    ids=["missing", "empty", "no-image", "one-image", "all-broken", "traversal", "bomb", "torn-zip"],
)
def test_unusable_data(cli: Cli, make: Callable[[], object], complaint: str) -> None:
    source = make()
    before = sorted(os.listdir())
    result = cli("train", "--data", source, *TINY)
    assert result.code == 1
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("ganctl: ")
    import re

    assert re.search(complaint, lines[0], re.IGNORECASE), lines[0]
    assert sorted(os.listdir()) == before


def test_fewer_images_than_a_batch_that_was_asked_for(cli: Cli) -> None:
    result = cli("train", "--data", folder(6), *TINY, "--batch-size", 64)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "there are only 6 images; try --batch-size 4" in result.err
    assert not Path("run").exists()


def test_a_broken_image_is_skipped_and_counted_or_refused(cli: Cli) -> None:
    (folder(6) / "bad.png").write_bytes(b"no picture")
    refused = cli("train", "--data", "images", *TINY, "--set", "data.on_error=fail")
    assert refused.code == 1
    assert "bad.png" in refused.err
    assert not Path("run").exists()
    trained = cli("train", "--data", "images", *TINY)
    assert trained.code == 0
    assert "1 broken image" in trained.out
    assert "bad.png" in trained.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--arch", "dcgna"], "no architecture is called 'dcgna'; did you mean 'dcgan'?"),
        (["--loss", "bcee"], "no loss is called 'bcee'; did you mean 'bce'?"),
        (["--data", "facse"], "did you mean 'faces'?"),
        (["--size", "7"], "data.size = 7 (--size): must be at least 8 and at most 2048"),
        (["--size", "100000"], "data.size = 100000 (--size): must be at least 8 and at most 2048"),
        (["--size", "300"], "16 to 256 px, not 300"),
        (["--epochs", "0"], "train.epochs = 0 (--epochs): must be at least 1"),
        (["--set", "arch.slop=3"], "--set: there is no setting 'arch.slop'; did you mean 'arch.slope'?"),
        (["--set", "arch.slope=3"], "arch.slope = 3 (--set): must be at least 0 and less than 1"),
        (["--set", "arch.slope"], "write --set KEY=VALUE"),
        (["--recipe", "none.toml"], "cannot read the recipe none.toml"),
        (["--device", "gpu"], "train.device = 'gpu' (--device): must be auto"),
        (["--precision", "int8"], "train.precision = 'int8' (--precision): must be 'auto'"),
        (["--init", "none.safetensors"], "cannot read none.safetensors"),
        (["--device", "cuda:7"], "CUDA devices here; --device cpu works"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_settings(cli: Cli, arguments: list[str], complaint: str) -> None:
    result = cli("train", "--set", "data.count=4", *arguments)
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert complaint in result.err
    assert not os.listdir()


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--sise", "3"],
        ["train", "--size", "big"],
        ["resume"],
        ["sample", "x", "-n", "0"],
        ["sample", "x", "--truncation", "-1"],
        ["sample", "x", "--seed", "99999999999999999999"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert not os.listdir()


def test_an_output_folder_that_exists_or_is_a_file(cli: Cli) -> None:
    Path("mine").mkdir()
    Path("mine/precious").write_text("x")
    Path("file").write_text("x")
    for arguments, complaint in (
        (["--out", "mine"], "--out mine exists; add --overwrite, or name another"),
        (["--out", "mine", "--overwrite"], "--overwrite replaces only run folders"),
        (["--out", "file"], "--out file is a file"),
        (["--out", "file/run"], "cannot be written to"),
    ):
        result = cli("train", *TINY, *arguments)
        assert result.code == 1
        assert complaint in result.err
    assert Path("mine/precious").read_text() == "x"


@pytest.mark.parametrize("command", ["resume", "video", "sample", "walk", "export"])
def test_what_is_no_run(cli: Cli, command: str) -> None:
    Path("empty").mkdir()
    Path("future").mkdir()
    Path("future/config.toml").write_text("[ganctl]\nformat = 99\n")
    for name, complaint in (("nowhere", "nowhere"), ("empty", "empty"), ("future", "newer ganctl")):
        result = cli(command, name)
        assert result.code == 1, (command, name)
        assert len(result.err.strip().splitlines()) == 1, result.err
        assert complaint in result.err
    assert sorted(os.listdir()) == ["empty", "future"]


def test_films_and_samples_go_only_where_they_can(cli: Cli) -> None:
    assert cli("train", "--data", folder(8), *TINY, "--out", "r").code == 0
    kept = sorted(os.listdir("r"))
    for arguments, complaint in (
        (["video", "r", "-o", "film.avi"], ".mp4, .webm or .gif"),
        (["walk", "r", "-o", "film.avi"], ".mp4, .webm or .gif"),
        (["video", "r", "-o", "no/where/film.mp4"], "no/where"),
        (["sample", "r", "-o", "no/where/x.png"], "cannot write no/where/x.png"),
        (["sample", "r", "-o", "picture.jpg"], "name a .png for a sheet, or a folder"),
        (["export", "r", "-o", "no/where/x.safetensors"], "cannot write no/where/x.safetensors"),
        (["export", "r", "--checkpoint", "7"], "has checkpoints of the steps 1, and last"),
    ):
        result = cli(*arguments)
        assert result.code == 1, arguments
        assert complaint in result.err, result.err
        assert len(result.err.strip().splitlines()) == 1, result.err
    assert sorted(os.listdir("r")) == kept
    assert sorted(os.listdir()) == ["images", "r"]


def test_data_that_changed_since_is_not_resumed_from(cli: Cli) -> None:
    assert cli("train", "--data", folder(8), *TINY, "--out", "r").code == 0
    draw(Path("images/0.png"), 99)
    result = cli("resume", "r", "--epochs", 3)
    assert result.code == 1
    assert "the images have changed since this run began" in result.err
    shutil.rmtree("images")
    gone = cli("resume", "r", "--epochs", 3)
    assert "no such folder or zip" in gone.err
    assert cli("export", "r", "-o", "kept.safetensors").code == 0  # which needs no images


def test_a_data_set_whose_images_are_all_broken_can_be_looked_at(cli: Cli) -> None:
    result = cli("data", "check", broken(), "-o", "sheet.png", "--size", 16)
    assert result.code == 0
    assert "4 images, 0 usable" in result.out
    assert not Path("sheet.png").exists()


def test_a_class_without_a_usable_image_cannot_be_trained_on(cli: Cli) -> None:
    for number in range(6):
        draw(Path(f"images/good/{number}.png"), number)
    Path("images/bad").mkdir()
    Path("images/bad/0.png").write_bytes(b"no picture")
    result = cli("train", "--data", "images", *TINY, "--set", "data.classes=bad")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "only 0 usable images are left" in result.err


def test_names_that_would_drive_a_terminal_are_shown_and_not_obeyed(cli: Cli) -> None:
    folder(6)
    Path("images/\x1b[31mred[bold].png").write_bytes(b"no picture")
    result = cli("data", "check", "images", "--size", 16)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert r"\x1b[31mred[bold].png" in result.out
