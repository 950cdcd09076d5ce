"""Every registered plugin does what its kind should: a new one is covered the moment it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from ganctl import registry
from ganctl.api import Architecture, Batch, DataSpec, Loss, Networks, Terms
from ganctl.testing import Check, architecture_checks, checks, loss_checks


def every() -> list[object]:
    return [
        pytest.param(check, id=f"{entry.kind}-{entry.name}-{check}")
        for entry in registry.entries()
        for check in checks(registry.load(entry.kind, entry.name))
    ]


@pytest.mark.parametrize("check", every())
def test_every_registered_plugin_conforms(check: Check) -> None:
    check()


class Linear(Architecture):
    """The least that conforms."""

    api_version = 1

    def build(self, data: DataSpec) -> Networks:
        shape = (data.channels, data.size, data.size)
        pixels = data.channels * data.size**2
        return Networks(
            Simple(nn.Linear(self.latent_dim, pixels), nn.Tanh(), nn.Unflatten(1, shape)),
            Simple(nn.Flatten(), nn.Linear(pixels, 1), nn.Flatten(0)),
        )


class Simple(nn.Sequential):
    """Layers that take labels and do without."""

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(inputs)


def wrong(kind: str) -> type[Architecture]:
    """An architecture with one planted defect."""

    class Wrong(Linear):
        """Linear, with a defect."""

        def build(self, data: DataSpec) -> Networks:
            generator, discriminator = super().build(data)
            if kind == "range":
                nn.init.normal_(generator[0].weight)
                generator = Simple(generator[0], nn.Unflatten(1, (data.channels, data.size, data.size)))
            elif kind == "shape":
                generator = Simple(*generator, nn.Upsample(scale_factor=2))
            elif kind == "rows":
                discriminator = Simple(*discriminator, nn.Unflatten(0, (1, -1)))
            elif kind == "ghost":
                generator.ghost = nn.Parameter(torch.zeros(1))
            elif kind == "noise":
                generator = Simple(generator[0], AlwaysDropout(), *generator[1:])
            elif kind == "batch":
                generator = Simple(generator[0], BatchMean(), *generator[1:])
            elif kind == "hidden":
                generator = Simple(Hidden(self.latent_dim), *generator)
            elif kind == "seed":
                with torch.no_grad():
                    generator[0].bias.copy_(torch.rand(generator[0].bias.shape, generator=SYSTEM))
            return Networks(generator, discriminator)

    return Wrong


SYSTEM = torch.Generator()


class AlwaysDropout(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.dropout(inputs, training=True)


class BatchMean(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0, keepdim=True)


class Hidden(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = torch.rand(dim)  # neither parameter nor buffer

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


def failures(found: object) -> set[str]:
    failed = set()
    for check in found:  # type: ignore[attr-defined]
        try:
            check()
        except Exception:
            failed.add(str(check))
    return failed


def test_the_kit_passes_the_least_that_conforms() -> None:
    assert failures(architecture_checks(Linear)) == set()


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        ("range", "shapes-and-range-16px-3"),
        ("shape", "shapes-and-range-16px-3"),
        ("rows", "shapes-and-range-16px-3"),
        ("ghost", "every-parameter-learns"),
        ("noise", "drawing-is-a-function"),
        ("batch", "drawing-is-a-function"),
        ("hidden", "copies-and-saved-weights-draw-the-same"),
        ("seed", "same-seed-same-weights"),
    ],
)
def test_the_kit_catches_a_defective_architecture_by_name(defect: str, check: str) -> None:
    assert check in failures(architecture_checks(wrong(defect)))


class Inverted(Loss):
    """A loss with all signs swapped."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return real.logits.mean() - fake.logits.mean()

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return fake.logits.mean()


class Overflowing(Loss):
    """A loss that exponentiates."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return (1 + (-real.logits).exp()).log().mean() + (1 + fake.logits.exp()).log().mean()

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return (1 + (-fake.logits).exp()).log().mean()


class Auxiliary(Loss):
    """A loss that reads labels and an auxiliary classifier's logits."""

    recipe: ClassVar[Mapping[str, Any]] = {"arch.conditioning": "auxiliary", "train.d_steps": 2}

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        classes = nn.functional.cross_entropy(real.class_logits, real.labels)
        return nn.functional.softplus(-real.logits).mean() + nn.functional.softplus(fake.logits).mean() + classes

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        classes = nn.functional.cross_entropy(fake.class_logits, fake.labels)
        return nn.functional.softplus(-fake.logits).mean() + classes


class Misnamed(Auxiliary):
    """A loss with an option that bears a setting's name, and a typo in its recipe."""

    name: str = Field(default="x", description="a name")
    recipe: ClassVar[Mapping[str, Any]] = {"train.dsteps": 2}


def test_a_loss_that_needs_labels_and_a_classifier_can_pass() -> None:
    assert failures(loss_checks(Auxiliary)) == set()


def test_the_kit_catches_names_and_recipe_keys_that_cannot_be() -> None:
    assert failures(loss_checks(Misnamed)) == {"options-are-documented", "recipe-keys-exist"}


def test_the_kit_catches_a_defective_loss_by_name() -> None:
    assert failures(loss_checks(Inverted)) == {
        "discriminator-learns-to-part-real-from-fake",
        "generator-raises-the-logits-of-its-fakes",
    }
    assert failures(loss_checks(Overflowing)) == {"terms-are-finite-scalars"}
