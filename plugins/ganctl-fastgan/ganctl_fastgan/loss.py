"""FastGAN's loss (Liu et al. 2021, arXiv:2101.04775): hinge, and what the discriminator cannot redraw."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import l1_loss, relu

from ganctl.api import Batch, Loss, Terms


class FastGAN(Loss):
    """Hinge, and the error of the discriminator's reconstructions of real images, for ``--arch fastgan``.

    D minimises E relu(m - D(x)) + E relu(m + D(G(z))) + reconstruction_weight (|x - D'(x)| + |x_part - D''(x)|), G
    minimises -E D(G(z)); the margin m is drawn anew for each logit, from 1 - softening to 1. The paper compares
    reconstructions by LPIPS, whose weights come from elsewhere; here it is the mean absolute difference of pixels.
    """

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"optim.g.lr": 2e-4, "optim.d.lr": 2e-4})

    softening: float = Field(default=0.2, ge=0, le=1, description="how far below 1 the margin may be")
    reconstruction_weight: float = Field(default=1.0, ge=0, le=1000, description="of what cannot be redrawn")

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """E relu(m - D(x)) + E relu(m + D(G(z))) + reconstruction_weight (|x - D'(x)| + |x_part - D''(x)|)."""
        terms = {"loss_d_real": self._hinge(real.logits), "loss_d_fake": self._hinge(-fake.logits)}
        for name in ("whole", "part"):
            error = l1_loss(real.aux[name].float(), real.aux[f"{name}_seen"].float())
            terms[f"loss_d_{name}"] = self.reconstruction_weight * error
        return terms

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-E D(G(z))."""
        return -fake.logits.mean()

    def _hinge(self, logits: Tensor) -> Tensor:
        """E relu(m - logits)."""
        return relu(1 - self.softening * torch.rand_like(logits) - logits).mean()
