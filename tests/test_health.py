"""The health watch: what it sees, what it calls sick, when it says so, and what it says may help."""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_recipes import RECIPES
from torch import nn
from toys import settings, trainer

from ganctl import checkpoint, sampling, weights
from ganctl.api import Batch, Step
from ganctl.assemble import Layers, assemble, load_data
from ganctl.config import Settings
from ganctl.health import vitals
from ganctl.health.course import FEW, REMEMBERED, Course, Look
from ganctl.health.remedies import REMEDIES, advice
from ganctl.health.sicknesses import SICKNESSES, beyond
from ganctl.health.watch import BEST_LONG_PAST, LONG, NOT_FINITE, PATIENCE, Event, Watch
from ganctl.losses.bce import BCE
from ganctl.resolve import Layer, Value, parse_set, resolve
from ganctl.run import Run

WELL = Look(
    0, 1, 0, finite=True, separation=0.8, separation_square=0.65, gradients={"first": 1.0, "last": 2.0}, variety=0.9,
    twins=0.0, contrast=0.9, brightness=0.02, saturation=0.9, jump=0.2,
)  # fmt: skip
"""What is seen of a healthy run."""

SICK: dict[str, dict[str, Any]] = {
    "generator-won": {"separation": 0.03},
    "grey-images": {"contrast": 0.02, "variety": 0.02},
    "discriminator-won": {"separation": 1.0, "gradients": {"first": 1e-4, "last": 1e-3}},
    "vanishing-gradient": {"gradients": {"first": 1e-3, "last": 1.9}},
    "mode-collapse": {"variety": 0.1, "twins": 0.9},
    "oscillation": {"jump": 0.9},
    "brightness-drift": {"brightness": -0.3},
    "saturation-drift": {"saturation": 0.3},
}
"""By sickness: how what is seen of a run that has it differs."""


class Patient:
    """Looks at a run every 50 steps, ten to the epoch, keeping the watch's memory as a checkpoint does."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.step = 0

    def looks(self, count: int, **signs: Any) -> list[tuple[int, Event]]:
        """Return the events of the next *count* looks, with the numbers of these from 1 on."""
        events = []
        for number in range(1, count + 1):
            self.step += 50
            self.state = json.loads(json.dumps(self.state))
            watch = Watch(settings(40), self.state)
            look = WELL._replace(step=self.step, epoch=-(-self.step // 500), images=8 * self.step, **signs)
            events += [(number, event) for event in watch.look(look)]
        return events


@pytest.fixture
def patient() -> Patient:
    """One that was well for 2000 steps, without a word."""
    made = Patient()
    assert made.looks(40) == []
    return made


def names(events: list[tuple[int, Event]]) -> list[tuple[str, bool]]:
    return [(event.name, event.begins) for _, event in events]


def test_there_is_a_sign_of_every_sickness_here() -> None:
    assert [*SICK] == [sickness.name for sickness in SICKNESSES]


@pytest.mark.parametrize("name", SICK)
def test_a_sickness_is_told_once_when_it_begins_and_once_when_it_ends(name: str, patient: Patient) -> None:
    began = patient.looks(60, **SICK[name])
    assert names(began) == [(name, True)]
    assert PATIENCE <= began[0][0] <= PATIENCE + REMEMBERED  # what is averaged takes longer
    assert patient.looks(PATIENCE - 1) == []
    over = patient.looks(60)
    assert names(over) == [(name, False)]
    assert names(patient.looks(60, **SICK[name])) == [(name, True)]


@pytest.mark.parametrize("name", SICK)
def test_what_passes_soon_is_not_told(name: str, patient: Patient) -> None:
    for _ in range(5):
        assert patient.looks(1, **SICK[name]) == []
        assert patient.looks(REMEMBERED) == []


@pytest.mark.parametrize("name", SICK)
def test_beginnings_are_not_judged(name: str) -> None:
    start = next(sickness.start for sickness in SICKNESSES if sickness.name == name)
    patient = Patient()
    assert patient.looks(3) == []
    patient.looks((start - patient.step) // 50 - 1, **SICK[name])
    assert all(event.name != name for _, event in patient.looks(PATIENCE - 1, **SICK[name]))


def test_a_line_says_since_when_what_is_seen_why_and_what_may_help(patient: Patient) -> None:
    ((_, begins),) = patient.looks(PATIENCE, **SICK["mode-collapse"])
    assert begins.text == (
        "mode collapse since epoch 5: samples differ 10% as much as the images do, and 90% of them are near-copies of "
        "others; likely a few images are all that the generator needs; "
        "try --set arch.d_norm=spectral or --set optim.d.lr=0.0001"
    )
    ((_, ends),) = patient.looks(PATIENCE)
    assert ends.text == "mode collapse over since epoch 5: samples differ 90% as much as the images do"
    assert begins.row(2200, 5, 17_600) == {
        "kind": "health", "step": 2200, "epoch": 5, "images": 17_600, "event": "mode-collapse", "state": "begins",
        "text": begins.text,
    }  # fmt: skip
    assert ends.row(2400, 5, 19_200)["state"] == "ends"


def test_a_gradient_that_vanishes_is_told_with_its_layer(patient: Patient) -> None:
    ((_, event),) = patient.looks(PATIENCE, gradients={"first": 1e-3, "last": 1.9})
    assert "0.1% is left of the generator's gradient at first" in event.text


def test_the_cause_explains_what_follows_from_it(patient: Patient) -> None:
    everything = {key: value for signs in reversed(SICK.values()) for key, value in signs.items()}
    assert names(patient.looks(60, **everything)) == [("generator-won", True)]
    # What it explained is there still when it has gone, and is told then.
    later = names(patient.looks(60, **everything | {"separation": 0.8}))
    assert later == [("generator-won", False), ("grey-images", True)]


def test_between_sick_and_well_it_stays_as_it_was(patient: Patient) -> None:
    between = {"variety": 0.4 * 0.9}
    assert patient.looks(60, **between) == []
    assert names(patient.looks(60, **SICK["mode-collapse"])) == [("mode-collapse", True)]
    assert patient.looks(60, **between) == []


def test_what_was_not_measured_is_neither_sick_nor_well(patient: Patient) -> None:
    unknown = {"separation": math.nan, "separation_square": math.nan, "gradients": {}}
    assert patient.looks(60, **unknown) == []


def test_a_discriminator_wins_without_a_faded_gradient_where_samples_stay_poor() -> None:
    poor = {"separation": 1.0, "contrast": 0.18, "variety": 0.16}
    assert names(Patient().looks(60, **poor)) == [("discriminator-won", True)]
    growing = Patient()
    for number in range(60):  # while they get better there is nothing to tell
        assert growing.looks(1, separation=1.0, contrast=0.17 * 1.04**number, variety=0.17 * 1.04**number) == []


def test_losses_or_gradients_that_are_not_finite_end_it_at_the_second_look() -> None:
    state: dict[str, Any] = {}
    for finite, ends in ((True, False), (False, False), (True, False), (False, False), (False, True)):
        watch = Watch(settings(40), state)
        watch.look(WELL._replace(finite=finite))
        assert watch.diverged is ends


@pytest.mark.parametrize(("sick", "well"), [(0.2, 0.4), (0.4, 0.2)])
def test_thresholds_leave_a_gap(sick: float, well: float) -> None:
    beyond_sick, beyond_well = 2 * sick - well, 2 * well - sick
    assert [beyond(value, sick, well) for value in (beyond_sick, sick, 0.3, well, beyond_well, math.nan)] == [
        True, True, None, False, False, None,
    ]  # fmt: skip


def test_a_course_averages_what_jumps_about() -> None:
    course = Course({})
    for separation in (0.1, 0.9, 0.5, 1.0, 0.6, 0.8):
        course.add(WELL._replace(separation=separation, separation_square=separation**2))
    assert course.spread == pytest.approx(float(np.std([0.5, 1.0, 0.6, 0.8][-FEW:])))
    assert course.growth == math.inf


def metrics(values: list[float], lower: bool = True) -> list[Event]:
    state: dict[str, Any] = {}
    events = []
    for epoch, value in enumerate(values, 1):
        state = json.loads(json.dumps(state))
        row = {"name": "fd", "value": value, "lower_is_better": lower, "epoch": epoch}
        watch = Watch(settings(40), state)
        events += watch.metric(row) + watch.metric(row | {"name": "another", "value": -value})
    return events


def test_a_best_checkpoint_long_past_is_told_once_and_its_end() -> None:
    falls, rises = [100.0, 60.0, 40.0], [50.0 + number for number in range(2 * LONG)]
    (begins,) = metrics(falls + rises)
    assert (begins.name, begins.begins) == (BEST_LONG_PAST, True)
    assert begins.text.startswith("the best is long past: fd was 40 in epoch 3 and is 53, 32% worse; likely it has ")
    begins, ends = metrics([*falls, *rises, 39.0, 38.0])
    assert not ends.begins
    assert ends.text == f"the best is not past any more: fd is 39 in epoch {len(falls + rises) + 1}"


def test_the_best_by_one_protocol_says_nothing_of_another() -> None:
    watch = Watch(settings(40), {})
    row = {"name": "fd", "lower_is_better": True, "epoch": 1, "value": 5.0, "protocol": {"fakes": 100}}
    watch.metric(row)
    watch.metric(row | {"epoch": 2, "value": 6.0})
    assert watch.best == row
    other = row | {"epoch": 3, "value": 7.0, "protocol": {"fakes": 200}}
    watch.metric(other)
    assert watch.best == other and watch.worse == 0
    watch.metric(other | {"epoch": 4, "value": math.nan})
    assert watch.best == other


def test_metrics_that_get_better_or_stay_or_are_higher_for_better_bring_nothing() -> None:
    assert metrics([100.0 / number for number in range(1, 30)]) == []
    assert metrics([40.0, *[41.0, 43.0, 42.0] * 8]) == []
    assert metrics([0.1 * number for number in range(1, 9)], lower=False) == []
    assert metrics([5.0, math.nan, *[5.1] * 20]) == []
    # Near nothing, a share says nothing.
    assert metrics([1.0, 0.1, 0.0, -0.0001, *[0.005] * 9]) == []


def test_a_metric_for_which_higher_is_better_is_told_as_it_is() -> None:
    (event,) = metrics([0.2, 0.8, *[0.5] * LONG], lower=False)
    assert "fd was 0.8 in epoch 2 and is 0.5" in event.text


def varieties() -> Iterator[Settings]:
    """Settings of every loss with every architecture, usual and unusual."""
    usual: list[dict[str, Any]] = [
        {},
        {"train__joint": True, "arch__slope": 0.0},
        {"train__precision": "bf16", "optim__g__lr": 1e-2, "optim__d__lr": 1e-7, "optim__d__betas": [0.9, 0.99]},
        {"optim__d__lr": 5e-3, "optim__g__lr": 1e-5, "optim__g__name": "sgd", "train__d_steps": 7},
        {"augment__colour": 1.0, "augment__translation": 0.125, "augment__noise": 0.3, "optim__g__weight_decay": 0.1},
        {"optim__g__clip": 1.0, "optim__g__decay": "linear", "optim__d__clip": 1.0, "optim__g__lr": 10.0},
    ]
    losses = ("bce", "lsgan", "hinge", "rsgan", "acgan", "wgan", "wgan-gp")
    for loss, architecture, changes in itertools.product(losses, ("dcgan", "resnet"), usual):
        changes = {key: value for key, value in changes.items() if key != "arch__slope" or architecture == "dcgan"}
        extra = {"arch__conditioning": "auxiliary"} if loss == "acgan" else {}
        yield settings(40, loss__name=loss, arch__name=architecture, **extra, **changes)


@pytest.mark.parametrize("name", REMEDIES)
def test_remedies_are_two_settings_that_the_run_takes_and_does_not_have(name: str) -> None:
    for before in varieties():
        flags = re.findall(r"--set (\S+)", advice(name, before))
        assert len(flags) == 2, (before.tables(), flags)
        assert len({flag.split("=")[0] for flag in flags}) == 2
        old = {key: value for key, value, _ in before.rows()}
        for flag in flags:
            key, value = parse_set(flag)
            own = {name: value._replace(value=setting) for name, setting in old.items() if setting is not None}
            after = resolve(Layer(own | {key: value}), images=40)
            assert {name for name, setting, _ in after.rows() if setting != old.get(name)} == {key}


def test_what_answers_are_is_the_share_of_pairs_in_the_right_order() -> None:
    random = np.random.default_rng(0)
    real, fake = (torch.from_numpy(random.integers(0, 6, 40) + shift) for shift in (2.0, 0.0))
    found = vitals.answers(real, fake)
    pairs = [1.0 if r > f else 0.5 if r == f else 0.0 for r in real.tolist() for f in fake.tolist()]
    assert float(found["separation"]) == pytest.approx(np.mean(pairs))
    assert float(found["separation_square"]) == pytest.approx(np.mean(pairs) ** 2)
    apart, same = torch.arange(20.0), torch.ones(20)
    assert float(vitals.answers(apart + 20, apart)["separation"]) == 1
    assert float(vitals.answers(apart, apart + 20)["separation"]) == 0
    assert float(vitals.answers(same, same)["separation"]) == 0.5
    # Several answers to an image count by their mean.
    patches = torch.tensor([[0.0, 4.0], [1.0, 5.0]])
    assert float(vitals.answers(patches, torch.tensor([[2.5, 2.5], [0.0, 0.0]]))["separation"]) == 0.75


def test_gradients_are_norms_of_each_layer_s_weights() -> None:
    network = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))
    )
    assert [name for name, _ in vitals.layers(network)] == ["0", "2"]
    assert vitals.gradients(network) == {}
    network(torch.randn(5, 3)).square().sum().backward()
    found = vitals.gradients(network)
    assert float(found["gradient.0"]) == pytest.approx(float(network[0].weight.grad.norm()))
    assert found.keys() == {"gradient.0", "gradient.1"}


class Drawing(nn.Module):
    """A generator that draws the given images (N, H, W, C), and nothing else."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.images[: len(latents)]


def seen(images: np.ndarray[Any, Any], before: np.ndarray[Any, Any] | None = None) -> Look:
    """Return what is seen of a run on noise whose samples are *images*, and were *before* at the look before."""
    made = trainer(600, train__batch_size=32)
    signs = vitals.Vitals(made, sampling.layout(made.generator, 4, 2, 0), conditional=False)
    report = next(iter(made.run()))
    if before is not None:
        signs.look(report, Drawing(before))
    return signs.look(report, Drawing(images))


def noise(count: int = 64, low: int = 0, high: int = 256, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(low, high, (count, 16, 16, 3), np.uint8)


def test_samples_like_the_images_look_like_them() -> None:
    look = seen(noise())
    for ratio in (look.variety, look.contrast, look.saturation):
        assert ratio == pytest.approx(1, abs=0.02)
    assert look.brightness == pytest.approx(0, abs=0.01)
    assert look.twins == 0
    assert look.jump == 0


def test_copies_are_counted_and_lessen_variety() -> None:
    copied = noise()
    copied[40:] = np.clip(copied[40].astype(int) + noise(24, 0, 3), 0, 255)
    look = seen(copied)
    assert look.twins == 24 / 64
    pairs = 64 * 63
    assert look.variety == pytest.approx(1 - 24 * 23 / pairs, abs=0.02)
    assert seen(np.repeat(noise(1), 64, axis=0)).variety == 0


def test_contrast_brightness_and_saturation_are_beside_the_images() -> None:
    half = seen(noise(low=64, high=192))
    assert half.contrast == pytest.approx(0.5, abs=0.02)
    assert half.variety == pytest.approx(0.5, abs=0.02)
    assert half.twins == 0  # faint, and yet no copies
    dark = seen(noise(high=128))
    assert dark.brightness == pytest.approx(-0.25, abs=0.01)
    assert seen(np.repeat(noise()[..., :1], 3, axis=3)).saturation == 0
    assert seen(np.full((64, 16, 16, 3), 128, np.uint8)).contrast == 0


def test_a_jump_is_how_far_samples_went_beside_how_images_differ() -> None:
    assert seen(noise(), before=noise()).jump == pytest.approx(0, abs=0.03)
    assert seen(noise(), before=noise(seed=2)).jump == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("images", [2, 3, 70])
def test_few_images_or_classes_of_one_can_be_compared_with(images: int) -> None:
    made = trainer(images, train__batch_size=2, arch__conditioning="embedding")
    signs = vitals.Vitals(made, sampling.layout(made.generator, 4, 2, 0), conditional=True)
    look = signs.look(next(iter(made.run())), made.generator)
    assert all(map(math.isfinite, (look.variety, look.twins, look.contrast, look.brightness, look.saturation)))


def test_classes_that_a_generator_heeds_are_compared_one_by_one() -> None:
    made = trainer(600, train__batch_size=32)
    layout = sampling.layout(made.generator, 4, 2, 0)._replace(labels=torch.arange(64) % 2)
    two = noise(2)[np.arange(64) % 2]
    report = next(iter(made.run()))
    assert vitals.Vitals(made, layout, conditional=True).look(report, Drawing(two)).variety == 0
    assert vitals.Vitals(made, layout, conditional=False).look(report, Drawing(two)).variety > 0.4


def test_small_batches_are_looked_at_more_seldom() -> None:
    for batch, every in ((2, 1100), (16, 150), (32, 50), (128, 50)):
        made = trainer(600, train__batch_size=batch)
        signs = vitals.Vitals(made, sampling.layout(made.generator, 4, 2, 0), conditional=False)
        assert [step for step in range(2 * every + 1) if signs.due(step)] == [every, 2 * every]


def test_weights_moments_and_averages_are_all_seen_to_be_finite() -> None:
    made = trainer(train__steps=1)
    list(made.run())
    for network in (made.generator, made.discriminator, made.ema.network):
        weight = next(network.parameters())
        assert vitals.finite(made)
        with torch.no_grad():
            before, weight[0] = weight[0].clone(), math.inf
        assert not vitals.finite(made)
        with torch.no_grad():
            weight[0] = before
    moments = next(iter(made.d_optimiser.state.values()))["exp_avg_sq"]
    moments.fill_(1e30)  # whose square is not
    assert vitals.finite(made)
    moments.fill_(math.nan)
    assert not vitals.finite(made)


SMALL = {"data.size": 16, "data.count": 600, "arch.width": 8, "arch.latent_dim": 16, "train.batch_size": 32}
UNHEALTHY: dict[str, tuple[int, dict[str, Any]]] = {
    "generator-won": (400, {"optim.d.lr": 1e-8}),
    "discriminator-won": (1200, {"optim.d.lr": 1e-3, "optim.g.lr": 1e-6, "arch.width": 4}),
    "grey-images": (
        700, {"arch.slope": 0.0, "arch.d_norm": "none", "arch.g_norm": "none", "arch.kernel": 7},
    ),
    "mode-collapse": (
        700, {"optim.g.betas": "[0.99,0.999]", "optim.d.betas": "[0.99,0.999]", "data.size": 32, "arch.width": 4},
    ),
    "oscillation": (
        700,
        {"optim.g.betas": "[0.9,0.999]", "optim.d.betas": "[0.9,0.999]", "optim.g.lr": 1e-2, "optim.d.lr": 1e-2},
    ),
}  # fmt: skip
"""By sickness: after how many steps a run on faces is known to have it, and the settings that provoke it."""
QUICK = ("generator-won", "oscillation")


def flags(sets: dict[str, Any]) -> list[str]:
    return [flag for key, value in sets.items() for flag in ("--set", f"{key}={value}")]


def told(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "health"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in UNHEALTHY]
)
def test_a_sickness_that_is_provoked_is_named(name: str, cli) -> None:
    steps, sets = UNHEALTHY[name]
    result = cli("train", *flags(SMALL | {"train.steps": steps} | sets), "--out", "run")
    assert result.code == 0, result.err
    (row,) = told(Path("run"))
    assert (row["event"], row["state"]) == (name, "begins")
    assert result.out.count(row["text"]) == 1
    assert len(re.findall("--set", row["text"])) == 2


class Dimming(BCE):
    """BCE that pulls the samples towards black from step 1300 on."""

    def generator_penalty(self, fake: Batch, step: Step) -> dict[str, torch.Tensor]:
        return {"dimming": 20 * fake.images.mean()} if step.number > 1300 else {}


@pytest.mark.slow
def test_samples_that_dim_are_noticed() -> None:
    sets = SMALL | {"data.source": "faces", "train.steps": 1750}
    layers = Layers(Layer({key: Value(value, "--set") for key, value in sets.items()}), Layer())
    made = assemble(layers, load_data(layers.resolve(), lambda *_: None))
    made.loss = Dimming()
    signs = vitals.Vitals(made, sampling.layout(made.generator, 16, 0, 0), conditional=False)
    watch, events = Watch(made.settings, {}), []
    for report in made.run():
        if signs.due(report.step):
            events += watch.look(signs.look(report, made.ema.network))
    (event,) = events
    assert (event.name, event.begins) == ("brightness-drift", True)
    assert "darker than the images" in event.text


def test_a_healthy_run_is_not_disturbed(cli) -> None:
    result = cli("train", *flags(SMALL | {"train.steps": 600}), "--out", "run")
    assert result.code == 0, result.err
    assert told(Path("run")) == []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_healthy(recipe: Path, cli) -> None:
    tables = tomllib.loads(recipe.read_text())
    sets = {"data.count": 2000, "train.batch_size": 32, "train.steps": 600 if "wgan" in recipe.stem else 1300}
    sets |= {"train.g_batch_size": 32} if "g_batch_size" in tables["train"] else {}
    sets |= {f"arch.{key}": 8 for key in ("width", "g_width", "d_width") if key in tables["arch"]}
    sets |= {"data.classes": "black"} if "classes" in tables["data"] else {}
    options = ["--recipe", recipe, "--data", "faces", "--size", 16]
    result = cli("train", *options, *flags(sets), "--out", "run")
    assert result.code == 0, result.err
    assert told(Path("run")) == []


def test_numbers_that_are_not_finite_end_a_run_and_what_was_saved_before_goes_on(cli) -> None:
    sets = SMALL | {"data.count": 96, "arch.width": 4, "train.steps": 200, "optim.d.name": "sgd", "optim.d.lr": 10.0}
    first = cli("train", *flags(sets), "--out", "run")
    assert first.code == 1
    assert "Traceback" not in first.err
    run = Run(Path("run"))
    (row,) = told(run.path)
    assert row["event"] == NOT_FINITE
    assert "--set optim.d.lr=0.0002" in row["text"]
    last = run.saved()[-1]
    assert " ".join(first.err.split()).count(f"{row['text']}; {last} was saved before") == 1
    tensors, _ = weights.read(last, checkpoint.KEY)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    # It goes on from there, to the same end, and from its weights with other settings.
    assert cli("resume", "run").err == first.err
    assert told(run.path) == [row]
    better = flags(SMALL | {"data.count": 96, "arch.width": 4, "train.steps": 6})
    assert cli("train", *better, "--init", "run", "--out", "better").code == 0
    assert told(Path("better")) == []


def test_the_watch_remembers_across_a_resume(cli) -> None:
    sets = SMALL | UNHEALTHY["generator-won"][1] | {"data.count": 800, "arch.width": 2}  # 25 steps an epoch
    assert cli("train", *flags(sets | {"train.epochs": 16}), "--out", "whole").code == 0
    assert cli("train", *flags(sets | {"train.epochs": 11}), "--out", "parts").code == 0
    for epochs in (14, 16):  # in mid-look, and right when it has been told
        assert cli("resume", "parts", "--epochs", epochs).code == 0
    whole, parts = (Run(Path(name)) for name in ("whole", "parts"))
    assert told(parts.path) == told(whole.path)
    assert [(row["event"], row["step"]) for row in told(whole.path)] == [("generator-won", 350)]
    ends = [weights.read(run.saved()[-1], checkpoint.KEY)[1]["notes"] for run in (parts, whole)]
    assert ends[0] == ends[1]
