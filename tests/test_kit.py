"""The conformance kit passes what conforms, and catches planted defects by the name of the check."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import pytest
import torch
from PIL import Image
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, softplus

from ganctl.api import (
    Architecture,
    Batch,
    Dataset,
    DataSpec,
    Description,
    Judgement,
    Loss,
    Metric,
    Networks,
    Record,
    Step,
    Terms,
)
from ganctl.testing import Check, architecture_checks, checks, dataset_checks, loss_checks, metric_checks


def failures(found: Iterable[Check]) -> dict[str, str]:
    """Return what the checks that fail are called, and what they say."""
    failed = {}
    for check in found:
        try:
            check()
        except Exception as error:
            failed[str(check)] = str(error)
    return failed


class Layers(nn.Sequential):
    """Layers that take labels and do without."""

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(inputs)


class Do(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class Linear(Architecture):
    """The least that conforms."""

    api_version = 1
    latent_dim: int = Field(default=8, ge=1, le=64, description="numbers in a latent")

    def build(self, data: DataSpec) -> Networks:
        return Networks(self.generator(data), self.discriminator(data))

    def generator(self, data: DataSpec) -> nn.Module:
        pixels, shape = data.channels * data.size**2, (data.channels, data.size, data.size)
        return Layers(nn.Linear(self.latent_dim, pixels), *self.inside(), nn.Tanh(), nn.Unflatten(1, shape))

    def discriminator(self, data: DataSpec) -> nn.Module:
        return Layers(nn.Flatten(), nn.Linear(data.channels * data.size**2, 1), *self.judged(), nn.Flatten(0))

    def inside(self) -> Sequence[nn.Module]:
        """What a defective one has before the generator's tanh."""
        return ()

    def judged(self) -> Sequence[nn.Module]:
        """What a defective one has after the discriminator's last layer."""
        return ()


class Unbounded(Linear):
    """Its images are small only as long as its weights are."""

    def generator(self, data: DataSpec) -> nn.Module:
        linear, *_, shape = super().generator(data).children()
        return Layers(linear, Do(lambda x: x / 10), shape)


class TooLarge(Linear):
    """Its images are twice as large."""

    def generator(self, data: DataSpec) -> nn.Module:
        return Layers(*super().generator(data).children(), nn.Upsample(scale_factor=2))


class Detached(Linear):
    """Its generator cannot learn."""

    def inside(self) -> Sequence[nn.Module]:
        return [Do(Tensor.detach)]


class Ghost(Linear):
    """It has a parameter that nothing uses."""

    def generator(self, data: DataSpec) -> nn.Module:
        network = super().generator(data)
        network.ghost = nn.Parameter(torch.zeros(1))
        return network


class Squashed(Linear):
    """A sigmoid was left in."""

    def judged(self) -> Sequence[nn.Module]:
        return [nn.Sigmoid()]


class Bounded(Linear):
    """A tanh was left in."""

    def judged(self) -> Sequence[nn.Module]:
        return [nn.Tanh()]


class Column(Linear):
    """Its logits are (N, 1)."""

    def judged(self) -> Sequence[nn.Module]:
        return [Do(lambda x: x[:, None])]

    def discriminator(self, data: DataSpec) -> nn.Module:
        return Layers(*list(super().discriminator(data).children())[:-1])


class WrongAxis(Linear):
    """It takes the mean over the images."""

    def judged(self) -> Sequence[nn.Module]:
        return [Do(lambda x: x.mean(0))]


class Noisy(Linear):
    """It draws noise in eval mode, too."""

    def inside(self) -> Sequence[nn.Module]:
        return [Do(dropout)]


class Mixing(Linear):
    """An image depends on its batch in eval mode, too."""

    def inside(self) -> Sequence[nn.Module]:
        return [Do(lambda x: x - x.mean(0, keepdim=True))]


class Hidden(Linear):
    """It keeps state that is neither a parameter nor a buffer."""

    def inside(self) -> Sequence[nn.Module]:
        scale = torch.rand(1)
        return [Do(lambda x: x * scale)]


class OwnSeed(Linear):
    """It draws its weights from a generator of its own."""

    def generator(self, data: DataSpec) -> nn.Module:
        network = super().generator(data)
        nn.init.uniform_(network[0].bias, generator=OWN)
        return network


OWN = torch.Generator()


class OwnNoise(Linear):
    """It draws its noise from Python's generator."""

    def inside(self) -> Sequence[nn.Module]:
        return [Train(lambda x: x * random.random())]


class Train(Do):
    """A function in training only."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs) if self.training else inputs


class Counting(Linear):
    """It counts calls in its module."""

    def inside(self) -> Sequence[nn.Module]:
        return [Train(lambda x: x + 0.1 * (next(CALLS) % 5))]


CALLS = itertools.count()


class Shared(Linear):
    """All of its networks have one layer in common."""

    def generator(self, data: DataSpec) -> nn.Module:
        return Layers(COMMON, *super().generator(data).children())


COMMON = nn.Linear(8, 8)


class View(Linear):
    """It views images as they are not in channels-last memory."""

    def discriminator(self, data: DataSpec) -> nn.Module:
        return Layers(Do(lambda x: x.view(len(x), -1)), *list(super().discriminator(data).children())[1:])


class Delicate(Linear):
    """It loses what it has to bfloat16."""

    def inside(self) -> Sequence[nn.Module]:
        return [Do(lambda x: 10 * (x + 1000) - 10_000)]


class Heeding(Linear):
    """It heeds labels."""

    conditioning: Literal["none", "embedding"] = Field(default="none", description="how the networks know classes")

    def build(self, data: DataSpec) -> Networks:
        plain = super().build(data)
        if self.conditioning == "none":
            return plain
        return Networks(self.heed(plain.generator, self.latent_dim), self.heed(plain.discriminator, data.size))

    def heed(self, network: nn.Module, width: int) -> nn.Module:
        return Heed(network, width)


class Heed(nn.Module):
    """Multiply what goes in by a learnt number of its class."""

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.table = network, nn.Embedding(2, width)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        factor = self.table(labels)
        return self.network(inputs * factor.reshape(len(inputs), *[1] * (inputs.ndim - 2), -1))


class Deaf(Heeding):
    """It says that it heeds labels, and its generator does not."""

    def heed(self, network: nn.Module, width: int) -> nn.Module:
        return network if width == self.latent_dim else Heed(network, width)


class DeafCritic(Heeding):
    """It says that it heeds labels, and its discriminator does not."""

    def heed(self, network: nn.Module, width: int) -> nn.Module:
        return Heed(network, width) if width == self.latent_dim else network


class NoLabels(Linear):
    """Its generator takes no labels."""

    def generator(self, data: DataSpec) -> nn.Module:
        return nn.Sequential(*super().generator(data).children())


class TooWide(Linear):
    """It allows what it cannot build."""

    groups: int = Field(default=1, ge=0, le=8, description="parts of the latents")

    def inside(self) -> Sequence[nn.Module]:
        return [nn.Unflatten(1, (-1, self.groups)), nn.Flatten()]


class Boundless(Linear):
    """It allows any number."""

    slope: float = Field(default=0.2, description="of LeakyReLU")


class Undocumented(Linear):
    """It does not say what an option is."""

    flag: bool = False


class Fussy(Linear):
    """It refuses every size."""

    def build(self, data: DataSpec) -> Networks:
        from ganctl.errors import GanctlError

        raise GanctlError("no size is right")


class Typo(Linear):
    """Its recipe sets what is no setting."""

    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"train.dsteps": 2})


class BadRecipe(Linear):
    """Its recipe sets what a setting cannot be."""

    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"train.d_steps": 0})


@pytest.mark.parametrize("plugin", [Linear, Heeding])
def test_the_least_architectures_that_conform_pass(plugin: type[Architecture]) -> None:
    assert failures(architecture_checks(plugin)) == {}


@pytest.mark.parametrize(
    ("defective", "check"),
    [
        (Unbounded, "images-stay-in-range"),
        (TooLarge, "shapes-and-range-16px-3"),
        (Detached, "every-parameter-learns"),
        (Ghost, "every-parameter-learns"),
        (Squashed, "logits-are-not-squashed"),
        (Bounded, "logits-are-not-squashed"),
        (Column, "shapes-and-range-16px-3"),
        (WrongAxis, "shapes-and-range-16px-3"),
        (Noisy, "drawing-is-a-function"),
        (Mixing, "drawing-is-a-function"),
        (Hidden, "copies-and-saved-weights-draw-the-same"),
        (OwnSeed, "same-seed-same-weights"),
        (OwnNoise, "same-seed-same-training"),
        (Counting, "same-seed-same-training"),
        (Shared, "networks-share-nothing"),
        (View, "channels-last-is-close"),
        (Delicate, "bf16-is-close"),
        (Deaf, "labels-matter-embedding"),
        (DeafCritic, "labels-matter-embedding"),
        (NoLabels, "labels-are-taken"),
        (TooWide, "options-work-at-their-bounds"),
        (Boundless, "numbers-have-bounds"),
        (Undocumented, "options-are-documented"),
        (Fussy, "builds-some-size"),
        (Typo, "recipe-keys-exist"),
        (BadRecipe, "recipe-keys-exist"),
    ],
)
def test_a_defective_architecture_is_caught_by_name(defective: type[Architecture], check: str) -> None:
    assert check in failures(architecture_checks(defective))


class Softplus(Loss):
    """The least that conforms."""

    api_version = 1

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return {"loss_d_real": softplus(-real.logits).mean(), "loss_d_fake": softplus(fake.logits).mean()}

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits).mean()


class Inverted(Softplus):
    """All of its signs are swapped."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return softplus(real.logits).mean() + softplus(-fake.logits).mean()

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(fake.logits).mean()


class Helpful(Softplus):
    """Its generator helps the discriminator."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(fake.logits).mean()


class Overflowing(Softplus):
    """It exponentiates."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return (1 + (-real.logits).exp()).log().mean() + (1 + fake.logits.exp()).log().mean()


class LostGenerator(Softplus):
    """Nothing of it reaches the generator."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits.detach()).mean()


class LostDiscriminator(Softplus):
    """Nothing of it reaches the discriminator."""

    @torch.no_grad()
    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return softplus(-real.logits).mean()


class Vector(Softplus):
    """It takes no mean."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits)


class FirstAxis(Softplus):
    """It takes the mean over images alone."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits).mean(0)


class SumOfImages(Softplus):
    """It takes the sum."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return softplus(-real.logits).sum() + softplus(fake.logits).sum()


class SumOfPatches(Softplus):
    """It takes the sum of patches."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits.reshape(len(fake.images), -1)).sum(1).mean()


class OwnLabels(Softplus):
    """It draws soft labels from Python's generator."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return random.random() * softplus(-real.logits).mean() + softplus(fake.logits).mean()


class Remembering(Softplus):
    """It counts calls in its module."""

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits).mean() * (1 + next(CALLS))


class Plain(Softplus):
    """It keeps a plain number in its state."""

    def after_discriminator_step(self, step: Step) -> None:
        step.state["count"] = step.number  # type: ignore[assignment]


class Divided(Softplus):
    """It allows a division by nothing."""

    margin: float = Field(default=1.0, ge=0, le=10, description="of logits")

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return (softplus(-real.logits) / self.margin + softplus(fake.logits)).mean()


class Auxiliary(Softplus):
    """It reads labels and an auxiliary classifier's logits."""

    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"arch.conditioning": "auxiliary", "train.d_steps": 2})

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        classes = cross_entropy(real.class_logits, real.labels)
        return softplus(-real.logits).mean() + softplus(fake.logits).mean() + classes

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        return softplus(-fake.logits).mean() + cross_entropy(fake.class_logits, fake.labels)


class Misnamed(Auxiliary):
    """An option bears a setting's name, and its recipe sets an option that it has not."""

    name: str = Field(default="x", description="a name")
    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({"loss.nmae": 2})


class Reconstructing(Softplus):
    """It reads what its own discriminator alone returns."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        return {**super().discriminator_loss(real, fake), "loss_d_seen": real.aux["seen"].square().mean()}


class Seeing(Linear):
    """Its discriminator returns more than logits."""

    def discriminator(self, data: DataSpec) -> nn.Module:
        return See(super().discriminator(data))


class See(nn.Module):
    """Return what was seen besides."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Judgement:
        return Judgement(self.network(images), aux={"seen": images})


@pytest.mark.parametrize("plugin", [Softplus, Auxiliary])
def test_the_least_losses_that_conform_pass(plugin: type[Loss]) -> None:
    assert failures(loss_checks(plugin)) == {}


def test_a_loss_for_one_architecture_is_checked_with_it() -> None:
    assert failures(loss_checks(Reconstructing, Seeing)) == {}
    assert failures(checks(Reconstructing, Seeing)) == {}
    assert (
        "architecture that the loss was made for" in failures(loss_checks(Reconstructing))["terms-are-finite-scalars"]
    )


@pytest.mark.parametrize(
    ("defective", "caught"),
    [
        (Inverted, {"discriminator-learns-to-part-real-from-fake", "generator-raises-the-logits-of-its-fakes"}),
        (Helpful, {"generator-raises-the-logits-of-its-fakes"}),
        (Overflowing, {"extreme-logits-stay-finite"}),
        (LostGenerator, {"terms-reach-both-networks", "generator-raises-the-logits-of-its-fakes"}),
        (SumOfImages, {"terms-are-means", "patches-are-averaged"}),
        (FirstAxis, {"patches-are-averaged"}),
        (SumOfPatches, {"patches-are-averaged"}),
        (Plain, {"discriminator-learns-to-part-real-from-fake"}),
        (Divided, {"options-work-at-their-bounds"}),
        (Misnamed, {"options-are-documented", "recipe-keys-exist"}),
    ],
)
def test_a_defective_loss_is_caught_by_name_and_nothing_else_is(defective: type[Loss], caught: set[str]) -> None:
    assert failures(loss_checks(defective)).keys() == caught


@pytest.mark.parametrize(
    ("defective", "check"),
    [
        (LostDiscriminator, "terms-reach-both-networks"),
        (Vector, "terms-are-finite-scalars"),
        (Remembering, "same-seed-same-terms"),
        (OwnLabels, "same-seed-same-terms"),
    ],
)
def test_a_defective_loss_is_caught_by_name(defective: type[Loss], check: str) -> None:
    assert check in failures(loss_checks(defective))


class Squares(Dataset):
    """The least that conforms."""

    api_version = 1

    def describe(self) -> Description:
        return Description(4, classes=("dark", "light"))

    def records(self) -> Sequence[Record]:
        return [Record(f"square-{number}", label=number % 2) for number in range(4)]

    def read(self, record: Record, size: int) -> Image.Image:
        return Image.new("RGB", (size, size), ("#222", "#ddd")[record.label])


class InOrder(Dataset):
    """It can only be read in order, and nobody knows how long it is."""

    api_version = 1

    def describe(self) -> Description:
        return Description(None, classes=("dark", "light"))

    def records(self) -> Iterator[Record]:
        for number in range(4):
            yield Record(f"square-{number}", number % 2, Image.new("L", (8, 8), 200 * (number % 2)))


class Empty(InOrder):
    """It forgets the images."""

    def records(self) -> Iterator[Record]:
        yield from (Record(f"square-{number}") for number in range(4))


class Reused(InOrder):
    """It yields one picture that it changes."""

    def records(self) -> Iterator[Record]:
        picture = Image.new("L", (8, 8))
        for number in range(4):
            picture.paste(60 * number, (0, 0, 8, 8))
            yield Record(f"square-{number}", number % 2, picture)


class Miscounted(Squares):
    """It counts what is not there."""

    def describe(self) -> Description:
        return Description(5, classes=("dark", "light"))


class Unclassed(Squares):
    """Its labels are of no class."""

    def describe(self) -> Description:
        return Description(4)


class Twins(Squares):
    """It gives two images one name."""

    def records(self) -> Sequence[Record]:
        return [Record("square", label=number % 2) for number in range(4)]


class Shuffled(Squares):
    """It lists images in another order each time."""

    def records(self) -> Sequence[Record]:
        first = next(CALLS)
        return [Record(f"square-{(number + first) % 4}") for number in range(4)]


class Changing(Squares):
    """It reads another picture each time."""

    def read(self, record: Record, size: int) -> Image.Image:
        return Image.new("L", (size, size), next(CALLS) % 256)


class Rewritten(Squares):
    """It says each time that its images have changed."""

    def fingerprint(self) -> str:
        return str(next(CALLS))


class Stateful(Squares):
    """It remembers what other processes do not."""

    _shade: int = PrivateAttr(default_factory=lambda: next(CALLS) % 256)

    def read(self, record: Record, size: int) -> Image.Image:
        return Image.new("L", (size, size), self._shade)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


@pytest.mark.parametrize("plugin", [Squares, InOrder])
def test_the_least_data_sets_that_conform_pass(plugin: type[Dataset]) -> None:
    assert failures(dataset_checks(plugin)) == {}


@pytest.mark.parametrize(
    ("defective", "check"),
    [
        (Miscounted, "records-are-as-described"),
        (Unclassed, "records-are-as-described"),
        (Empty, "records-are-as-described"),
        (Twins, "records-are-as-described"),
        (Shuffled, "records-are-as-described"),
        (Changing, "images-can-be-read"),
        (Reused, "images-can-be-read"),
        (Rewritten, "describes-itself"),
        (Stateful, "reads-the-same-elsewhere"),
    ],
)
def test_a_defective_data_set_is_caught_by_name(defective: type[Dataset], check: str) -> None:
    assert check in failures(dataset_checks(defective))


class Brightness(Metric):
    """The least that conforms."""

    api_version = 1

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        return {"mean": features.double().mean()}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        return {"brightness": float((real["mean"] - fake["mean"]).abs())}


class Backwards(Brightness):
    """It says that higher is better."""

    lower_is_better = False


class Chancy(Brightness):
    """It draws from the generator that the training draws from."""

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        return {"mean": features[torch.randperm(len(features))[:8]].double().mean()}


class Tuples(Brightness):
    """Its protocol is another one when it is read back."""

    def protocol(self) -> Mapping[str, Any]:
        return {"size": (32, 32)}


class Infinite(Brightness):
    """It divides by nothing."""

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        return {"brightness": float(real["mean"] / 0)}


def test_the_least_metric_that_conforms_passes() -> None:
    assert failures(metric_checks(Brightness)) == {}


@pytest.mark.parametrize(
    ("defective", "check"),
    [
        (Backwards, "tells-images-apart"),
        (Chancy, "figures-are-repeatable"),
        (Tuples, "protocol-is-plain"),
        (Infinite, "figures-are-repeatable"),
    ],
)
def test_a_defective_metric_is_caught_by_name(defective: type[Metric], check: str) -> None:
    assert check in failures(metric_checks(defective))
