"""Plugins of each kind that use all of the contract of api_version 1. Never changed: what does not load or train
these any more takes another number.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from ganctl import penalties
from ganctl.api import (
    Architecture,
    Batch,
    Dataset,
    DataSpec,
    Description,
    Extractor,
    Judgement,
    Metric,
    Networks,
    PenalisedLoss,
    Progress,
    Record,
    Step,
    Terms,
)
from ganctl.errors import GanctlError
from ganctl.features.efficientnet import EfficientNetLite0
from ganctl.nn import ClassEmbedding


class Generator(nn.Module):
    def __init__(self, dim: int, data: DataSpec, classes: int) -> None:
        super().__init__()
        shape = (data.channels, data.size, data.size)
        self.embedding = ClassEmbedding(classes, dim) if classes else None
        self.layers = nn.Sequential(nn.Linear(dim, data.channels * data.size**2), nn.Tanh(), nn.Unflatten(1, shape))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            latents = latents * self.embedding(labels)
        return self.layers(latents)


class Discriminator(nn.Module):
    def __init__(self, width: int, data: DataSpec, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(data.channels * data.size**2, width), nn.LeakyReLU(0.2))
        self.logits, self.classes = nn.Linear(width, 1), nn.Linear(width, classes) if classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | Judgement:
        features = self.features(images)
        classes = None if self.classes is None else self.classes(features)
        return Judgement(self.logits(features).squeeze(1), classes, {"features": features})


class Net(Architecture):
    """A layer in one network, and two in the other."""

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"optim.g.lr": 1e-3})
    latent_dim: int = Field(default=16, ge=1, le=512, description="numbers in a latent")
    width: int = Field(default=32, ge=1, le=512, description="units")
    conditioning: Literal["none", "auxiliary"] = Field(default="none", description="how classes are known")

    def build(self, data: DataSpec) -> Networks:
        if data.size > 256:
            raise GanctlError(f"first draws up to 256 px, not {data.size}; choose a smaller --size")
        classes = 0 if self.conditioning == "none" else len(data.classes)
        return Networks(Generator(self.latent_dim, data, classes), Discriminator(self.width, data, classes))

    def hints(self, data: DataSpec) -> Sequence[str]:
        return ["it is too small for photographs"] if data.size > 64 else []


class Game(PenalisedLoss):
    """Cross-entropy with two penalties, a term of the classes, and a mean that it remembers."""

    api_version = 1
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"arch.conditioning": "auxiliary", "train.d_steps": 2})
    r1_weight: float = Field(default=1.0, ge=0, le=1000, description="of the R1 penalty")
    bound: float = Field(default=1.0, gt=0, le=100, description="of weights")

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return {
            "loss_d_real": softplus(-real.logits).mean(),
            "loss_d_fake": softplus(fake.logits).mean(),
            "loss_d_class": cross_entropy(real.class_logits, real.labels),
        }

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(real.logits.detach() - fake.logits).mean()

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        terms = dict(super().discriminator_penalty(real, fake, step))
        judged = real.judge(real.images.flip(3)).logits
        return terms | {
            "loss_d_r2": 0.1 * penalties.r2(fake, step),
            "loss_d_flip": (judged - real.logits).square().mean(),
        }

    def generator_penalty(self, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        return {"loss_g_latents": 1e-3 * (fake.images.mean((1, 2, 3)) - fake.latents.mean(1)).square().mean()}

    def after_discriminator_step(self, step: Step) -> None:
        step.state["mean"] = step.state.get("mean", torch.zeros(())) + torch.tensor(step.number + step.images)
        with torch.no_grad():
            for weight in step.discriminator.parameters():
                weight.clamp_(-self.bound, self.bound)


class Squares(Dataset):
    """Squares of two colours."""

    api_version = 1
    count: int = Field(default=64, ge=2, le=10_000, description="how many")

    def describe(self) -> Description:
        return Description(self.count, classes=("dark", "light"), channels=3, needs="")

    def prepare(self, progress: Progress) -> None:
        progress("drawing", self.count, self.count)

    def records(self) -> Sequence[Record]:
        return [Record(f"square-{number}", label=number % 2) for number in range(self.count)]

    def ignored(self) -> Mapping[str, int]:
        return {"txt": 1}

    def read(self, record: Record, size: int) -> Image.Image:
        shade = (40, 200)[record.label] + int(record.name.split("-")[1]) % 40
        return Image.new("RGB", (size, size), (shade, shade, 120))

    def fingerprint(self) -> str:
        return f"squares {self.count}"


class Colour(Metric):
    """How far features are apart in the mean."""

    api_version = 1
    lower_is_better = True

    def extractor(self) -> Extractor:
        return EfficientNetLite0()

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        return {"mean": features.mean(0)}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        return {"first": float((real["mean"] - fake["mean"]).norm())}

    def protocol(self) -> Mapping[str, Any]:
        return {"norm": 2}

    def hints(self, reals: int, fakes: int) -> Sequence[str]:
        return ["few images"] if fakes < 100 else []
