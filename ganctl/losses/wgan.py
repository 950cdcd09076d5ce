"""The Wasserstein loss with weight clipping (Arjovsky, Chintala & Bottou 2017, arXiv:1701.07875)."""

from __future__ import annotations

from types import MappingProxyType

import torch
from pydantic import Field
from torch.nn.utils.parametrize import is_parametrized

from ganctl.api import Batch, PenalisedLoss, Step, Terms
from ganctl.errors import GanctlError


class WGAN(PenalisedLoss):
    """An estimate of the earth mover's distance between real and fake, by a critic whose weights are clipped.

    D minimises D(G(z)) - D(x), and G minimises -D(G(z)); after each of the critic's steps all its weights are clipped
    to [-clip, clip], which keeps it from being arbitrarily steep (Arjovsky et al. 2017, arXiv:1701.07875). Minus the
    discriminator's loss estimates the distance, up to a factor: it should fall as the images get better. A critic's
    answers have no zero, so that the scores and the accuracy which ganctl shows say little.
    """

    api_version = 1
    recipe = MappingProxyType(
        {
            "train.d_steps": 5,
            "arch.d_norm": "batch",
            "optim.g.name": "rmsprop",
            "optim.d.name": "rmsprop",
            "optim.g.lr": 5e-5,
            "optim.d.lr": 5e-5,
        }
    )

    clip: float = Field(default=0.01, gt=0, le=1, description="largest size of a weight of the critic")

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """D(G(z)) - D(x)."""
        return {"loss_d_real": -real.logits.mean(), "loss_d_fake": fake.logits.mean()}

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-D(G(z))."""
        return -fake.logits.mean()

    @torch.no_grad()
    def after_discriminator_step(self, step: Step) -> None:
        """Clip the critic's weights. Raise :class:`GanctlError` under spectral normalisation, which would undo it."""
        if any(is_parametrized(layer) for layer in step.discriminator.modules()):
            raise GanctlError(
                "spectral normalisation scales weights and so undoes their clipping; "
                "choose --set arch.d_norm=batch, or --loss hinge"
            )
        weights: list[torch.Tensor] = [*step.discriminator.parameters()]
        torch._foreach_clamp_min_(weights, -self.clip)
        torch._foreach_clamp_max_(weights, self.clip)
