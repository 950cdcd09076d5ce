"""The sicknesses that a training is watched for, and the thresholds beyond which it has them. No torch.

``tests/health_runs.py`` found the thresholds. Beside each are the worst that was seen of healthy runs, of every loss on
several data sets, and the best of those in which the sickness was provoked. What is sick beyond the first number is
well only beyond the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ganctl.errors import plain
from ganctl.health.course import Course

GENERATOR_WON = (0.1, 0.25)
"""Separation. Healthy after 200 steps: 0.40 at least; with a discriminator that hardly learns: 0.09 at most."""

GREY = (0.08, 0.16)
"""Contrast. Healthy after 500 steps: 0.18 at least; with kernels of 7, or slopes of 0: 0.03 to 0.06."""

TOLD_ALL = (0.99, 0.97)
"""Separation. Healthy runs are often there, so that it takes one of the next two besides."""

STUCK, GROWTH = (0.2, 0.3), 1.3
"""Contrast, and how many times that of ten looks ago it is. Healthy, where all are told apart: 0.29 at least after 500
steps, 1.5 times; with a discriminator that learns too fast: 0.12 to 0.16, 1.15 times at most."""

FADED = (0.02, 0.06)
"""What is left of a layer's gradient. Healthy: 0.09 at least; with judgements of both in one batch: 0.007 at most."""

COLLAPSED, TWINS = (0.33, 0.5), (0.6, 0.3)
"""Likeness, and share of near-copies. Healthy after 500 steps: 0.66 at least, copies up to 0.47 in passing; with too
much momentum, or classes that drown the latents: a likeness of 0.24 at most."""

JUMPY, SWINGING = (0.6, 0.45), (0.28, 0.2)
"""Jump, and spread of the separation. Healthy after 500 steps: 0.38 and 0.22 at most, and 0.5 once; with high rates and
momentum: 0.6 to 1.1, and with a critic that nothing bounds 0.32."""

BRIGHTNESS_DRIFT, SATURATION_DRIFT = (0.1, 0.05), (0.5, 0.25)
"""Drift of either, the saturation's in logarithms. Healthy after 1000 steps: 0.03 and 0.27 at most; no setting alone
brought a sick one, and a loss that dims the samples 0.1 within 200 steps."""


class Sickness(NamedTuple):
    """One that is watched for."""

    name: str
    title: str
    start: int
    """The step from which it is judged: healthy runs are past their beginning."""
    judge: Callable[[Course], bool | None]
    """Whether the run has it; None where that is open."""
    finding: Callable[[Course], str]
    """What is seen of it, now."""
    cause: str
    """The likely one."""


def beyond(value: float, sick: float, well: float) -> bool | None:
    """Tell whether *value* is past *sick*, seen from *well*: True, or False past *well*, or None between the two."""
    if sick > well:
        value, sick, well = -value, -sick, -well
    return True if value <= sick else False if value >= well else None


def _generator_won(course: Course) -> bool | None:
    return beyond(course.now.separation, *GENERATOR_WON)


def _grey(course: Course) -> bool | None:
    return beyond(course.now.contrast, *GREY)


def _discriminator_won(course: Course) -> bool | None:
    told = beyond(course.now.separation, *TOLD_ALL)
    faded = beyond(max(course.fades.values(), default=1.0), *FADED)
    contrast = beyond(course.now.contrast, *STUCK)
    stuck = contrast and course.now.step >= 1000 and course.growth <= GROWTH
    if told and (faded or stuck):
        return True
    return False if told is False or (faded is False and contrast is False) else None


def _vanishing(course: Course) -> bool | None:
    return beyond(min(course.fades.values(), default=1.0), *FADED)


def _collapse(course: Course) -> bool | None:
    return _either(beyond(course.likeness, *COLLAPSED), beyond(course.now.twins, *TWINS))


def _oscillation(course: Course) -> bool | None:
    return _either(beyond(course.jump, *JUMPY), beyond(course.spread, *SWINGING))


def _brightness_drift(course: Course) -> bool | None:
    return beyond(course.drift("brightness"), *BRIGHTNESS_DRIFT)


def _saturation_drift(course: Course) -> bool | None:
    return beyond(course.drift("saturation"), *SATURATION_DRIFT)


def _either(one: bool | None, other: bool | None) -> bool | None:
    return True if one or other else False if one is False and other is False else None


def _wrong_way_round(course: Course) -> str:
    return f"the discriminator judges {1 - course.now.separation:.0%} of samples more real than images"


def _without_contrast(course: Course) -> str:
    return f"samples have {_percent(course.now.contrast)} of the images' contrast; {_weakest(course)}"


def _told_apart(course: Course) -> str:
    told = f"the discriminator tells {course.now.separation:.0%} of samples from images"
    return f"{told}; these samples have {_percent(course.now.contrast)} of the images' contrast; {_weakest(course)}"


def _weakest(course: Course) -> str:
    if not course.fades:
        return "the generator has no gradient"
    layer, fade = min(course.fades.items(), key=lambda item: item[1])
    return f"{_percent(fade)} is left of the generator's gradient at {plain(layer)}"


def _alike(course: Course) -> str:
    twins = f", and {_percent(course.now.twins)} of them are near-copies of others" if course.now.twins else ""
    return f"samples differ {_percent(course.now.variety)} as much as the images do{twins}"


def _changing(course: Course) -> str:
    return (
        f"from look to look samples change {_percent(course.jump)} as much as images differ, and how many the "
        f"discriminator tells from images swings by {course.spread:.0%}"
    )


def _tinted(course: Course) -> str:
    (then, epoch), now = course.nearest("brightness"), course.offset("brightness")
    word = "darker" if now < 0 else "lighter"
    return f"samples are {abs(now):.0%} {word} than the images, and were {abs(then):.0%} off in epoch {epoch}"


def _coloured(course: Course) -> str:
    (then, epoch), now = course.nearest("saturation"), course.offset("saturation")
    return f"samples are {math.exp(now):.0%} as colourful as the images, and were {math.exp(then):.0%} in epoch {epoch}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or not share else f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


SICKNESSES = (
    Sickness(
        "generator-won", "the generator has won", 200, _generator_won, _wrong_way_round, "it learns too little"
    ),
    Sickness("grey-images", "grey images", 500, _grey, _without_contrast, "too little reaches the first layers"),
    Sickness(
        "discriminator-won", "the discriminator has won", 200, _discriminator_won, _told_apart,
        "the generator learns nothing from it any more",
    ),
    Sickness(
        "vanishing-gradient", "vanishing gradient", 200, _vanishing, _weakest, "the layers before it learn nothing"
    ),
    Sickness(
        "mode-collapse", "mode collapse", 500, _collapse, _alike, "a few images are all that the generator needs"
    ),
    Sickness("oscillation", "oscillation", 500, _oscillation, _changing, "the two chase each other"),
    Sickness(
        "brightness-drift", "brightness drifts", 1000, _brightness_drift, _tinted, "the discriminator lets it pass"
    ),
    Sickness(
        "saturation-drift", "saturation drifts", 1000, _saturation_drift, _coloured, "the discriminator lets it pass"
    ),
)  # fmt: skip
"""While a run has one, those after it do not begin: they would be its consequences."""
