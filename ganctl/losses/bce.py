"""Binary cross-entropy, the non-saturating loss of the first GAN (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn.functional import softplus

from ganctl.api import Batch, PenalisedLoss, Terms


def cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """Mean of -t log s(x) - (1 - t) log(1 - s(x)) with s the sigmoid, which is softplus(x) - t x; finite for any x."""
    return (softplus(logits) - target * logits).mean()


class BCE(PenalisedLoss):
    """Real or fake as a classification, on logits.

    D minimises -log D(x) - log(1 - D(G(z))), and G minimises -log D(G(z)), whose gradient is strong when G is losing
    (Goodfellow et al. 2014, arXiv:1406.2661). Label smoothing teaches D to be less than certain of real images only
    (Salimans et al. 2016, arXiv:1606.03498). Soft labels draw D's targets from intervals, noisy labels turn some of
    them round; neither touches the generator's step, where they only hurt.
    """

    api_version = 1

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="how far below 1 the target of real images is, for the discriminator"
    )
    real_labels: tuple[float, float] = Field(
        default=(1.0, 1.0), description="interval from which the discriminator's targets of real images are drawn"
    )
    fake_labels: tuple[float, float] = Field(
        default=(0.0, 0.0), description="interval from which the discriminator's targets of fakes are drawn"
    )
    label_noise: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of the discriminator's targets that are turned round, t to 1 - t"
    )

    @field_validator("real_labels", "fake_labels")
    @classmethod
    def _is_an_interval(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -0.5 <= value[0] <= value[1] <= 1.5:
            raise ValueError("must be two numbers from -0.5 to 1.5, the lower first, such as [0.7, 1.2]")
        return value

    @model_validator(mode="after")
    def _softened_in_one_way(self) -> BCE:
        if self.label_smoothing and self.real_labels != (1.0, 1.0):
            raise ValueError("set label_smoothing or real_labels, not both")
        return self

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """-t log D(x) - (1 - t) log(1 - D(x)), likewise with G(z); t is 1 for real and 0 for fake, or softer."""
        smooth = 1 - self.label_smoothing
        real_labels = (smooth, smooth) if self.label_smoothing else self.real_labels
        return {
            "loss_d_real": cross_entropy(real.logits, self._targets(real.logits, real_labels)),
            "loss_d_fake": cross_entropy(fake.logits, self._targets(fake.logits, self.fake_labels)),
        }

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """-log D(G(z))."""
        return cross_entropy(fake.logits, 1.0)

    def _targets(self, logits: Tensor, interval: tuple[float, float]) -> Tensor:
        """Draw a target for each image, in a shape that multiplies *logits* (N,) or (N, M)."""
        targets = logits.new_empty(len(logits), *[1] * (logits.ndim - 1)).uniform_(*interval)
        if self.label_noise:
            targets = torch.where(torch.rand_like(targets) < self.label_noise, 1 - targets, targets)
        return targets
