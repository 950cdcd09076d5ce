"""The first GAN: fully connected networks and the minimax loss (Goodfellow et al., 2014, arXiv:1406.2661)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganctl.api import Architecture, Batch, DataSpec, Loss, Networks, Terms


class Generator(nn.Module):
    """Latents (N, Z) -> images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_dim: int, width: int, data: DataSpec) -> None:
        super().__init__()
        self.shape = (data.channels, data.size, data.size)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.ReLU(),
            nn.Linear(2 * width, data.channels * data.size**2), nn.Tanh(),
        )  # fmt: skip

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(latents).unflatten(1, self.shape)


class Discriminator(nn.Module):
    """Images (N, C, H, W) -> logits (N,)."""

    def __init__(self, width: int, data: DataSpec) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(data.channels * data.size**2, 2 * width), nn.LeakyReLU(0.2), nn.Dropout(0.3),
            nn.Linear(2 * width, width), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(images).squeeze(1)


class Perceptron(Architecture):
    """Two multilayer perceptrons without a convolution, as in the first GAN; good for small images such as digits."""

    api_version = 1
    width: int = Field(default=256, ge=1, le=8192, description="units of the narrower hidden layers")

    def build(self, data: DataSpec) -> Networks:
        return Networks(Generator(self.latent_dim, self.width, data), Discriminator(self.width, data))


class Minimax(Loss):
    """The original minimax game: the generator lowers log(1 - D(G(z))), whose gradient fades while D is winning."""

    api_version = 1

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:  # -log D(x) - log(1 - D(G(z)))
        return {"loss_d_real": softplus(-real.logits).mean(), "loss_d_fake": softplus(fake.logits).mean()}

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:  # log(1 - D(G(z)))
        return -softplus(fake.logits).mean()
