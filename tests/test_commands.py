"""The commands' paths that a user walks, in this process."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import Result, draw
from PIL import Image

Cli = Callable[..., Result]

TINY = ["--size", "16", "--set", "arch.width=2", "--set", "arch.latent_dim=4", "--batch-size", "8"]


@pytest.fixture
def run(cli: Cli, pictures: Path) -> Path:
    """A run of two epochs of three steps on 24 pictures."""
    assert cli("train", "--data", pictures, *TINY, "--epochs", 2, "--out", "r").code == 0
    return Path("r")


def without_times(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def test_training_leaves_the_run_folder_of_the_contract(run: Path) -> None:
    assert sorted(os.listdir(run)) == [
        "checkpoints",
        "config.toml",
        "generator.safetensors",
        "metrics.jsonl",
        "samples",
    ]
    assert sorted(os.listdir(run / "samples")) == ["epoch-0000.png", "epoch-0001.png", "epoch-0002.png"]
    assert Image.open(run / "samples/epoch-0002.png").size == (8 * 16, 8 * 16)
    rows = without_times(run)
    assert [row["kind"] for row in rows] == ["epoch", "step", "epoch"]
    wanted = "step epoch images loss_g loss_d loss_d_real loss_d_fake score_real score_fake accuracy_d"
    assert all(set(wanted.split()) < set(row) for row in rows)
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["train"]["epochs"] == 2
    assert config["train"]["precision"] in ("fp32", "bf16")
    assert config["ganctl"]["packages"]["ganctl"]
    assert Path(config["data"]["source"]).is_absolute()


def test_off_a_terminal_there_is_a_line_per_epoch_and_no_control_character(cli: Cli, pictures: Path) -> None:
    result = cli("train", "--data", pictures, *TINY, "--epochs", 2)
    assert re.search(r"^epoch 1/2  G [\d.]+  D [\d.]+  D\(x\) [\d.]+  D\(G\(z\)\) [\d.]+", result.out, re.MULTILINE)
    assert len(re.findall(r"^epoch ", result.out, re.MULTILINE)) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", result.out)
    assert "ganctl video run" in result.out
    assert "ganctl sample run" in result.out
    assert result.err == ""


def test_quiet_says_nothing(cli: Cli, pictures: Path) -> None:
    result = cli("train", "--data", pictures, *TINY, "--set", "train.steps=1", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_config_toml_repeats_the_run_to_the_bit(cli: Cli, run: Path) -> None:
    assert cli("train", "--recipe", run / "config.toml", "--out", "again").code == 0
    for name in ("generator.safetensors", "samples/epoch-0002.png", "config.toml"):
        assert (run / name).read_bytes() == Path("again", name).read_bytes(), name
    assert without_times(run) == without_times(Path("again"))


def test_resume_goes_on_to_the_new_total_as_one_run_would(cli: Cli, run: Path, pictures: Path) -> None:
    assert cli("resume", run, "--epochs", 4).code == 0
    assert cli("train", "--data", pictures, *TINY, "--epochs", 4, "--out", "whole").code == 0
    for name in ("generator.safetensors", "samples/epoch-0004.png", "samples/epoch-0003.png", "config.toml"):
        assert (run / name).read_bytes() == Path("whole", name).read_bytes(), name


def test_a_run_with_an_optimiser_without_betas_can_be_repeated_and_resumed(cli: Cli, pictures: Path) -> None:
    sets = ["--set", "optim.d.name=rmsprop", "--epochs", 1]
    assert cli("train", "--data", pictures, *TINY, *sets, "--out", "r").code == 0
    assert cli("resume", "r", "--epochs", 2).code == 0
    assert cli("train", "--recipe", "r/config.toml", "--out", "again").code == 0
    assert Path("r/generator.safetensors").read_bytes() == Path("again/generator.safetensors").read_bytes()


def test_resume_of_a_finished_run_says_so(cli: Cli, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = cli("resume", run)
    assert result.code == 0
    assert "r is finished: 6 steps, 2 epochs; ganctl resume r --epochs 4 goes on" in result.out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_folder_plugin_named_with_its_path_can_be_resumed(cli: Cli, pictures: Path) -> None:
    arguments = ["train", "--data", "folder", "--set", f"data.path={pictures}", *TINY, "--epochs", 1]
    assert cli(*arguments).code == 0
    assert cli("resume", "run", "--epochs", 2).code == 0


def test_classes_of_unequal_size_can_be_resumed_and_repeated(cli: Cli) -> None:
    for number in range(14):
        draw(Path("zoo") / ("big" if number < 12 else "small") / f"{number}.png", number)
    assert cli("train", "--data", "zoo", *TINY, "--set", "data.classes=big", "--epochs", 1).code == 0
    assert cli("resume", "run", "--epochs", 2).code == 0
    assert cli("train", "--recipe", "run/config.toml").code == 0


def test_resume_without_a_checkpoint_starts_over(cli: Cli, run: Path) -> None:
    whole = (run / "generator.safetensors").read_bytes()
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    (run / "generator.safetensors").unlink()
    result = cli("resume", run)
    assert result.code == 0
    assert "it starts over" in result.out
    assert (run / "generator.safetensors").read_bytes() == whole
    assert len(without_times(run)) == 3


def test_only_the_newest_checkpoints_are_kept(cli: Cli, pictures: Path) -> None:
    cli("train", "--data", pictures, *TINY, "--epochs", 4, "--set", "train.keep=3", "--out", "k")
    assert [path.stem for path in sorted(Path("k/checkpoints").iterdir())] == [f"step-{n:09}" for n in (6, 9, 12)]


def test_samples_and_checkpoints_every_k_epochs_and_at_the_end(cli: Cli, pictures: Path) -> None:
    sets = ["--set", "train.sample_every=2", "--set", "train.checkpoint_every=2", "--set", "train.keep=9"]
    cli("train", "--data", pictures, *TINY, "--epochs", 5, *sets, "--out", "k")
    assert [p.stem for p in sorted(Path("k/samples").iterdir())] == [f"epoch-{n:04}" for n in (0, 2, 4, 5)]
    assert [p.stem for p in sorted(Path("k/checkpoints").iterdir())] == [f"step-{n:09}" for n in (6, 12, 15)]


def test_init_starts_from_a_runs_weights_and_size(cli: Cli, run: Path, pictures: Path) -> None:
    started = ["train", "--data", pictures, "--init", run, "--batch-size", 8, "--set", "optim.g.lr=1e-9"]
    assert cli(*started, "--set", "optim.d.lr=1e-9", "--set", "train.steps=1", "--out", "tuned").code == 0
    config = tomllib.loads(Path("tuned/config.toml").read_text())
    assert (config["arch"]["width"], config["data"]["size"]) == (2, 16)
    before, after = (
        np.asarray(Image.open(p)) for p in (run / "samples/epoch-0002.png", "tuned/samples/epoch-0000.png")
    )
    assert np.array_equal(before, after)
    alone = Path("alone.safetensors")
    alone.write_bytes((run / "generator.safetensors").read_bytes())
    assert cli("train", "--data", pictures, "--init", alone, "--set", "train.steps=1", "--out", "again").code == 0
    mismatch = cli("train", "--data", pictures, "--init", run, "--set", "arch.width=4", "--out", "no")
    assert (mismatch.code, mismatch.err.count("\n")) == (1, 1)
    assert "does not fit the network" in mismatch.err
    assert not Path("no").exists()


def test_overwrite_replaces_a_run(cli: Cli, run: Path, pictures: Path) -> None:
    arguments = ["train", "--data", pictures, *TINY, "--set", "train.steps=1", "--out", run]
    assert cli(*arguments).code == 1
    assert cli(*arguments, "--overwrite").code == 0
    assert len(list((run / "samples").iterdir())) == 2


def test_without_out_runs_are_numbered(cli: Cli, pictures: Path) -> None:
    for expected in ("run", "run-2", "run-3"):
        assert cli("train", "--data", pictures, *TINY, "--set", "train.steps=1", "-q").code == 0
        assert Path(expected, "generator.safetensors").exists()


def test_dry_run_shows_settings_networks_and_cost_and_leaves_nothing(cli: Cli, pictures: Path, cache: Path) -> None:
    packs = set(cache.rglob("*"))
    result = cli("train", "--data", pictures, *TINY, "--set", "arch.slope=0.3", "--dry-run")
    assert result.code == 0
    assert re.search(r"arch\.slope +0\.3 +--set", result.out)
    assert re.search(r"data\.size +16 +--size", result.out)
    assert re.search(r"optim\.g\.lr +0\.0002 +built-in", result.out)
    assert re.search(r"train\.epochs +1000 +24 images", result.out)
    assert re.search(r"generator: [\d,]+ parameters", result.out)
    assert "3 x 16 x 16" in result.out
    assert "3000 steps in 1000 epochs of 3 steps, on 24 images" in result.out
    assert re.search(r"about [\d,]+ MB of memory at batch 8", result.out)
    assert not os.listdir()
    assert set(cache.rglob("*")) == packs


def test_dry_run_of_data_that_must_be_downloaded_needs_no_download(cli: Cli) -> None:
    result = cli("train", "--data", "cifar10", "--dry-run")
    assert result.code == 0
    assert "first needs a download" in result.out
    assert "on 50000 images" in result.out


def test_the_film_holds_each_sheet_for_the_asked_frames(cli: Cli, run: Path) -> None:
    assert cli("video", run, "--hold", 3).code == 0
    frames = iio.imread(run / "video.mp4")
    assert len(frames) == 3 * 3
    last = np.asarray(Image.open(run / "samples/epoch-0002.png").resize(frames.shape[2:0:-1], Image.Resampling.NEAREST))
    assert np.abs(frames[-1].astype(int) - last.astype(int)).mean() < 6


def test_samples_of_the_file_alone_are_the_runs(cli: Cli, run: Path) -> None:
    Path("empty").mkdir()
    alone = Path("empty/g.safetensors")
    alone.write_bytes((run / "generator.safetensors").read_bytes())
    assert cli("sample", alone, "--seed", 0, "-o", "empty/sheet.png").code == 0
    assert cli("sample", run, "--seed", 0, "-o", "sheet.png").code == 0
    sheets = [np.asarray(Image.open(p)) for p in ("empty/sheet.png", "sheet.png", run / "samples/epoch-0002.png")]
    assert np.array_equal(sheets[0], sheets[1])
    assert np.array_equal(sheets[0], sheets[2])


def test_single_images_are_the_tiles_of_the_sheet(cli: Cli, run: Path) -> None:
    assert cli("sample", run, "-n", 9, "--seed", 4, "-o", "sheet.png").code == 0
    assert cli("sample", run, "-n", 9, "--seed", 4, "-o", "tiles/").code == 0
    sheet = np.asarray(Image.open("sheet.png"))
    assert sheet.shape == (48, 48, 3)
    assert sorted(os.listdir("tiles")) == [f"{n:06}.png" for n in range(9)]
    assert np.array_equal(np.asarray(Image.open("tiles/000005.png")), sheet[16:32, 32:48])
    assert cli("sample", run, "-n", 9, "--seed", 5, "-o", "other.png").code == 0
    assert not np.array_equal(np.asarray(Image.open("other.png")), sheet)


def test_a_walk_is_as_long_as_asked_and_needs_only_the_file(cli: Cli, run: Path) -> None:
    alone = Path("g.safetensors")
    alone.write_bytes((run / "generator.safetensors").read_bytes())
    assert cli("walk", alone, "--seconds", 2, "-o", "w.gif").code == 0
    frames = iio.imread("w.gif")
    assert len(frames) == 48
    changes = [
        np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)
    ]
    assert changes[-1] <= 2 * max(changes[:-1]) + 1


def test_export_takes_a_checkpoint_and_either_weights(cli: Cli, run: Path) -> None:
    assert cli("export", run, "-o", "last.safetensors").code == 0
    assert Path("last.safetensors").read_bytes() == (run / "generator.safetensors").read_bytes()
    assert cli("export", run, "-o", "raw.safetensors", "--no-ema").code == 0
    assert cli("export", run, "-o", "early.safetensors", "--checkpoint", 3).code == 0
    contents = {Path(name).read_bytes() for name in ("last.safetensors", "raw.safetensors", "early.safetensors")}
    assert len(contents) == 3
    assert cli("sample", "raw.safetensors", "-o", "raw.png").code == 0


def test_grey_images_train_a_grey_network(cli: Cli) -> None:
    for number in range(8):
        draw(Path("grey") / f"{number}.png", number, size=28, mode="L")
    assert cli("train", "--data", "grey", "--size", 28, *TINY[2:], "--set", "train.steps=1", "--out", "g").code == 0
    assert Image.open("g/samples/epoch-0001.png").mode == "L"
    assert tomllib.loads(Path("g/config.toml").read_text())["data"]["channels"] == 1
    assert cli("video", "g", "--hold", 1).code == 0
    assert cli("walk", "g", "--seconds", 0.5).code == 0
    forced = ["train", "--data", "grey", "--size", 28, *TINY[2:], "--set", "train.steps=1", "--set", "data.channels=3"]
    assert cli(*forced, "--out", "c").code == 0
    assert Image.open("c/samples/epoch-0001.png").mode == "RGB"


def test_classes_and_limit_choose_the_images(cli: Cli, pictures: Path) -> None:
    sets = ["--set", "data.classes=dots", "--set", "data.limit=10", "--set", "train.steps=1"]
    result = cli("train", "--data", pictures, *TINY, *sets)
    assert "on 10 images" in result.out
    assert tomllib.loads(Path("run/config.toml").read_text())["data"]["classes"] == ["dots"]


def test_data_check_says_what_is_there_and_draws_it(cli: Cli, pictures: Path) -> None:
    result = cli("data", "check", pictures, "-o", "sheet.png", "--size", 32)
    assert result.code == 0
    for words in ("24 images, 24 usable, colour", "PNG 24", "RGB 24", "discs 12, dots 12", "make them 32x32 colour"):
        assert words in result.out
    assert Image.open("sheet.png").size == (5 * 32, 5 * 32)
    assert sorted(os.listdir()) == ["sheet.png"]


def test_show_prints_options_with_defaults_and_bounds(cli: Cli) -> None:
    shown = cli("show", "dcgan")
    assert shown.code == 0
    assert "arch.slope" in shown.out
    assert "at least 0 and less than 1" in " ".join(shown.out.split())
    assert cli("show", "loss:bce").code == 0
    assert cli("show", "architecture:bce").code == 1
    missing = cli("show", "dcgam")
    assert (missing.code, missing.out) == (1, "")
    assert "did you mean 'dcgan'?" in missing.err


def test_plugins_lists_each_with_its_package_and_checks_them(cli: Cli) -> None:
    listed = cli("plugins")
    assert re.search(r"architecture +perceptron +ganctl-goodfellow 1\.0\.0", listed.out)
    assert re.search(r"dataset +faces +ganctl ", listed.out)
    checked = cli("plugins", "--check", "dcgan", "loss:minimax")
    assert checked.code == 0
    assert [line.split(" (")[0] for line in checked.out.splitlines()] == ["architecture dcgan", "loss minimax"]
    assert re.search(r"architecture dcgan \(ganctl .*\): (\d+) of \1 checks passed", checked.out)


def test_a_third_partys_plugins_train_sample_and_resume(cli: Cli, pictures: Path) -> None:
    sets = ["--set", "arch.width=8", "--batch-size", 8, "--size", 16, "--epochs", 1]
    result = cli("train", "--arch", "perceptron", "--loss", "minimax", "--data", pictures, *sets)
    assert result.code == 0, result.err
    assert "perceptron with minimax" in result.out
    assert cli("resume", "run", "--epochs", 2).code == 0
    assert cli("sample", "run").code == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["ganctl"]["packages"]["ganctl-goodfellow"] == "1.0.0"
