"""The Wasserstein loss with a gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028)."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field

from ganctl.api import Batch, PenalisedLoss, Terms


class WGANGP(PenalisedLoss):
    """An estimate of the earth mover's distance, by a critic that is taught to be about as steep as 1 everywhere.

    D minimises D(G(z)) - D(x) + gp_weight E (|grad D(x')| - 1)^2, where x' lies between a real image and a fake, and G
    minimises -D(G(z)) (Gulrajani et al. 2017, arXiv:1704.00028). The critic must not be batch-normalised.
    """

    api_version = 1
    recipe = MappingProxyType(
        {"train.d_steps": 5, "arch.d_norm": "layer", "optim.g.betas": (0.0, 0.9), "optim.d.betas": (0.0, 0.9)}
    )

    gp_weight: float = Field(default=10.0, ge=0, description="of the penalty, on the gradients between real and fake")

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """D(G(z)) - D(x)."""
        return {"loss_d_real": -real.logits.mean(), "loss_d_fake": fake.logits.mean()}

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-D(G(z))."""
        return -fake.logits.mean()
