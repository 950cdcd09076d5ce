"""R3GAN's loss (Huang et al. 2024, arXiv:2501.05441): relativistic pairs, and both gradient penalties."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from ganctl import penalties
from ganctl.api import Batch, Loss, Step, Terms


class R3GAN(Loss):
    """Whether a real image looks more real than the fake beside it, with gradients at both held small.

    With s the sigmoid, D minimises -log s(D(x) - D(G(z))) + gamma / 2 (|grad D(x)|^2 + |grad D(G(z))|^2), and G
    minimises -log s(D(G(z)) - D(x)). With both penalties, in every step, the game converges locally, which it does not
    without (Huang et al. 2024, arXiv:2501.05441). The paper takes a gamma of 0.05 for CIFAR-10 and 2 for faces of 64
    px, and lets it fall to a tenth.
    """

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"arch.d_norm": "none"})

    gamma: float = Field(default=0.1, ge=0, le=1000, description="of the penalties R1 and R2")
    gamma_falls: int = Field(
        default=0, ge=0, le=10**12, description="real images over which gamma falls to a tenth; 0: it stays as it is"
    )

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """-log s(D(x) - D(G(z)))."""
        return softplus(fake.logits - real.logits).mean()

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-log s(D(G(z)) - D(x))."""
        return softplus(real.logits - fake.logits).mean()

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        """gamma / 2 |grad D(x)|^2 and gamma / 2 |grad D(G(z))|^2."""
        fallen = min(step.images / self.gamma_falls, 1.0) if self.gamma_falls else 0.0
        gamma = self.gamma * 0.1**fallen
        return {"loss_d_r1": gamma * penalties.r1(real, step), "loss_d_r2": gamma * penalties.r2(fake, step)}
