"""Tiny settings, data and trainers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ganctl.config import Settings
from ganctl.data.batches import Batches
from ganctl.resolve import Layer, Value, resolve
from ganctl.trainer import Trainer

CPU = torch.device("cpu")


def layer(values: dict[str, Any] | None = None, exact: bool = True, source: str = "--set") -> Layer:
    """A layer of settings from one source."""
    return Layer({key: Value(value, source) for key, value in (values or {}).items()}, exact)


def settings(images: int | None = None, **changes: Any) -> Settings:
    """Settings of a network that trains in milliseconds; keys are written with ``__`` for the dot."""
    values = {"data.size": 16, "data.count": 40, "arch.width": 2, "arch.latent_dim": 4, "train.batch_size": 8}
    values |= {"train.epochs": 2, "train.log_every": 3} | {key.replace("__", "."): v for key, v in changes.items()}
    return resolve(layer({key: value for key, value in values.items() if value is not None}), images=images)


def batches(count: int = 40, size: int = 16, channels: int = 3, **options: Any) -> Batches:
    """Batches of noise in two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
    return Batches(pixels, np.arange(count) % 2, **{"seed": 0, "device": CPU} | options)


def trainer(count: int = 40, flip: bool = True, **changes: Any) -> Trainer:
    """A trainer on noise."""
    return Trainer(settings(count, **changes), batches(count, flip=flip), CPU, torch.float32)
