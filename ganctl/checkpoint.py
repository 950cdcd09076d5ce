"""All that a run needs to go on exactly, in one safetensors file: tensors, and plain values as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ganctl import weights
from ganctl.errors import GanctlError, plain
from ganctl.run import FORMAT, check_format
from ganctl.trainer import Trainer

KEY = "ganctl.checkpoint"


def save(path: Path, trainer: Trainer, log_bytes: int) -> None:
    """Write the state of *trainer*, and how long metrics.jsonl was then."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {
        "format": FORMAT,
        "step": trainer.step,
        "images": trainer.images,
        "seconds": trainer.seconds,
        "log_bytes": log_bytes,
        "notes": trainer.notes,
    }
    values["settings"] = _decisive(trainer)
    about = weights.header(trainer.settings, ema=False, step=trainer.step, images=trainer.images)
    values["generator"] = about.model_dump(mode="json")
    for name, network in _networks(trainer).items():
        tensors |= _under(name, network.state_dict())
    for name, optimiser in (("g_optimiser", trainer.g_optimiser), ("d_optimiser", trainer.d_optimiser)):
        state = optimiser.state_dict()
        values[name] = state["param_groups"]
        for index, entries in state["state"].items():
            tensors |= _under(f"{name}.{index}", entries)
    for name, meter in trainer.meters.items():
        sums, values[f"{name}_meter"] = meter.state()
        tensors |= _under(f"{name}_meter", sums)
    tensors |= _under("loss", trainer.loss_state) | _under("random", trainer.random.state)
    values["scalers"] = [trainer.g_scaler.state_dict(), trainer.d_scaler.state_dict()]
    weights.save(path, tensors, values, KEY)


def load(path: Path, trainer: Trainer) -> int:
    """Bring *trainer* to the state in *path*, and return how long metrics.jsonl was then.

    Raise :class:`~ganctl.weights.Unreadable` where the file is damaged, before anything is changed, and
    :class:`GanctlError` where it is another network's.
    """
    tensors, values = weights.read(path, KEY)
    check_format(values, path)
    sources = trainer.settings.sources
    for key, value in _decisive(trainer).items():
        if key not in values["settings"] and key not in sources:
            continue  # an option that was not there yet
        if values["settings"].get(key) != value:
            raise GanctlError(
                f"{key} was {values['settings'].get(key)!r} when {plain(path.name)} was written, and config.toml says "
                f"{value!r}; put it back, or start another run from these weights with ganctl train --init RUN"
            )
    for name, network in _networks(trainer).items():
        weights.fit(network, _of(name, tensors), path)
    for name, optimiser in (("g_optimiser", trainer.g_optimiser), ("d_optimiser", trainer.d_optimiser)):
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        for key, tensor in _of(name, tensors).items():
            index, entry = key.split(".", 1)
            like = parameters[int(index)]
            if tensor.shape == like.shape:
                # A fused optimiser walks through memory, and so needs the moments laid out as their parameter is.
                tensor = torch.empty_like(like, dtype=tensor.dtype, device="cpu").copy_(tensor)
            state.setdefault(int(index), {})[entry] = tensor
        groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in values[name]]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    for name, meter in trainer.meters.items():
        sums = {key: tensor.to(trainer.device) for key, tensor in _of(f"{name}_meter", tensors).items()}
        if f"{name}_meter" in values:  # the first checkpoints have none of what is watched
            meter.restore(sums, values[f"{name}_meter"])
    trainer.notes.update(values.get("notes", {}))
    trainer.loss_state.update({key: tensor.to(trainer.device) for key, tensor in _of("loss", tensors).items()})
    random = _of("random", tensors)
    if random.keys() != trainer.random.state.keys():
        raise GanctlError(f"{plain(path)} was made on another kind of device; set train.device in config.toml to it")
    trainer.random.state = random
    for scaler, state_dict in zip((trainer.g_scaler, trainer.d_scaler), values["scalers"], strict=True):
        scaler.load_state_dict(state_dict)
    trainer.step, trainer.images, trainer.seconds = values["step"], values["images"], values["seconds"]
    return int(values["log_bytes"])


def export(path: Path, ema: bool | None, output: Path) -> weights.Header:
    """Write the generator in the checkpoint at *path* to *output*, usable alone, and return what the file says of it.

    *ema* chooses the averaged weights or the last ones; None, what training exports. Raise :class:`GanctlError` where
    there are no averaged ones.
    """
    tensors, values = weights.read(path, KEY)
    has_average = values["settings"]["train.ema"] > 0
    if ema and not has_average:
        raise GanctlError(f"{plain(path)} has no averaged weights, for it was trained with train.ema = 0; use --no-ema")
    averaged = has_average if ema is None else ema
    about = weights.Header.model_validate(values["generator"] | {"ema": averaged})
    weights.save(output, _of("ema" if averaged else "generator", tensors), about.model_dump(mode="json"))
    return about


def _decisive(trainer: Trainer) -> dict[str, Any]:
    """Return the settings that have to stay as they are for the run to go on exactly."""
    may_change = {"epochs", "steps", "log_every", "sample_every", "checkpoint_every", "checkpoint_minutes", "keep"}
    may_change |= {"keep_every", "eval_every", "log", "device", "init"}
    keys = {"data.source", "data.on_error"} | {f"train.{name}" for name in may_change}
    rows = [row for row in trainer.settings.rows() if not row[0].startswith("metric.")]
    settings = {key: value for key, value, _ in rows if key not in keys}
    return cast("dict[str, Any]", json.loads(json.dumps(settings)))


def _networks(trainer: Trainer) -> dict[str, Any]:
    return {"generator": trainer.generator, "discriminator": trainer.discriminator, "ema": trainer.ema.network}


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _of(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
