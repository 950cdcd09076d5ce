"""The hinge loss (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957)."""

from __future__ import annotations

from torch.nn.functional import relu

from ganctl.api import Batch, PenalisedLoss, Terms


class Hinge(PenalisedLoss):
    """Answers beyond a margin of 1 on the right side cost the discriminator nothing.

    D minimises max(0, 1 - D(x)) + max(0, 1 + D(G(z))), and G minimises -D(G(z)) (Lim & Ye 2017, arXiv:1705.02894).
    It goes well with spectral normalisation of the discriminator (Miyato et al. 2018, arXiv:1802.05957).
    """

    api_version = 1

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """max(0, 1 - D(x)) + max(0, 1 + D(G(z)))."""
        return {"loss_d_real": relu(1 - real.logits).mean(), "loss_d_fake": relu(1 + fake.logits).mean()}

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-D(G(z))."""
        return -fake.logits.mean()
