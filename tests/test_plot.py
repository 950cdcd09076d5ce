"""Figures of runs, whatever their rows, names and checkpoints are like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import Result
from PIL import Image
from safetensors.numpy import save_file

from ganctl.errors import plain
from ganctl.plot import figures_by, first_kernels

Cli = Callable[..., Result]


def row(step: int, epoch: int = 1, kind: str = "step", **figures: Any) -> dict[str, Any]:
    """A row as training writes it, with other *figures*."""
    losses = {"loss_g": 1 + step / 100, "loss_d": 0.7, "loss_d_real": 0.3, "loss_d_fake": 0.4}
    scores = {"score_real": 0.8, "score_fake": 0.2, "accuracy_d": 0.9, "images_per_second": 100.0}
    return {
        "kind": kind,
        "step": step,
        "epoch": epoch,
        "images": 8 * step,
        "seconds": 1.0,
        **losses,
        **scores,
        **figures,
    }


ROWS = [row(5), row(10), row(10, kind="epoch"), row(15, 2), row(20, 2), row(20, 2, kind="epoch")]


def make_run(name: str, rows: Iterable[dict[str, Any]] = ROWS, tail: str = "") -> Path:
    """A run folder without checkpoints, its log ending in *tail*."""
    run = Path(name)
    (run / "samples").mkdir(parents=True)
    (run / "config.toml").write_text("[ganctl]\nformat = 1\n")
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)
    for epoch in (0, 1, 2):
        Image.new("RGB", (64, 64), (90 * epoch, 40, 90)).save(run / f"samples/epoch-{epoch:04}.png")
    return run


def make_checkpoint(run: Path, channels: int = 3, **tensors: np.ndarray[Any, Any]) -> Path:
    """A checkpoint with weights of a discriminator."""
    path = run / "checkpoints/step-000000020.safetensors"
    path.parent.mkdir()
    about = {"generator": {"data": {"size": 16, "channels": channels, "classes": []}}}
    weights = {f"discriminator.{name}": tensor.astype(np.float32) for name, tensor in tensors.items()}
    save_file(weights, path, metadata={"ganctl.checkpoint": json.dumps(about)})
    return path


def texts(path: Path) -> list[str]:
    """What is written in an SVG."""
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]


def test_one_run_gets_its_losses_epochs_and_scores_in_both_formats(cli: Cli) -> None:
    make_run("r", [*ROWS, row(25, 3, loss_d_gp=0.1)])
    result = cli("plot", "r")
    assert result.code == 0, result.err
    assert "r/plots/: losses, epochs, scores" in result.out
    names = {f"{name}.{kind}" for name in ("losses", "epochs", "scores") for kind in ("png", "svg")}
    assert set(os.listdir("r/plots")) == names
    for name in names:
        if name.endswith("png"):
            assert len(np.unique(np.asarray(Image.open(f"r/plots/{name}")))) > 10
    losses = texts(Path("r/plots/losses.svg"))
    for label in ("generator, loss_g", "discriminator, loss_d", "loss_d_real", "loss_d_fake", "loss_d_gp"):
        assert label in losses
    assert "generator steps" in losses
    assert "epoch" in texts(Path("r/plots/epochs.svg"))
    assert {"D(x), of real images", "D(G(z)), of fakes"} < set(texts(Path("r/plots/scores.svg")))


def test_equal_runs_give_equal_files(cli: Cli) -> None:
    make_run("r")
    for folder in ("a", "b"):
        assert cli("plot", "r", "-o", folder).code == 0
    for name in os.listdir("a"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name


def test_format_and_folder_are_those_asked_for(cli: Cli) -> None:
    make_run("r")
    assert cli("plot", "r", "--format", "svg", "-o", "deep/er").code == 0
    assert {Path(name).suffix for name in os.listdir("deep/er")} == {".svg"}
    assert cli("plot", "r", "--format", "gif").code == 2
    Path("taken").write_text("")
    taken = cli("plot", "r", "-o", "taken")
    assert (taken.code, taken.err.count("\n")) == (1, 1)
    assert "taken" in taken.err


def test_several_runs_share_each_figure_under_their_own_names_as_they_are(cli: Cli) -> None:
    hostile = ["a $x_1$ %", "_under", "<b> & 'c'", r"\frac{1}{2}", "ctrl\x07"]
    for name in hostile:
        make_run(name)
    result = cli("plot", *hostile)
    assert result.code == 0, result.err
    assert sorted(os.listdir("plots")) == sorted(
        f"{name}.{kind}" for name in ("losses", "scores", "accuracy") for kind in ("png", "svg")
    )
    for name in ("losses", "scores", "accuracy"):
        assert {*hostile[:-1], r"ctrl\x07"} < set(texts(Path(f"plots/{name}.svg")))
    for name in hostile:
        assert cli("plot", name, "-o", "one").code == 0
        assert any(plain(name) in text for text in texts(Path("one/losses.svg")))


def test_runs_of_one_name_are_told_apart_by_their_paths_and_one_given_twice_is_one(cli: Cli) -> None:
    for name in ("a/run", "b/run", "other"):
        make_run(name)
    assert cli("plot", "a/run", "b/run", "other", "a/../a/run").code == 0
    written = texts(Path("plots/losses.svg"))
    assert {"a/run", "b/run", "other"} < set(written)
    assert "losses of 3 runs" in written


def test_thirty_runs_with_long_names_fit_a_figure(cli: Cli) -> None:
    names = [f"{number}-" + "arch.slope=0.3," * 4 for number in range(30)]
    for name in names:
        make_run(name, ROWS[:2])
    result = cli("plot", *names, "--format", "svg")
    assert result.code == 0
    assert "some look alike" in result.out
    assert set(names) < set(texts(Path("plots/losses.svg")))


def test_a_run_without_rows_is_left_out_of_a_comparison_and_said(cli: Cli) -> None:
    make_run("r")
    make_run("young", [])
    result = cli("plot", "r", "young")
    assert result.code == 0
    assert "left out: young has nothing to draw yet" in result.out
    assert "young" not in texts(Path("plots/losses.svg"))


@pytest.mark.parametrize("rows", [[], [{"kind": "step"}], [{"kind": "step", "step": 3}], [{"step": True, "loss_g": 1}]])
def test_a_run_without_figures_gets_one_line(cli: Cli, rows: list[dict[str, Any]]) -> None:
    make_run("r", rows, tail='{"kind": "step", "st')
    make_run("other", [])
    for arguments in (["r"], ["r", "--epoch", 1], ["r", "other"]):
        result = cli("plot", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert "has nothing to draw yet" in result.err
    assert not Path("r/plots").exists()


@pytest.mark.parametrize(
    "rows",
    [
        [row(5)],
        [row(5, loss_g=None)],
        [row(5, **dict.fromkeys(("loss_g", "loss_d", "score_real", "score_fake", "accuracy_d")))],
        [row(5), row(10, loss_g=None, score_real=None), row(15)],
        [row(5), {"kind": "step", "step": 10}, {"kind": "step", "loss_g": 1}, {"kind": ["step"], "step": {}}, row(15)],
        [row(5, loss_g="3", loss_d=[1], score_real=True), row(6) | {"step": "6"}, row(10) | {"epoch": "1"}],
        [row(5, loss_g=float("nan"), loss_d=float("inf")), row(10, loss_g=10**400, loss_d=-3e38)],
        [row(5, loss_g=3e37, loss_d=-3e37), row(10, loss_g=-3e37)],
        [row(5, **{f"term {number} of <many> $": number for number in range(40)})],
        [{"kind": "metric", "step": 5, "epoch": 1, "name": "fd", "value": 3.5}],
    ],
)
def test_odd_rows_are_drawn_as_far_as_they_go(cli: Cli, rows: list[dict[str, Any]]) -> None:
    make_run("r", rows, tail='{"kind": "step", "step": 99, "loss_g": ')
    make_run("s", rows, tail="[1, 2]\n7\n")
    for arguments in (["r", "--format", "png"], ["r", "s", "--format", "svg"]):
        result = cli("plot", *arguments)
        assert (result.code, result.err) == (0, "")


def test_null_is_a_gap_and_what_is_no_figure_is_left_out() -> None:
    rows = [{"step": 10, "a": None, "b": "x"}, {"step": 5, "a": 2, "b": True}, {"step": None, "a": 9}, {"a": 9}]
    found = figures_by(rows, "step")
    assert list(found) == ["step", "a"]
    assert list(found["a"]) == [5, 10]
    assert found["a"][5] == 2
    assert np.isnan(found["a"][10])


def test_metrics_of_different_protocols_are_never_in_one_pair_of_axes(cli: Cli) -> None:
    def metric(step: int, name: str, **more: Any) -> dict[str, Any]:
        return {"kind": "metric", "step": step, "epoch": 1, "name": name, "value": 100 - step, **more}

    few, many = ({"protocol": {"images": images, "weights": "d1ce"}} for images in (100, 5000))
    make_run(
        "r", [*ROWS, metric(5, "fd", **few), metric(10, "fd", **few), metric(10, "fd", **many), metric(5, "dup_$")]
    )
    make_run("s", [metric(10, "fd", **many)])
    for arguments, folder in ((["r"], "r/plots"), (["r", "s"], "plots")):
        assert cli("plot", *arguments).code == 0
        written = texts(Path(folder, "metrics.svg"))
        for title in ("fd, images: 100", "fd, images: 5000", "dup_$"):
            assert written.count(title) >= 1
        assert not any("d1ce" in text for text in written)


def test_an_epoch_is_drawn_beside_its_images(cli: Cli) -> None:
    make_run("r")
    result = cli("plot", "r", "--epoch", 2)
    assert result.code == 0
    assert sorted(os.listdir("r/plots")) == ["epoch-0002.png", "epoch-0002.svg"]
    assert "r: epoch 2" in texts(Path("r/plots/epoch-0002.svg"))
    pixels = np.asarray(Image.open("r/plots/epoch-0002.png").convert("RGB")).reshape(-1, 3)
    assert (pixels == (180, 40, 90)).all(1).mean() > 0.1


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_an_epoch_without_its_images_is_drawn_and_said(cli: Cli, damage: str) -> None:
    sheet = make_run("r") / "samples/epoch-0002.png"
    sheet.unlink() if damage == "missing" else sheet.write_bytes(sheet.read_bytes()[:60])
    result = cli("plot", "r", "--epoch", 2)
    assert result.code == 0
    assert "without its images: " in result.out
    assert "samples/epoch-0002.png" in result.out


def test_an_epoch_that_cannot_be_drawn_gets_one_line_with_the_remedy(cli: Cli) -> None:
    make_run("r", [row(5), row(10, 1, kind="epoch"), row(20, 2, kind="epoch"), row(21, 3)])
    make_run("s")
    for arguments, code, words in (
        (["r", "--epoch", 4], 1, "r has the epochs 1 to 3"),
        (["r", "--epoch", 0], 1, "r has the epochs 1 to 3"),
        (["r", "--epoch", 2], 1, "train.log_every"),
        (["r", "s", "--epoch", 1], 2, "name one of them"),
    ):
        result = cli("plot", *arguments)
        assert (result.code, result.err.count("\n")) == (code, 1)
        assert words in result.err


def kernels(count: int, inputs: int, side: int, value: float = 0.1) -> np.ndarray[Any, Any]:
    return np.full((count, inputs, side, side), value)


@pytest.mark.parametrize(
    ("channels", "tensors", "shape", "first"),
    [
        (3, {"layers.10.weight": kernels(8, 3, 4, 0.3), "layers.2.weight": kernels(5, 3, 4, 0.2)}, (5, 3, 4, 4), 0.2),
        (1, {"a.parametrizations.weight.original": kernels(6, 1, 5), "b.weight": kernels(9, 6, 5)}, (6, 1, 5, 5), 0.1),
        (3, {"a.weight": kernels(7, 3, 1), "b.weight": kernels(4, 3, 3)}, (4, 3, 3, 3), 0.1),
        (3, {"a.weight": kernels(4, 4, 3), "b.weight": kernels(4, 16, 3)}, (4, 3, 3, 3), 0.1),
    ],
    ids=["in the order of numbers", "spectral and grey", "larger than a pixel", "with a label's channel"],
)  # fmt: skip
def test_the_first_kernels_are_those_that_see_the_image(
    cli: Cli, channels: int, tensors: dict[str, Any], shape: tuple[int, ...], first: float
) -> None:
    path = make_checkpoint(make_run("r"), channels, **tensors)
    found = first_kernels(path)
    assert found.shape == shape
    assert found[0, 0, 0, 0] == pytest.approx(first)
    result = cli("plot", "r")
    assert "kernels" in result.out.splitlines()[-1]
    assert any(f"{shape[0]} kernels of {shape[2]}x{shape[3]}" in text for text in texts(Path("r/plots/kernels.svg")))


@pytest.mark.parametrize("damage", ["none", "torn", "dense", "nan"])
def test_without_kernels_the_rest_is_drawn_and_the_reason_said(cli: Cli, damage: str) -> None:
    run = make_run("r")
    if damage == "nan":
        make_checkpoint(run, **{"a.weight": kernels(4, 3, 3, float("nan"))})
    elif damage != "none":
        path = make_checkpoint(run, **{"dense.weight": np.ones((4, 3))})
        if damage == "torn":
            path.write_bytes(path.read_bytes()[:40])
    result = cli("plot", "r")
    assert (result.code, result.err) == (0, "")
    assert Path("r/plots/losses.png").exists()
    assert ("no kernels: " in result.out) == (damage != "nan")


def test_kernels_of_a_real_training_with_spectral_normalisation(cli: Cli, pictures: Path) -> None:
    tiny = ["--size", 16, "--set", "arch.width=2", "--set", "arch.latent_dim=4", "--batch-size", 8]
    spectral = ["--set", "arch.d_norm=spectral", "--set", "train.steps=2", "--set", "train.log_every=1"]
    assert cli("train", "--data", pictures, *tiny, *spectral, "--out", "r").code == 0
    result = cli("plot", "r")
    assert (result.code, result.err) == (0, "")
    assert "losses, epochs, scores, kernels" in result.out
    assert any("2 kernels of 4x4" in text for text in texts(Path("r/plots/kernels.svg")))


def test_without_matplotlib_there_is_one_line_that_says_how_to_get_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("r")
    for name in [name for name in sys.modules if name == "ganctl.plot" or name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = cli("plot", "r")
    assert (result.code, result.out) == (1, "")
    assert result.err == "ganctl: ganctl plot needs matplotlib: pip install 'ganctl[plot]'\n"


def test_no_torch_no_window_and_nothing_of_the_users_own_style(tmp_path: Path) -> None:
    make_run("r")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: TkAgg\nfigure.facecolor: red\n")
    code = "import sys; sys.modules['torch'] = sys.modules['tkinter'] = None; from ganctl.cli import main; main()"
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "DISPLAY": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", "r", "--format", "png"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Image.open("r/plots/losses.png").convert("RGB").getpixel((1, 1)) == (255, 255, 255)
