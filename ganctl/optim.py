"""Optimisers by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from types import MethodType

import torch
from torch import nn

from ganctl.config import OptimiserSettings
from ganctl.errors import GanctlError, did_you_mean, plain


def classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Return torch.optim's optimisers by their names in small letters, without those that need more than gradients."""
    unfit = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
    return {
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and name not in unfit
    }


def rate(settings: OptimiserSettings, progress: float) -> float:
    """Return the learning rate when the share *progress* of the run is over."""
    fallen = max(0.0, (progress - settings.decay_from) / (1 - settings.decay_from))
    match settings.decay:
        case "none":
            return settings.lr
        case "linear":
            return settings.lr * (1 - fallen)
        case "cosine":
            return settings.lr * (1 + math.cos(math.pi * fallen)) / 2


def make(
    settings: OptimiserSettings, parameters: Iterable[nn.Parameter], device: torch.device, key: str, insist: bool
) -> torch.optim.Optimizer:
    """Make the optimiser of *settings*, which are the table *key*.

    Betas go only to optimisers that take them. Raise :class:`GanctlError` for an unknown name, or where the user
    *insists* on betas that the optimiser does not take.
    """
    known = classes()
    if settings.name.lower() not in known:
        raise GanctlError(
            f"{key}.name: torch.optim has no {plain(settings.name)!r}{did_you_mean(settings.name, known)}"
        )
    cls = known[settings.name.lower()]
    takes = inspect.signature(cls).parameters
    arguments: dict[str, object] = {"lr": settings.lr}
    if "weight_decay" in takes:
        arguments["weight_decay"] = settings.weight_decay
    elif settings.weight_decay:
        raise GanctlError(f"{key}.weight_decay: {settings.name} takes none; leave it out")
    if "betas" in takes:
        arguments["betas"] = settings.betas
    elif insist:
        raise GanctlError(f"{key}.betas: {settings.name} takes no betas; leave them out")
    if "fused" in takes and device.type in ("cpu", "cuda"):
        arguments["fused"] = True
    _hide_from_compiler()
    optimiser = cls(parameters, **arguments)  # type: ignore[arg-type]
    optimiser.step = MethodType(torch.no_grad()(inspect.unwrap(cls.step)), optimiser)  # type: ignore[method-assign]
    return optimiser


def _hide_from_compiler() -> None:
    """Keep torch.optim from importing torch's compiler, which takes seconds, only to hide from it what is not compiled.

    The attribute is where torch keeps what that import leads to; a torch that looks elsewhere imports it, as before.
    Steps import it as well, if they are not unwrapped.
    """
    for method in vars(torch.optim.Optimizer).values():
        hidden = getattr(method, "__wrapped__", None)
        if hidden and not hasattr(hidden, "__dynamo_disable"):
            hidden.__dynamo_disable = hidden
