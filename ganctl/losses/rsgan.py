"""The relativistic loss (Jolicoeur-Martineau 2018, arXiv:1807.00734)."""

from __future__ import annotations

from torch.nn.functional import softplus

from ganctl.api import Batch, PenalisedLoss, Terms


class RSGAN(PenalisedLoss):
    """Whether a real image looks more real than the fake beside it, in place of whether either looks real.

    With s the sigmoid, D minimises -log s(D(x) - D(G(z))), and G minimises -log s(D(G(z)) - D(x)), whose gradient
    comes from real images, too (Jolicoeur-Martineau 2018, arXiv:1807.00734). Only differences of logits count, so that
    the scores which ganctl shows may drift up or down together.
    """

    api_version = 1

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """-log s(D(x) - D(G(z)))."""
        return softplus(fake.logits - real.logits).mean()

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-log s(D(G(z)) - D(x))."""
        return softplus(real.logits - fake.logits).mean()
