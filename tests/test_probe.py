"""A probe finds in a discriminator's features what is there, and nothing that is not."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from PIL import Image

from ganctl import checkpoint, weights
from ganctl.probe import accuracy, stratified

Cli = Callable[..., Result]

TINY = ["--size", 16, "--set", "arch.width=4", "--set", "arch.latent_dim=4", "--batch-size", 8]
TINY += ["--set", "train.steps=2", "--quiet"]
COUNT = 160


def paint(folder: Path, kind: str, count: int = COUNT) -> Path:
    """*count* pictures, striped across or down: in folders of their kind, in folders at random, or in none."""
    random = np.random.default_rng(3)
    sides = random.permutation(np.arange(count) % 2)
    for number in range(count):
        across = number % 2
        stripes = np.indices((16, 16))[across] // 2 % 2 * 120 + random.integers(0, 100, (16, 16))
        name = {"kinds": ("across", "down")[across], "random": ("left", "right")[sides[number]], "none": ""}[kind]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([stripes] * 3, axis=-1).astype(np.uint8)).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same kind of pictures with labels that mean something, with labels that do not, and with none."""
    folder = tmp_path_factory.mktemp("stripes")
    return {kind: paint(folder / kind, kind) for kind in ("kinds", "random", "none")}


@pytest.fixture
def trained(cli: Cli, sources: dict[str, Path]) -> Callable[..., Path]:
    """Train on one of the sources for two steps."""

    def train(kind: str, *options: object) -> Path:
        assert cli("train", "--data", sources[kind], *TINY, *options, "--out", "r").code == 0
        return Path("r")

    return train


def table(result: Result) -> dict[str, Any]:
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["features"]}


def test_a_probe_tells_classes_that_differ_and_leaves_the_run_as_it_was(cli: Cli, trained: Callable[..., Path]) -> None:
    run = trained("kinds")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    shown = cli("probe", run)
    found = table(cli("probe", run, "--json"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert (found["step"], found["images"], found["names"]) == (2, COUNT, ["across", "down"])
    assert found["classes"] == {"trained": 128, "tested": 32, "chance": 0.5}
    assert found["real_fake"] == {"trained": 256, "tested": 64, "chance": 0.5}
    assert list(rows(found)) == ["raw pixels", "layers.0", "layers.2", "head.logits", "all layers"]
    for name in ("raw pixels", "layers.0", "all layers"):
        for task in ("classes", "real_fake"):
            assert rows(found)[name][task]["linear"] > 0.9, (name, task)
    assert rows(found)["layers.0"]["classes"]["knn"] > 0.9

    assert shown.code == 0
    line = next(line for line in shown.out.splitlines() if line.startswith("layers.0 "))
    layer = rows(found)["layers.0"]
    numbers = [layer[task][kind] for task in ("classes", "real_fake") for kind in ("linear", "knn")]
    assert line.split() == ["layers.0", str(layer["numbers"]), *(f"{number:.1%}" for number in numbers)]
    for words in ("at step 2", "learnt from 128 images, tested on 32", "averaged weights; seed 0", "5 nearest"):
        assert words in shown.out


@pytest.mark.parametrize("conditioning", ["none", "projection", "embedding", "auxiliary"])
def test_nothing_tells_classes_that_do_not_differ_and_no_label_leaks(
    cli: Cli, trained: Callable[..., Path], conditioning: str
) -> None:
    loss = "acgan" if conditioning == "auxiliary" else "bce"
    run = trained("random", "--loss", loss, "--set", f"arch.conditioning={conditioning}")
    found = table(cli("probe", run, "--json"))
    for row in found["features"]:
        for value in row["classes"].values():
            # Of 32 held-out images: three standard deviations around one half.
            assert 0.23 < value < 0.77, row
    told = [note for note in found["notes"] if "random ones" in note]
    assert len(told) == (conditioning in ("projection", "embedding"))
    assert any("trained with the labels" in note for note in found["notes"]) == (conditioning != "none")
    assert not any("projection" in row["name"] or "embedding" in row["name"] for row in found["features"])


def test_without_labels_only_real_and_fake_are_told_apart(cli: Cli, trained: Callable[..., Path]) -> None:
    run = trained("none")
    found = table(cli("probe", run, "--json"))
    assert found["classes"] is None
    assert found["names"] == []
    assert all(row["classes"] is None and row["real_fake"] for row in found["features"])
    shown = cli("probe", run)
    assert "the images have no classes: only real and fake are told apart" in shown.out
    assert re.search(r"features +numbers +linear +KNN *$", shown.out, re.MULTILINE)


def test_another_source_is_judged_in_the_form_of_the_run_even_when_its_own_images_have_gone(
    cli: Cli, sources: dict[str, Path]
) -> None:
    paint(Path("gone"), "none", 40)
    # A class that the other source has not, and more images than it has, are the run's own affair.
    options = ["--set", "data.limit=30", "--batch-size", 30]
    assert cli("train", "--data", "gone", *TINY, *options, "--out", "r").code == 0
    shutil.rmtree("gone")
    assert cli("probe", "r").code == 1
    few = paint(Path("few"), "kinds", 20)
    Image.new("L", (50, 30)).save(few / "across" / "grey.png")
    found = table(cli("probe", "r", "--data", few, "--json"))
    assert found["images"] == 21
    assert found["names"] == ["across", "down"]
    assert found["source"] == str(few.absolute())


def test_the_images_are_as_many_as_asked_balanced_over_classes_and_drawn_with_the_seed(
    cli: Cli, trained: Callable[..., Path]
) -> None:
    run = trained("kinds", "--set", "data.limit=100", "--set", "train.ema=0")
    found = table(cli("probe", run, "--json", "--images", 40))
    assert (found["images"], found["fakes"]) == (40, "last weights")
    assert found["classes"] == {"trained": 32, "tested": 8, "chance": 0.5}
    assert table(cli("probe", run, "--json", "--images", 40)) == found
    assert table(cli("probe", run, "--json", "--images", 40, "--seed", 1))["features"] != found["features"]
    assert table(cli("probe", run, "--json"))["images"] == 100
    assert cli("probe", run, "--images", 9).code == 2


def test_one_layer_by_name(cli: Cli, trained: Callable[..., Path]) -> None:
    run = trained("kinds", "--set", "arch.d_norm=spectral")
    found = table(cli("probe", run, "--json", "--layer", "layers.2"))
    assert list(rows(found)) == ["raw pixels", "layers.2"]
    wrong = cli("probe", run, "--layer", "layer.2")
    assert (wrong.code, wrong.err.count("\n")) == (1, 1)
    assert "did you mean 'layers.2'?" in wrong.err


def test_a_discriminator_that_has_diverged_is_named(cli: Cli, trained: Callable[..., Path]) -> None:
    run = trained("kinds")
    newest = sorted((run / "checkpoints").iterdir())[-1]
    tensors, about = weights.read(newest, checkpoint.KEY)
    tensors["discriminator.layers.2.weight"][0] = np.nan
    weights.save(newest, tensors, about, checkpoint.KEY)
    result = cli("probe", run, "--json")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "discriminator of step 2 has diverged: layers.2 is not finite" in result.err


def test_what_cannot_be_probed_gets_one_line(cli: Cli, trained: Callable[..., Path]) -> None:
    run = trained("kinds")
    few = paint(Path("few"), "none", 6)
    for path in (run / "generator.safetensors", Path("nowhere")):
        assert cli("probe", path).code == 1
    small = cli("probe", run, "--data", few)
    assert small.err.splitlines()[-1].endswith("has only 6 usable images, and a probe takes 10")
    shutil.rmtree(run / "checkpoints")
    empty = cli("probe", run)
    assert (empty.code, empty.err) == (1, "ganctl: r has no checkpoint yet; ganctl resume r goes on with it\n")


def test_without_scikit_learn_there_is_one_line_that_says_how_to_get_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, trained: Callable[..., Path]
) -> None:
    run = trained("kinds")
    for name in ("ganctl.probe", "ganctl.commands.probing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("ganctl.commands.probing", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in [name for name in sys.modules if name.startswith("sklearn.")]:
        monkeypatch.delitem(sys.modules, name)
    result = cli("probe", run)
    assert (result.code, result.out) == (1, "")
    assert result.err == "ganctl: ganctl probe needs scikit-learn: pip install 'ganctl[probe]'\n"


def test_a_fifth_of_each_class_is_held_out_and_never_learnt_from() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 2 + [3])
    split = stratified(labels, seed=4)
    assert not set(split.train) & set(split.test)
    assert np.bincount(labels[split.test], minlength=4).tolist() == [10, 2, 1, 0]
    assert np.bincount(labels[split.train], minlength=4).tolist() == [40, 8, 1, 0]
    assert split.chance == pytest.approx(10 / 13)
    assert not np.array_equal(split.test, stratified(labels, seed=5).test)


@pytest.mark.parametrize("alike", [False, True])
def test_shuffled_labels_are_told_by_chance_and_true_ones_by_far_more(alike: bool) -> None:
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(4), 250))
    features = random.normal(size=(1000, 30)).astype(np.float32)
    features[:, 0] = 7
    features[np.arange(1000), 1 + labels] += 4
    true = accuracy(features, stratified(labels, 0), alike)
    assert min(true) > 0.85
    shuffled = accuracy(features, stratified(random.permutation(labels), 0), alike)
    # Of 200 held-out images, 0.25 within three standard deviations.
    assert all(0.16 < value < 0.34 for value in shuffled)
