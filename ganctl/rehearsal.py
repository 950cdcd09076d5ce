"""One step on copies before the first real one, so that plugins that do not go together are refused by name."""

from __future__ import annotations

import traceback
from dataclasses import replace

import numpy as np
import torch

from ganctl.config import Settings
from ganctl.data.batches import Batches
from ganctl.errors import GanctlError, PluginError, plain
from ganctl.sampling import latents
from ganctl.trainer import Trainer

BATCH = 4


def _idle(trainer: Trainer) -> set[str]:
    """Return the parameters' names, from which those that a gradient reaches are struck while *trainer* runs."""
    idle: set[str] = set()
    for player, network in (("generator", trainer.generator), ("discriminator", trainer.discriminator)):
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                key = f"{player}.{name}"
                idle.add(key)
                parameter.register_post_accumulate_grad_hook(lambda _, key=key: idle.discard(key))  # type: ignore[no-untyped-call]
    return idle


def rehearse(settings: Settings, device: torch.device, precision: torch.dtype) -> None:
    """Train fresh networks for one step on noise.

    Raise :class:`GanctlError` that names the architecture and the loss where they do not go together.
    """
    changes = {
        "batch_size": BATCH,
        "g_batch_size": None,
        "d_steps": 1,
        "epochs": 1,
        "steps": 1,
        "images": None,
        "ema": 0,
    }
    small = replace(settings, train=settings.train.model_copy(update=changes))
    spec = settings.spec
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (BATCH, spec.size, spec.size, spec.channels), np.uint8)
    labels = np.arange(BATCH) % len(spec.classes) if spec.classes else None
    pair = f"{settings.entries['arch'].name} with {settings.entries['loss'].name}"
    try:
        trainer = Trainer(small, Batches(pixels, labels, seed=0, device=device), device, precision)
        given = None if labels is None else torch.from_numpy(labels).to(device)
        with torch.no_grad(), trainer.random:
            images = trainer.generator(latents(0, BATCH, settings.architecture.latent_dim).to(device), given)
        shape = (BATCH, spec.channels, spec.size, spec.size)
        if tuple(images.shape) != shape:
            raise GanctlError(f"the generator draws images of shape {tuple(images.shape)}, not {shape}")
        idle = _idle(trainer)
        for _ in trainer.run():
            pass
        if idle:
            raise GanctlError(
                f"nothing trains {', '.join(sorted(idle)[:3])}; choose a loss that uses what it is for, "
                f"or options that leave it out, which ganctl show {settings.entries['arch'].name} lists"
            )
    except GanctlError as error:
        raise GanctlError(f"{pair}: {error}") from error
    except (torch.OutOfMemoryError, MemoryError):
        raise GanctlError(f"{pair}: the networks do not fit into memory; lower --size or arch.width") from None
    except Exception as error:
        if "can't allocate memory" in str(error):  # what torch says of it on a CPU
            raise GanctlError(f"{pair}: the networks do not fit into memory; lower --size or arch.width") from error
        frame = traceback.extract_tb(error.__traceback__)[-1]
        owners = " or ".join(sorted({settings.entries["arch"].owner, settings.entries["loss"].owner}))
        raise PluginError(
            f"{pair} cannot train: {plain(f'{type(error).__name__}: {error}')} ({frame.filename}, "
            f"line {frame.lineno}); choose others, or tell the author of {owners}"
        ) from error
