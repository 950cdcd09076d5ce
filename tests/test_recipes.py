"""The recipes in examples/: each resolves, says what it repeats, and trains."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
RECIPES = sorted(EXAMPLES.glob("*.toml"))
ELSEWHERE = {"anime-leaky", "anime-growing-kernel", "anime-soft-labels", "anime-baseline", "anime-spectral"}


def test_there_is_a_recipe_for_every_experiment() -> None:
    wanted = ELSEWHERE | {f"cifar-{name}" for name in ("adam", "rmsprop", "dcgan", "wgan", "wgan-gp", "acgan")}
    assert wanted | {"cifar-single-class"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_tried_dry(recipe: Path, cli) -> None:
    result = cli("train", "--recipe", recipe, "--dry-run")
    assert result.code == 0, result.err
    assert "skipped" not in result.out
    assert "parameters" in result.out


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_on_faces(recipe: Path, cli) -> None:
    tables = tomllib.loads(recipe.read_text())
    sets = ["data.count=200", "data.limit=64", "arch.latent_dim=8", "train.steps=20", "train.batch_size=8"]
    sets += [f"arch.{key}=4" for key in ("width", "g_width", "d_width") if key in tables["arch"]]
    sets += ["train.g_batch_size=16"] if "g_batch_size" in tables["train"] else []
    sets += ["data.classes=black"] if "classes" in tables["data"] else []
    flags = [flag for text in sets for flag in ("--set", text)]
    result = cli("train", "--recipe", recipe, "--data", "faces", "--size", 16, *flags, "--out", "out")
    assert result.code == 0, result.err
    assert "20 steps" in result.out
    assert Path("out/generator.safetensors").exists()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_is_and_how_to_run_it(recipe: Path) -> None:
    head = recipe.read_text().split("\n[")[0]
    assert head.startswith("# ")
    assert f"ganctl train --recipe examples/{recipe.name}" in head
    source = tomllib.loads(recipe.read_text())["data"].get("source")
    assert source == ("cifar10" if recipe.stem.startswith("cifar-") else None)


def test_the_table_names_every_recipe_and_sweep() -> None:
    page = (EXAMPLES / "README.md").read_text()
    for path in [*RECIPES, *(EXAMPLES / "sweeps").glob("*.toml")]:
        assert f"]({path.relative_to(EXAMPLES)})" in page, path
