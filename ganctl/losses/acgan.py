"""Adversarial and auxiliary classification (Odena, Olah & Shlens 2017, arXiv:1610.09585)."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from ganctl.api import Batch, Terms
from ganctl.judging import named
from ganctl.losses.bce import BCE


class ACGAN(BCE):
    """Binary cross-entropy, and telling the classes of real images and of fakes, in which both networks work together.

    With C the discriminator's auxiliary classifier, D minimises BCE + class_weight (CE(C(x), y) + CE(C(G(z, y)), y)),
    and G minimises BCE + class_weight CE(C(G(z, y)), y) (Odena et al. 2017, arXiv:1610.09585). It needs labelled data
    and a discriminator with a classifier: ``arch.conditioning=auxiliary``, which its recipe sets.
    """

    api_version = 1
    recipe = MappingProxyType({"arch.conditioning": "auxiliary"})

    class_weight: float = Field(
        default=1.0, gt=0, le=100, description="of the classification, beside the adversarial part"
    )

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """BCE + class_weight (CE(C(x), y) + CE(C(G(z, y)), y))."""
        return named("loss_d", super().discriminator_loss(real, fake)) | {
            "loss_d_class_real": self._class_loss(real),
            "loss_d_class_fake": self._class_loss(fake),
        }

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """BCE + class_weight CE(C(G(z, y)), y)."""
        return named("loss_g_adversarial", super().generator_loss(fake, real)) | {
            "loss_g_class": self._class_loss(fake)
        }

    def _class_loss(self, batch: Batch) -> Tensor:
        return self.class_weight * cross_entropy(batch.class_logits, batch.labels)
