"""The settings most likely to help against a sickness, given those that the run has. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from pydantic import ValidationError

from ganctl.config import OptimiserSettings, Settings

USUAL_RATE, USUAL_BETAS = 2e-4, (0.5, 0.999)
"""Of Adam, for either network (Radford, Metz & Chintala 2016, arXiv:1511.06434)."""

Change: TypeAlias = tuple[str, Any]
"""A setting's dotted key, and a value to try."""


def advice(sickness: str, settings: Settings) -> str:
    """Name the two settings most likely to help, as flags: ``"try --set arch.slope=0.3 or --set optim.d.lr=1e-4"``."""
    flags: dict[str, str] = {}
    for key, value in REMEDIES[sickness](settings):
        if len(flags) < 2 and _applies((key, value), settings):
            flags.setdefault(key, f"--set {key}={_toml(value)}")
    return f"try {' or '.join(flags.values())}"


def _collapse(settings: Settings) -> Iterator[Change]:
    yield from _momentum(settings)
    if 0 <= _option(settings, "slope") < 0.2:
        yield "arch.slope", 0.3
    yield from _slower(settings, "g", settings.optim.d.lr)
    yield "arch.d_norm", "spectral"
    yield "optim.d.lr", settings.optim.d.lr / 2
    yield "optim.g.lr", settings.optim.g.lr / 2


def _discriminator_won(settings: Settings) -> Iterator[Change]:
    if settings.train.joint:
        yield "train.joint", False
    yield from _faster(settings, "g")
    yield from _slower(settings, "d", settings.optim.g.lr)
    yield from _momentum(settings)
    if 0 <= _option(settings, "slope") < 0.2:
        yield "arch.slope", 0.2
    if settings.loss.recipe.get("train.d_steps", 1) < settings.train.d_steps:
        yield "train.d_steps", settings.loss.recipe.get("train.d_steps", 1)
    if _option(settings, "gp_weight", "loss") == 0 and settings.train.d_steps > 1:
        yield "loss.gp_weight", 10.0
    yield "optim.d.lr", settings.optim.d.lr / 4
    if settings.augment.noise < 0.1:
        yield "augment.noise", 0.1
    yield "optim.g.lr", settings.optim.g.lr / 4


def _generator_won(settings: Settings) -> Iterator[Change]:
    yield from _faster(settings, "d")
    yield from _momentum(settings, "dg")
    yield from _slower(settings, "g", settings.optim.d.lr)
    yield "train.d_steps", settings.train.d_steps + 1
    yield "optim.g.lr", settings.optim.g.lr / 4


def _weak_gradient(settings: Settings) -> Iterator[Change]:
    if _option(settings, "kernel") > 5:
        yield "arch.kernel", 4
    if 0 <= _option(settings, "slope") < 0.2:
        yield "arch.slope", 0.2
    for network in ("g", "d"):
        if getattr(settings.architecture, f"{network}_norm", "") == "none" and network not in _penalised(settings):
            yield f"arch.{network}_norm", "batch"
    yield from _decay(settings)
    yield from _discriminator_won(settings)


def _oscillation(settings: Settings) -> Iterator[Change]:
    yield from _momentum(settings)
    yield from _slower(settings, "d", USUAL_RATE)
    yield from _slower(settings, "g", USUAL_RATE)
    yield "optim.g.lr", settings.optim.g.lr / 4
    yield "optim.d.lr", settings.optim.d.lr / 4


def _drift(settings: Settings) -> Iterator[Change]:
    if settings.augment.colour:
        yield "augment.colour", 0
    yield from _decay(settings)
    yield "optim.g.lr", settings.optim.g.lr / 2
    yield "arch.d_norm", "spectral"
    yield "train.d_steps", settings.train.d_steps + 1


def _not_finite(settings: Settings) -> Iterator[Change]:
    if settings.train.precision != "fp32":
        yield "train.precision", "fp32"
    faster = "g" if settings.optim.g.lr > settings.optim.d.lr else "d"
    for network in (faster, "g", "d"):
        mine = _optimiser(settings, network)
        if mine.lr > USUAL_RATE or network == faster:
            yield f"optim.{network}.lr", min(mine.lr / 10, USUAL_RATE)
    yield f"optim.{faster}.clip", 1.0


def _best_long_past(settings: Settings) -> Iterator[Change]:
    if not settings.augment.translation:
        yield "augment.translation", True
    if settings.optim.g.decay == "none":
        yield "optim.g.decay", "linear"
    yield "optim.d.lr", settings.optim.d.lr / 2
    yield "optim.g.lr", settings.optim.g.lr / 2


REMEDIES: Mapping[str, Callable[[Settings], Iterator[Change]]] = MappingProxyType(
    {
        "not-finite": _not_finite,
        "generator-won": _generator_won,
        "grey-images": _weak_gradient,
        "discriminator-won": _discriminator_won,
        "vanishing-gradient": _weak_gradient,
        "mode-collapse": _collapse,
        "oscillation": _oscillation,
        "brightness-drift": _drift,
        "saturation-drift": _drift,
        "best-long-past": _best_long_past,
    }
)
"""By sickness: what to try, the best first. What the run's plugins do not have, or have so already, is passed over."""


def _optimiser(settings: Settings, network: str) -> OptimiserSettings:
    return settings.optim.g if network == "g" else settings.optim.d


def _momentum(settings: Settings, networks: str = "gd") -> Iterator[Change]:
    """Less of it: it carries each network past where the other is by then."""
    for network in networks:
        mine = _optimiser(settings, network)
        if "adam" in mine.name.lower() and mine.betas[0] > USUAL_BETAS[0]:
            yield f"optim.{network}.betas", list(USUAL_BETAS)


def _slower(settings: Settings, network: str, rate: float) -> Iterator[Change]:
    least = max(rate, USUAL_RATE / 10)
    if _optimiser(settings, network).lr > least:
        yield f"optim.{network}.lr", least


def _faster(settings: Settings, network: str) -> Iterator[Change]:
    mine = _optimiser(settings, network)
    if mine.lr < USUAL_RATE / 4 and "adam" in mine.name.lower():
        yield f"optim.{network}.lr", USUAL_RATE


def _decay(settings: Settings) -> Iterator[Change]:
    for network in ("g", "d"):
        if _optimiser(settings, network).weight_decay:
            yield f"optim.{network}.weight_decay", 0


def _penalised(settings: Settings) -> str:
    """Return "d" where a penalty on each image's gradient rules out batch normalisation of the discriminator."""
    weights = (_option(settings, f"{name}_weight", "loss") for name in ("r1", "r2", "gp"))
    return "d" if any(weight > 0 for weight in weights) else ""


def _option(settings: Settings, name: str, table: str = "arch") -> float:
    """Return an option that is a number, or -1 where the plugin has none of that name."""
    value = getattr(settings.architecture if table == "arch" else settings.loss, name, None)
    return value if isinstance(value, int | float) else -1


def _applies(change: Change, settings: Settings) -> bool:
    """Whether the run has such a setting, and it is not so already."""
    key, value = change
    table, name = key.rsplit(".", 1)
    models = {"arch": settings.architecture, "loss": settings.loss, "train": settings.train}
    models |= {"augment": settings.augment, "optim.g": settings.optim.g, "optim.d": settings.optim.d}
    before = models[table].model_dump()
    if name not in before:
        return False
    try:
        after = type(models[table]).model_validate(before | {name: value}).model_dump()
    except ValidationError:
        return False
    # Weights that are clipped cannot be normalised too.
    clipped = "clip" in type(settings.loss).model_fields and value == "spectral"
    return after != before and not clipped


def _toml(value: Any) -> str:
    """Return *value* as one types it after ``--set``."""
    if isinstance(value, list):
        return f"[{','.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.2g}".replace("e-0", "e-") if isinstance(value, float) and value < 0.5 else str(value)
