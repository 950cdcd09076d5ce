"""Binary cross-entropy, the non-saturating loss of the first GAN (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ganctl.api import Batch, Loss, Terms


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean of -t log s(x) - (1 - t) log(1 - s(x)) with s the sigmoid, which is softplus(x) - t x; finite for any x."""
    return (softplus(logits) - target * logits).mean()


class BCE(Loss):
    """Real or fake as a classification, on logits.

    D minimises -log D(x) - log(1 - D(G(z))), and G minimises -log D(G(z)), whose gradient is strong when G is losing
    (Goodfellow et al. 2014, arXiv:1406.2661). Label smoothing teaches D to be less than certain of real images only
    (Salimans et al. 2016, arXiv:1606.03498).
    """

    api_version = 1

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="how far below 1 the target of real images is, for the discriminator"
    )

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """-log D(x) - log(1 - D(G(z)))."""
        return {
            "loss_d_real": cross_entropy(real.logits, 1 - self.label_smoothing),
            "loss_d_fake": cross_entropy(fake.logits, 0.0),
        }

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-log D(G(z))."""
        return cross_entropy(fake.logits, 1.0)
