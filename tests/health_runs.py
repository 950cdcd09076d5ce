"""Runs from which the thresholds of ganctl.health.sicknesses come: ``python tests/health_runs.py [--seed N] [NAME]``.

Each is a small network trained for a minute or so; a NAME is that of a run, or how it begins. Healthy runs are to bring
no event, and the others theirs. The table shows, from the step on at which it is judged, the range of each figure.
Their images are in ``../shared/data``; a run whose images are not there is left out. All take an hour and a half.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ganctl import sampling
from ganctl.assemble import Layers, assemble, load_data
from ganctl.errors import GanctlError
from ganctl.health import vitals
from ganctl.health.course import Course
from ganctl.health.watch import NOT_FINITE, Event, Watch
from ganctl.resolve import Layer, Value, read_recipe
from ganctl.session import examine, kept

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
IMAGES = {
    "anime": DATA / "anime-8k.zip",
    "cifar": DATA / "cifar10-train.zip",
    "emoji": DATA / "emoji-twitter.zip",
    "mnist": DATA / "mnist-test.zip",
    "faces": "faces",
}
SMALL = {"arch.width": 16, "data.size": 32, "train.batch_size": 32}
LOSSES = ("bce", "lsgan", "hinge", "rsgan", "acgan", "wgan", "wgan-gp")


class Trial(NamedTuple):
    """A run: which images, settings, steps, and the events that may and must come."""

    images: str
    settings: Mapping[str, Any]
    steps: int = 1500
    recipe: str = ""
    event: str = ""
    """The first that must come; none in a healthy run."""


def optim(network: str, **values: Any) -> dict[str, Any]:
    """Settings of one optimiser, or of both ("gd")."""
    return {f"optim.{one}.{key}": value for one in network for key, value in values.items()}


def slow_and_fast(slow: str, fast: str, rates: tuple[float, float]) -> dict[str, Any]:
    """One network that learns at the first of *rates*, the other at the second."""
    return optim(slow, lr=rates[0]) | optim(fast, lr=rates[1])


def healthy() -> Iterator[tuple[str, Trial]]:
    """Every loss on four data sets, every recipe, and what else there is."""
    for loss in LOSSES:
        steps = 1500 if loss in ("wgan", "wgan-gp") else 2000
        for images in ("anime", "cifar", "emoji", "mnist"):
            if loss != "acgan" or images in ("cifar", "mnist"):
                small = {"arch.width": 8, "data.size": 16} if images == "mnist" else {}
                yield f"{images}-{loss}", Trial(images, {"loss.name": loss} | small, steps)
    for path in sorted((ROOT / "examples").glob("*.toml")):
        images = "anime" if path.stem.startswith("anime") else "cifar"
        steps = 1200 if "wgan" in path.stem else 2000
        yield f"recipe-{path.stem}", Trial(images, {"arch.g_width": 16, "arch.d_width": 16}, steps, path.name)
    yield "faces", Trial("faces", {})
    yield "augmented", Trial("anime", {"augment.translation": True, "augment.colour": True, "augment.cutout": True})
    yield "resnet", Trial("cifar", {"arch.name": "resnet", "loss.name": "hinge"})
    yield "projection", Trial("cifar", {"arch.conditioning": "projection", "loss.name": "hinge"})
    yield "one-digit", Trial("mnist", {"data.classes": ["1"], "data.size": 16, "arch.width": 8})
    yield "few-images", Trial("emoji", {"data.limit": 64})
    yield "rmsprop", Trial("anime", optim("gd", name="rmsprop"))
    yield "sgd", Trial("anime", optim("gd", name="sgd", lr=0.05))
    yield "small-batch", Trial("anime", {"train.batch_size": 8}, 4000)


def sick() -> Iterator[tuple[str, Trial]]:
    """Each sickness, provoked in several ways."""
    won = "discriminator-won"
    for loss in ("bce", "lsgan", "hinge"):
        rates = slow_and_fast("g", "d", (1e-5, 5e-3))
        yield f"fast-discriminator-{loss}", Trial("anime", rates | {"loss.name": loss}, event=won)
    yield "fast-discriminator-cifar", Trial("cifar", slow_and_fast("g", "d", (1e-5, 5e-3)), event=won)
    yield "slow-generator", Trial("anime", optim("g", lr=1e-6), event=won)
    yield "joint", Trial("anime", {"train.joint": True}, event=won)
    for loss in ("bce", "lsgan", "hinge", "rsgan"):
        rates = slow_and_fast("d", "g", (1e-6, 5e-3))
        yield f"fast-generator-{loss}", Trial("anime", rates | {"loss.name": loss}, event="generator-won")
    yield "dead-discriminator", Trial("anime", optim("d", lr=1e-8), event="generator-won")
    rates = slow_and_fast("d", "g", (2e-5, 2e-3))
    yield "faster-generator", Trial("anime", rates, event="generator-won")
    slope = {"arch.slope": 0.0, "arch.d_norm": "none"}
    yield "no-slope", Trial("anime", slope, event="grey-images")
    yield "sgd-huge-rate", Trial("anime", optim("gd", name="sgd", lr=0.5), event="grey-images")
    yield "heavy-momentum", Trial("anime", optim("gd", betas=[0.99, 0.999]), event="mode-collapse")
    yield "heavy-momentum-mnist", Trial("mnist", optim("gd", betas=[0.99, 0.999]), event="mode-collapse")
    high = optim("gd", betas=[0.99, 0.999], lr=2e-3)
    yield "heavier-momentum", Trial("anime", high, event="mode-collapse")
    chase = optim("gd", betas=[0.9, 0.999], lr=1e-2)
    yield "chase", Trial("anime", chase, event="oscillation")
    yield "chase-spectral", Trial("anime", chase | {"arch.d_norm": "spectral"}, event="oscillation")
    lsgan = optim("g", betas=[0.9, 0.999], lr=1e-2) | optim("d", betas=[0.9, 0.999], lr=1e-3)
    yield "chase-lsgan", Trial("anime", lsgan | {"loss.name": "lsgan"}, event="oscillation")
    free = {"loss.name": "wgan", "loss.clip": 1.0, "train.d_steps": 5} | optim("d", name="sgd", lr=10.0)
    yield "unbounded-critic", Trial("anime", free, 1200, event="oscillation")
    yield "not-finite", Trial("anime", optim("gd", name="sgd", lr=5.0), event="not-finite")


RUNS: dict[str, Trial] = dict(healthy()) | dict(sick())


class Outcome(NamedTuple):
    """What was seen of a run."""

    events: list[Event]
    figures: dict[str, list[float]]
    """Of all looks from the step on at which they are judged."""


def run(trial: Trial, seed: int = 0) -> Outcome:
    """Train, and watch as a session does, until what must come has come."""
    values = SMALL | {"data.source": str(IMAGES[trial.images])} | dict(trial.settings) | {"train.steps": trial.steps}
    values |= {"train.seed": seed}
    if trial.images == "cifar":
        values |= {"data.limit": 10_000}
    recipe = read_recipe(ROOT / "examples" / trial.recipe) if trial.recipe else Layer()
    if trial.recipe:
        del values["train.batch_size"], values["arch.width"]
    layers = Layers(Layer({key: Value(value, "--set") for key, value in values.items()}), recipe)
    trainer = assemble(layers, load_data(layers.resolve(), lambda *_: None))
    dim, classes = trainer.settings.architecture.latent_dim, len(trainer.settings.spec.classes)
    layout = sampling.layout(kept(trainer), dim, classes, 0)
    signs = vitals.Vitals(trainer, layout, sampling.tells_classes(kept(trainer), dim, classes))
    state: dict[str, Any] = {}
    watch, outcome = Watch(trainer.settings, state), Outcome([], {})
    for report in trainer.run():
        events = examine(trainer, signs, watch, report, writes=False)
        outcome.events.extend(events)
        if any(event.name in (trial.event, NOT_FINITE) for event in events):
            break
        if signs.due(report.step):
            for name, value in _figures(Course(state["course"])):
                outcome.figures.setdefault(name, []).append(value)
    return outcome


def _figures(course: Course) -> Iterator[tuple[str, float]]:
    look, step = course.now, course.now.step
    if step >= 200:
        yield "separation", look.separation
        yield "faded (all)", max(course.fades.values(), default=1.0)
        yield "faded (a layer)", min(course.fades.values(), default=1.0)
    if step >= 500:
        yield "contrast", look.contrast
        yield "likeness", course.likeness
        yield "twins", look.twins
        yield "jump", course.jump
        yield "spread", course.spread
    if step >= 1000:
        if look.separation >= 0.99:
            yield "contrast (told)", look.contrast
            yield "growth (told)", course.growth
        yield "brightness", course.drift("brightness")
        yield "saturation", course.drift("saturation")


def main(names: Sequence[str], seed: int) -> None:
    """Print what was seen of each of the runs *names*, by default of all, trained with *seed*."""
    torch.set_num_threads(1)
    for name, trial in RUNS.items():
        if names and not name.startswith(tuple(names)):
            continue
        if isinstance(IMAGES[trial.images], Path) and not Path(IMAGES[trial.images]).exists():
            print(f"{name}: no images")
            continue
        try:
            outcome = run(trial, seed)
        except GanctlError as error:
            print(f"{name}: {error}")
            continue
        first = outcome.events[0].name if outcome.events else ""
        print(f"{name}: {'as it should be' if first == trial.event else f'{first or None} instead of {trial.event}'}")
        for figure, values in outcome.figures.items():
            known = [value for value in values if math.isfinite(value)]
            if known:
                print(f"  {figure:16} {min(known):8.3f} to {max(known):8.3f}")
        for event in outcome.events:
            print(f"  {event.text}")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="thresholds were chosen on runs of seed 0")
    main(**vars(parser.parse_args()))
