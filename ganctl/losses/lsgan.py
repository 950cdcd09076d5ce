"""Least squares, whose gradient does not fade far from the boundary (Mao et al. 2017, arXiv:1611.04076)."""

from __future__ import annotations

from ganctl.api import Batch, PenalisedLoss, Terms


class LSGAN(PenalisedLoss):
    """The squares of how far the answers are from 1 for real images and from 0 for fakes.

    D minimises (D(x) - 1)^2 / 2 + D(G(z))^2 / 2, and G minimises (D(G(z)) - 1)^2 / 2 (Mao et al. 2017,
    arXiv:1611.04076, with a = 0 and b = c = 1). The answers are bare numbers, so that the scores that ganctl shows,
    which are their sigmoids, lie about s(1) = 0.73 for real images and s(0) = 0.5 for fakes.
    """

    api_version = 1

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """(D(x) - 1)^2 / 2 + D(G(z))^2 / 2."""
        return {
            "loss_d_real": (real.logits - 1).square().mean() / 2,
            "loss_d_fake": fake.logits.square().mean() / 2,
        }

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """(D(G(z)) - 1)^2 / 2."""
        return (fake.logits - 1).square().mean() / 2
