"""Blocks that architectures share."""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import Tensor, nn
from torch.nn.functional import linear, one_hot
from torch.nn.utils.parametrizations import spectral_norm

from ganctl.api import DataSpec, Judgement
from ganctl.errors import GanctlError

Norm = Literal["batch", "instance", "layer", "spectral", "none"]
"""How a layer is normalised: its output by batch, image or layer; its weight by its spectral norm; or not."""

Layer = TypeVar("Layer", bound=nn.Module)

Conditioning = Literal["none", "embedding", "auxiliary", "projection"]
"""How networks know classes: not; both are given them; the discriminator has to tell them; or it weighs them."""


def normalised(layer: nn.Module, norm: Norm, channels: int) -> list[nn.Module]:
    """Return *layer* and what normalises it; ``layer.bias`` should be off where :func:`has_own_bias` is true.

    References: Ioffe & Szegedy 2015 (batch), Ulyanov et al. 2016 (instance), Ba et al. 2016 (layer, here over
    channels and positions), Miyato et al. 2018 (spectral).
    """
    return [bounded(layer, norm == "spectral"), *output_norm(norm, channels)]


def bounded(layer: Layer, spectral: bool = True) -> Layer:
    """Return *layer*, its weight divided by its largest singular value if *spectral* (Miyato et al. 2018)."""
    if spectral:
        spectral_norm(layer)
    return layer


def output_norm(norm: Norm, channels: int) -> list[nn.Module]:
    """Return what normalises feature maps (N, channels, H, W): one layer, or none."""
    match norm:
        case "batch":
            return [nn.BatchNorm2d(channels)]
        case "instance":
            return [nn.InstanceNorm2d(channels, affine=True)]
        case "layer":
            return [nn.GroupNorm(1, channels)]
        case "spectral" | "none":
            return []


def has_own_bias(norm: Norm) -> bool:
    """Whether *norm* adds a learnt offset itself, which makes a bias before it useless."""
    return norm in ("batch", "instance", "layer")


def check_classes(conditioning: Conditioning, data: DataSpec) -> None:
    """Raise :class:`GanctlError` where *conditioning* needs classes that *data* has not."""
    if conditioning != "none" and len(data.classes) < 2:
        raise GanctlError(
            f"arch.conditioning={conditioning} needs images of two classes or more, and these have "
            f"{len(data.classes) or 'none'}; sort them into class folders, or set arch.conditioning=none"
        )


class ClassEmbedding(nn.Module):
    """Labels (N,), or shares of each class (N, K), -> a learnt vector (N, dim) of each, or a mixture of them.

    A generator multiplies its latents by it. Beside the latents it would drown them: all images of a class come out
    alike, while a discriminator with batch normalisation sees as many different ones as there are classes.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes, dim)

    def forward(self, labels: Tensor | None) -> Tensor:
        """Look labels up. Raise :class:`GanctlError` where there are none."""
        if labels is None:
            raise GanctlError("a conditional network was given no labels")
        return labels @ self.table.weight if labels.is_floating_point() else self.table(labels)


class WholeMap(nn.Conv2d):
    """Feature maps (N, C, S, S) -> (N, outputs, 1, 1), by a convolution whose kernel is as large as they are.

    That is a product of matrices, and several times as fast as one.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh feature maps."""
        weights, features = (t.permute(0, 2, 3, 1).flatten(1) for t in (self.weight, maps))
        return linear(features, weights, self.bias)[:, :, None, None]


class Head(nn.Module):
    """Features (N, C, S, S) -> what the discriminator says of them: logits (N,), or with class logits (N, K).

    *logits* and *classifier* map features to (N, 1) and (N, K), up to trailing ones. With a *projection*, which maps a
    class's one-hot vector (N, K) to (N, C), the logits also hold its product with the summed features (Miyato & Koyama
    2018, arXiv:1802.05637).
    """

    def __init__(
        self, logits: nn.Module, classifier: nn.Module | None = None, projection: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.logits, self.classifier, self.projection = logits, classifier, projection

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor | Judgement:
        """Judge features; larger means more real."""
        logits = self.logits(features).flatten()
        if self.projection is not None:
            if labels is None:
                raise GanctlError("a conditional network was given no labels")
            classes = one_hot(labels, self.projection.in_features).to(features.dtype)
            logits = logits + (self.projection(classes) * features.sum((2, 3))).sum(1)
        if self.classifier is None:
            return logits
        return Judgement(logits, self.classifier(features).flatten(1))


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Initialise as DCGAN does: weights N(0, std), norms' scales N(1, std), offsets 0 (Radford et al. 2016).

    Embeddings stay N(0, 1), as latents are: among these, much smaller numbers would go unnoticed.
    """
    for layer in module.modules():
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # A spectrally normalised weight is a view of its original, and only that can be written to.
            parametrised = getattr(layer, "parametrizations", None)
            nn.init.normal_(parametrised.weight.original if parametrised else layer.weight, 0.0, std)
        elif isinstance(weight, Tensor) and not isinstance(layer, nn.Embedding):
            nn.init.normal_(weight, 1.0, std)
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)
