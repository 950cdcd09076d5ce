"""Blocks that architectures share."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["batch", "instance", "layer", "spectral", "none"]
"""How a layer is normalised: its output by batch, image or layer; its weight by its spectral norm; or not."""


def normalised(layer: nn.Module, norm: Norm, channels: int) -> list[nn.Module]:
    """Return *layer* and what normalises it; ``layer.bias`` should be off where :func:`has_own_bias` is true.

    References: Ioffe & Szegedy 2015 (batch), Ulyanov et al. 2016 (instance), Ba et al. 2016 (layer, here over
    channels and positions), Miyato et al. 2018 (spectral).
    """
    match norm:
        case "batch":
            return [layer, nn.BatchNorm2d(channels)]
        case "instance":
            return [layer, nn.InstanceNorm2d(channels, affine=True)]
        case "layer":
            return [layer, nn.GroupNorm(1, channels)]
        case "spectral":
            return [spectral_norm(layer)]
        case "none":
            return [layer]


def has_own_bias(norm: Norm) -> bool:
    """Whether *norm* adds a learnt offset itself, which makes a bias before it useless."""
    return norm in ("batch", "instance", "layer")


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Initialise as DCGAN does: weights N(0, std), norms' scales N(1, std), offsets 0 (Radford et al. 2016)."""
    for layer in module.modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            # A spectrally normalised weight is a view of its original, and only that can be written to.
            parametrised = getattr(layer, "parametrizations", None)
            nn.init.normal_(parametrised.weight.original if parametrised else layer.weight, 0.0, std)
        elif isinstance(weight, Tensor):
            nn.init.normal_(weight, 1.0, std)
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)
