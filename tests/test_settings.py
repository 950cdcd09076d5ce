"""Settings: which layer wins, where a value came from, and what is said of a wrong one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import MappingProxyType

import pytest
import tomli_w
from pydantic import model_validator
from toys import layer, settings

from ganctl import registry
from ganctl.architectures.dcgan import DCGAN
from ganctl.datasets.faces import Faces
from ganctl.errors import GanctlError
from ganctl.losses.bce import BCE
from ganctl.resolve import Layer, options, parse_set, read_recipe, resolve


def test_later_layers_win_and_each_value_knows_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for plugin, value in ((DCGAN, 1), (BCE, 2), (Faces, 3)):
        monkeypatch.setattr(plugin, "recipe", MappingProxyType({"train.log_every": value, "train.keep": value}))
    below = resolve()
    assert (below.train.log_every, below.sources["train.log_every"]) == (3, "data faces")
    recipe = layer({"train.log_every": 4, "train.keep": 4}, source="recipe r.toml")
    assert resolve(recipe=recipe).train.log_every == 4
    above = resolve(layer({"train.log_every": 5}), recipe)
    assert (above.train.log_every, above.train.keep) == (5, 4)
    assert (above.sources["train.log_every"], above.sources["train.keep"]) == ("--set", "recipe r.toml")
    assert "train.seed" not in above.sources  # built-in


def test_settings_are_immutable() -> None:
    with pytest.raises(Exception, match="frozen"):
        settings().train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("data.size", 7, r"data\.size = 7 \(--set\): must be at least 8 and at most 2048"),
        ("data.size", 100_000, "must be at least 8 and at most 2048"),
        ("data.size", "big", "must be a whole number, at least 8"),
        ("train.epohs", 3, "there is no setting 'train.epohs'; did you mean 'train.epochs'"),
        ("arch.slop", 0.1, "did you mean 'arch.slope'"),
        ("arch.slope", 1.5, "must be at least 0 and less than 1"),
        ("arch.kernel", 9, "must be a whole number, at least 3 and at most 7, or growing"),
        ("arch.kernel", "grow", "must be a whole number, at least 3 and at most 7, or growing"),
        ("augment.noise", -1, "must be at least 0 and at most 10"),
        ("augment.nois", 1, "did you mean 'augment.noise'"),
        ("optim.g.decay", "linaer", "must be 'none', 'linear' or 'cosine'"),
        ("loss.real_labels", [1], r"must be such as \[1.0, 1.0\]"),
        ("arch.g_norm", "bach", "must be 'batch', 'instance'"),
        ("optim.g.lr", float("nan"), "must be a finite number"),
        ("optim.g.lr", 0, "must be more than 0"),
        ("optim.d.betas", [0.5], r"must be such as \[0.5, 0.999\]"),
        ("optim.d.betas", [0.5, 1.0], "must be two numbers of at least 0 and less than 1"),
        ("train.device", "gpu", "must be auto, cpu, cuda"),
        ("train.precision", "fp8", "must be 'auto', 'fp32'"),
        ("train.ema", 0.999, "is a half-life in images"),
        ("train.seed", -1, "must be at least 0"),
        ("data.background", "blurple", "must be a colour"),
        ("data.classes", ["purple"], "faces has no class 'purple'; there are"),
        ("data.source", "", "is empty; name a folder"),
        ("data.source", "~nosuchuser/x", "cannot be a path here"),
        ("data.source", "x" * 300, "cannot be a path here"),
        ("data.source", "facez", "neither a file or folder here nor a data set; did you mean 'faces'"),
        ("arch.name", "dcgann", "no architecture is called 'dcgann'; did you mean 'dcgan'"),
        ("arch.name", 3, "must be a name"),
    ],
)
def test_a_wrong_setting_gets_one_line_that_says_what_would_be_right(key: str, value: object, complaint: str) -> None:
    with pytest.raises(GanctlError, match=complaint) as refusal:
        resolve(layer({key: value}))
    assert "\n" not in str(refusal.value)


def test_every_option_of_every_plugin_and_setting_is_described_in_words() -> None:
    for entry in registry.entries():
        for name, default, text in options(registry.load(entry.kind, entry.name)):
            assert default, name
            assert len(text) > 10, name
    assert ("kernel", "4") in {(name, default) for name, default, _ in options(DCGAN)}
    (kernel,) = (text for name, _, text in options(DCGAN) if name == "kernel")
    assert kernel.endswith("(whole number, at least 3 and at most 7, or growing)")
    (labels,) = (default for name, default, _ in options(BCE) if name == "real_labels")
    assert labels == "[1.0, 1.0]"


def test_set_takes_toml_or_else_text() -> None:
    assert parse_set("optim.g.betas=[0, 0.9]")[1].value == [0, 0.9]
    key, value = parse_set("arch.slope = 0.3")
    assert (key, value.value) == ("arch.slope", 0.3)
    assert parse_set("data.background=#ff0000")[1].value == "#ff0000"
    assert resolve(Layer(dict([parse_set("data.classes=blue")]))).data.classes == ("blue",)
    for wrong_text in ("train.device=0", "data.background=5"):
        with pytest.raises(GanctlError, match="must be"):
            resolve(Layer(dict([parse_set(wrong_text)])))
    for wrong in ("train.epochs", "=3", ""):
        with pytest.raises(GanctlError, match="write --set KEY=VALUE"):
            parse_set(wrong)


def test_a_recipes_own_typo_is_refused_but_what_another_plugin_was_meant_for_is_skipped() -> None:
    recipe = layer({"arch.kernel": 5}, source="recipe r.toml")
    beside = resolve(layer({"arch.name": "perceptron"}), recipe)
    assert beside.skipped == ("arch.kernel = 5 of recipe r.toml does not apply",)
    with pytest.raises(GanctlError, match="did you mean 'arch.kernel'"):
        resolve(recipe=layer({"arch.kernell": 5}, source="recipe r.toml"))
    with pytest.raises(GanctlError, match="did you mean 'train.steps'"):
        resolve(layer({"arch.name": "perceptron"}), layer({"train.stepz": 5}, source="recipe r.toml"))


def test_a_plugins_recipe_skips_what_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BCE, "recipe", MappingProxyType({"arch.conditioning_of_nothing": 1}))
    assert resolve().skipped == ("arch.conditioning_of_nothing = 1 of loss bce does not apply",)


def test_length_suits_the_number_of_images_unless_somebody_sets_it() -> None:
    own = layer({"data.source": "cifar10"})
    assert resolve(own, images=8_000).train.epochs == 125
    assert resolve(own, images=8_000).sources["train.epochs"] == "8000 images"
    assert resolve(own, images=10).train.epochs == 1000
    assert resolve(own, images=10**8).train.epochs == 5
    by_steps = settings(8_000, train__epochs=None, train__steps=7)
    assert by_steps.train.epochs is None
    assert by_steps.total_steps(8_000) == 7


def test_a_length_in_steps_outdoes_one_in_epochs_of_a_layer_below() -> None:
    recipe = layer({"train.epochs": 2}, source="recipe r.toml")
    assert resolve(layer({"train.steps": 10**6}), recipe).train.epochs is None
    both = resolve(layer({"train.steps": 10**6, "train.epochs": 2, "train.batch_size": 64}))
    assert both.total_steps(640) == 20  # 2 epochs of 10 batches


@pytest.mark.parametrize("unit", ["epochs", "steps", "images"])
def test_a_later_length_replaces_one_in_any_other_unit(unit: str) -> None:
    recipe = layer({"train.epochs": 7, "train.steps": 70, "train.images": 700}, source="recipe r.toml")
    train = resolve(layer({f"train.{unit}": 3}), recipe).train
    assert {u: getattr(train, u) for u in ("epochs", "steps", "images")} == {
        "epochs": None, "steps": None, "images": None, unit: 3
    }  # fmt: skip
    assert settings(100, train__epochs=None, train__images=100).total_steps(100) == 13


def test_an_epoch_shows_each_image_once_and_rounds_up() -> None:
    assert settings(36_740, train__batch_size=64).steps_per_epoch(36_740) == 575
    assert settings(100, train__batch_size=8, train__d_steps=5).steps_per_epoch(100) == 3


def test_a_batch_shrinks_to_few_images_unless_it_was_asked_for() -> None:
    few = resolve(layer({"data.count": 15}))
    assert (few.train.batch_size, few.sources["train.batch_size"]) == (8, "15 images")
    with pytest.raises(GanctlError, match=r"only 25 images; try --batch-size 16"):
        resolve(layer({"data.count": 25, "train.batch_size": 64}))
    limited = resolve(layer({"data.limit": 10}))
    assert limited.train.batch_size == 8


def test_a_batch_is_not_refused_for_a_class_whose_size_is_only_estimated() -> None:
    chosen = {"data.count": 100, "data.classes": ["blue"], "train.batch_size": 64}
    assert resolve(layer(chosen)).train.batch_size == 64
    with pytest.raises(GanctlError, match="only 12 images"):
        resolve(layer(chosen), images=12)


def test_what_training_starts_from_is_found_from_anywhere() -> None:
    assert settings(train__init="r").train.init == str(Path("r").absolute())


def test_classes_named_twice_count_once() -> None:
    assert resolve(layer({"data.classes": ["blue", "blue"]})).spec.classes == ("blue",)


def test_a_complaint_about_several_options_at_once_names_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fussy(BCE):
        """Needs something of its options together."""

        api_version = 1

        @model_validator(mode="after")
        def _together(self) -> Fussy:
            raise ValueError("these options do not go together")

    monkeypatch.setattr(
        registry, "load", lambda kind, name, load=registry.load: Fussy if kind == "loss" else load(kind, name)
    )
    with pytest.raises(GanctlError, match="loss: these options do not go together"):
        resolve()


def test_classes_narrow_the_data_spec() -> None:
    chosen = resolve(layer({"data.classes": ["blue", "pink"]}))
    assert chosen.spec.classes == ("blue", "pink")
    assert len(resolve().spec.classes) == 8


def test_ema_takes_true_and_false() -> None:
    assert settings(train__ema=False).train.ema == 0
    assert settings(train__ema=True).train.ema == 10_000


def test_tables_written_as_toml_resolve_to_the_same_settings(tmp_path: Path) -> None:
    first = settings(
        arch__slope=0.3, data__classes=["blue"], train__steps=9, data__count=400, optim__d__betas=[0.0, 0.9]
    )
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(first.tables()))
    second = resolve(recipe=read_recipe(file))
    assert second.tables() == first.tables()
    assert tomllib.loads(file.read_text())["optim"]["d"]["betas"] == [0.0, 0.9]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train = {epochs = ", "is not TOML"),
        ("[train]\nepohs = 3", "recipe .*r.toml: there is no setting 'train.epohs'; did you mean 'train.epochs'"),
        ("[train]\nepochs = 'many'", r"train.epochs = 'many' \(recipe .*r.toml\): must be a whole number"),
        ("[train]\nepochs = 0", "must be at least 1"),
        ("[trian]\nepochs = 3", "there is no setting 'trian'"),
        ("epochs = 3", "there is no setting 'epochs'"),
        ("[ganctl]\nformat = 99", "is of format 99, from a newer ganctl"),
        ("[ganctl]\nformat = 'x'", "its ganctl table is not one that ganctl wrote"),
    ],
)
def test_a_wrong_recipe_gets_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(GanctlError, match=complaint) as refusal:
        resolve(recipe=read_recipe(file))
    assert "\n" not in str(refusal.value)


def test_a_missing_or_binary_recipe_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(GanctlError, match="cannot read the recipe .*No such file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GanctlError, match="is not TOML"):
        read_recipe(tmp_path / "bin.toml")
