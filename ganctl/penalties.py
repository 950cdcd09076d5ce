"""Gradient penalties: how steep the discriminator is, which any loss may add to what the discriminator minimises.

All differentiate the logits by the images that are judged, image by image, and can themselves be differentiated. Batch
normalisation mixes the images of a batch, so that no image has a gradient of its own: it is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ganctl.errors import GanctlError

if TYPE_CHECKING:
    from ganctl.api import Batch, Step


def r1(real: Batch, step: Step) -> Tensor:
    """E |grad D(x)|^2 / 2 over real images, a scalar (Mescheder et al. 2018, arXiv:1801.04406)."""
    return _gradients(real, real.images, step).square().sum(dim=1).mean() / 2


def r2(fake: Batch, step: Step) -> Tensor:
    """E |grad D(G(z))|^2 / 2 over fakes, a scalar (Mescheder et al. 2018, arXiv:1801.04406)."""
    return _gradients(fake, fake.images, step).square().sum(dim=1).mean() / 2


def gradient_penalty(real: Batch, fake: Batch, step: Step) -> Tensor:
    """E (|grad D(x')| - 1)^2, a scalar, x' = a x + (1 - a) G(z) with an a of its own from [0, 1] for each image.

    Reference: Gulrajani et al. 2017, arXiv:1704.00028.
    """
    share = torch.empty_like(real.images[:, :1, :1, :1]).uniform_()
    between = torch.lerp(fake.images, real.images, share)
    return (_gradients(real, between, step).norm(dim=1) - 1).square().mean()


def _gradients(batch: Batch, images: Tensor, step: Step) -> Tensor:
    """Return the gradients (N, C*H*W) of the logits of *images*, judged as those of *batch* are, by the images."""
    _refuse_batch_norm(step.discriminator)
    images = images.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(batch.judge(images).logits.sum(), images, create_graph=True)
    return gradients.flatten(1)


def _refuse_batch_norm(discriminator: nn.Module) -> None:
    for layer in discriminator.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise GanctlError(
                "a gradient penalty needs a gradient for each image alone, and batch normalisation in the "
                "discriminator mixes those of a batch; choose another, as with --set arch.d_norm=layer"
            )
