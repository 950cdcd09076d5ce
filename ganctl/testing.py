"""The conformance kit: what every plugin should do, as checks that its author's tests can run.

    @pytest.mark.parametrize("check", architecture_checks(Mine), ids=str)
    def test_mine(check):
        check()

``ganctl plugins --check`` runs the same, and ganctl's own plugins pass them. A failure's message says what to mend.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ganctl.api import Architecture, Batch, Dataset, DataSpec, Judgement, Loss, Metric, Networks, Plugin, Step
from ganctl.config import DataSettings, OptimiserSettings, TrainSettings
from ganctl.data.decode import Target, decode
from ganctl.errors import GanctlError, did_you_mean
from ganctl.judging import judgement, named
from ganctl.resolve import reserved
from ganctl.sampling import latents

SIZES = (16, 28, 32, 64)
"""At which architectures are checked; one that refuses some of them has to build another."""


TABLES: Mapping[str, type[Plugin]] = {"arch": Architecture, "loss": Loss, "data": Dataset, "metric": Metric}


class Check:
    """One named check: call it, and it raises AssertionError where the plugin falls short."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name, self._run = name, run

    def __call__(self) -> None:
        """Run the check."""
        self._run()

    def __str__(self) -> str:
        return self._name


def architecture_checks(plugin: type[Architecture]) -> Iterator[Check]:
    """Yield the checks of an architecture, with its default options, grey and colour, at several sizes."""
    yield Check("options-are-documented", partial(_options_are_documented, plugin))
    yield Check("recipe-keys-exist", partial(_recipe_keys_exist, plugin))
    for size in SIZES:
        for channels in (1, 3):
            spec = DataSpec(size=size, channels=channels)
            yield Check(f"shapes-and-range-{size}px-{channels}", partial(_shapes_and_range, plugin, spec))
    yield Check("builds-some-size", partial(_builds_some_size, plugin))
    yield Check("same-seed-same-weights", partial(_same_seed, plugin))
    yield Check("every-parameter-learns", partial(_every_parameter_learns, plugin))
    yield Check("drawing-is-a-function", partial(_drawing_is_a_function, plugin))
    yield Check("copies-and-saved-weights-draw-the-same", partial(_copies_draw_the_same, plugin))


def loss_checks(plugin: type[Loss]) -> Iterator[Check]:
    """Yield the checks of a loss, with its default options, on a toy problem."""
    yield Check("options-are-documented", partial(_options_are_documented, plugin))
    yield Check("recipe-keys-exist", partial(_recipe_keys_exist, plugin))
    yield Check("terms-are-finite-scalars", partial(_terms_are_finite, plugin))
    yield Check("discriminator-learns-to-part-real-from-fake", partial(_discriminator_learns, plugin))
    yield Check("generator-raises-the-logits-of-its-fakes", partial(_generator_raises_logits, plugin))


def dataset_checks(plugin: type[Dataset], **options: object) -> Iterator[Check]:
    """Yield the checks of a data set made with *options*; one whose images must first be fetched is only described."""
    yield Check("options-are-documented", partial(_options_are_documented, plugin))
    yield Check("recipe-keys-exist", partial(_recipe_keys_exist, plugin))
    if any(field.is_required() and name not in options for name, field in plugin.model_fields.items()):
        return
    dataset = plugin.model_validate(options)
    yield Check("describes-itself", partial(_describes_itself, dataset))
    if not dataset.describe().needs:
        yield Check("records-are-as-described", partial(_records_are_as_described, dataset))
        yield Check("images-can-be-read", partial(_images_can_be_read, dataset))


def metric_checks(plugin: type[Metric]) -> Iterator[Check]:
    """Yield the checks of a metric, with its default options; one without a network is tried on random images."""
    yield Check("options-are-documented", partial(_options_are_documented, plugin))
    yield Check("recipe-keys-exist", partial(_recipe_keys_exist, plugin))
    yield Check("protocol-is-plain", partial(_protocol_is_plain, plugin))
    if plugin().extractor() is None:
        yield Check("tells-images-apart", partial(_tells_images_apart, plugin))


def checks(plugin: type[Plugin]) -> Iterator[Check]:
    """Yield the checks of any plugin."""
    if issubclass(plugin, Architecture):
        yield from architecture_checks(plugin)
    elif issubclass(plugin, Loss):
        yield from loss_checks(plugin)
    elif issubclass(plugin, Dataset):
        yield from dataset_checks(plugin)
    elif issubclass(plugin, Metric):
        yield from metric_checks(plugin)


def _options_are_documented(plugin: type[Plugin]) -> None:
    assert (plugin.__doc__ or "").strip(), f"{plugin.__name__} needs a docstring: ganctl show prints it"
    table = next((table for table, base in TABLES.items() if issubclass(plugin, base)), "")
    taken = sorted(set(plugin.model_fields) & reserved(table)) if table else []
    assert not taken, f"rename the option {', '.join(taken)}: that is a setting of {table} already"
    bare = [name for name, field in plugin.model_fields.items() if not field.description]
    assert not bare, f"these options need Field(description=...): {', '.join(bare)}"


def _recipe_keys_exist(plugin: type[Plugin]) -> None:
    settings = {f"train.{name}" for name in TrainSettings.model_fields}
    settings |= {f"data.{name}" for name in DataSettings.model_fields}
    settings |= {f"optim.{player}.{name}" for player in "gd" for name in OptimiserSettings.model_fields}
    for key in plugin.recipe:
        # What options another plugin has, nobody can know here.
        assert key.startswith(("arch.", "loss.", "data.")) or key in settings, (
            f"the recipe sets {key!r}, which is no setting{did_you_mean(key, settings)}"
        )


def _build(plugin: type[Architecture], spec: DataSpec, seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return plugin().build(spec)


def _builds_some_size(plugin: type[Architecture]) -> None:
    _first(plugin)


def _first(plugin: type[Architecture]) -> tuple[Networks, DataSpec]:
    """Build the smallest size that *plugin* does not refuse."""
    for size in SIZES:
        spec = DataSpec(size=size, channels=3)
        try:
            return _build(plugin, spec), spec
        except GanctlError:
            continue
    raise AssertionError(f"build() refuses every one of {SIZES} px; allow one")


def _logits(answer: Tensor | Judgement) -> Tensor:
    return judgement(answer).logits


def _shapes_and_range(plugin: type[Architecture], spec: DataSpec) -> None:
    try:
        generator, discriminator = _build(plugin, spec)
    except GanctlError:
        return
    with torch.no_grad():
        images = generator(latents(0, 3, plugin().latent_dim), None)
    wanted = (3, spec.channels, spec.size, spec.size)
    assert tuple(images.shape) == wanted, f"the generator draws {tuple(images.shape)}, not {wanted}"
    with torch.no_grad():
        logits = _logits(discriminator(images, None))
    assert images.abs().max() <= 1, "the generator's images leave [-1, 1]; end it with tanh, or 2y - 1 of a sigmoid"
    assert len(logits) == 3, f"the discriminator returns {tuple(logits.shape)} for 3 images; one row an image is right"


def _same_seed(plugin: type[Architecture]) -> None:
    _, spec = _first(plugin)
    for one, other in zip(_build(plugin, spec, 1), _build(plugin, spec, 1), strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), (
                f"{name} differs between two builds from one seed; draw initial weights from torch's default generator"
            )


def _every_parameter_learns(plugin: type[Architecture]) -> None:
    (generator, discriminator), _ = _first(plugin)
    logits = _logits(discriminator(generator(latents(0, 4, plugin().latent_dim), None), None))
    torch.autograd.backward(logits.sum())
    for network in (generator, discriminator):
        idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
        assert not idle, f"no gradient reaches {', '.join(idle)}; use it in forward(), or make it a buffer"


def _drawing_is_a_function(plugin: type[Architecture]) -> None:
    (generator, _), _ = _first(plugin)
    points = latents(0, 4, plugin().latent_dim)
    with torch.no_grad():
        generator(points, None)
        generator.eval()
        together, alone = generator(points, None), generator(points[:1], None)
        again = generator(points, None)
    assert torch.equal(together, again), (
        "in eval mode the same latents draw different images; noise belongs to training"
    )
    assert torch.allclose(together[:1], alone, atol=1e-4), "in eval mode an image depends on the others in its batch"


def _copies_draw_the_same(plugin: type[Architecture]) -> None:
    (generator, _), spec = _first(plugin)
    points = latents(0, 2, plugin().latent_dim)
    other = _build(plugin, spec, 1).generator
    other.load_state_dict(generator.state_dict())
    with torch.no_grad():
        image = generator.eval()(points, None)
        for name, twin in (("a deepcopy", copy.deepcopy(generator)), ("a network with the same state_dict", other)):
            assert torch.equal(image, twin.eval()(points, None)), f"{name} draws other images; register all state"


class _Toy:
    """Real numbers around +1, fakes around -1, in two classes, a linear discriminator and a classifier."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.linear, self.classifier = nn.Linear(4, 1), nn.Linear(4, 2)
        self.discriminator = nn.Sequential(nn.Flatten(), self.linear, nn.Flatten(0))
        self.shift = nn.Parameter(torch.full((1, 1, 2, 2), -1.0))
        self.step = Step(0, 0, nn.Identity(), self.discriminator, {})

    def batches(self, detached: bool) -> tuple[Batch, Batch]:
        real, fake = torch.randn(2, 64, 1, 2, 2).mul(0.1).unbind()
        moved = fake + (self.shift.detach() if detached else self.shift)

        def judge(images: Tensor) -> Judgement:
            return judgement(Judgement(self.discriminator(images), self.classifier(images.flatten(1))))

        labels = torch.arange(64) % 2
        fakes = Batch(moved, judge, labels=labels, latents=torch.randn(64, 4))
        return Batch(real + 1, judge, labels=labels), fakes

    def gap(self) -> float:
        real, fake = self.batches(detached=True)
        return float((real.logits.mean() - fake.logits.mean()).detach())


def _d_terms(loss: Loss, toy: _Toy) -> Tensor:
    real, fake = toy.batches(detached=True)
    terms = named("loss_d", loss.discriminator_loss(real, fake))
    terms |= loss.discriminator_penalty(real, fake, toy.step)
    return torch.stack([*terms.values()]).sum()


def _terms_are_finite(plugin: type[Loss]) -> None:
    loss, toy = plugin(), _Toy()
    for scale in (1.0, 1e3):
        with torch.no_grad():
            toy.linear.weight.mul_(scale)
        real, fake = toy.batches(detached=False)
        for name, term in (
            named("loss_d", loss.discriminator_loss(real, fake)) | named("loss_g", loss.generator_loss(fake, real))
        ).items():
            assert term.isfinite(), (
                f"{name} is {float(term)} at logits up to {float(real.logits.detach().abs().max()):.0f}"
            )


def _discriminator_learns(plugin: type[Loss]) -> None:
    loss, toy = plugin(), _Toy()
    optimiser = torch.optim.SGD(toy.discriminator.parameters(), lr=0.05)
    before = toy.gap()
    for _ in range(20):
        optimiser.zero_grad()
        torch.autograd.backward(_d_terms(loss, toy))
        optimiser.step()
        loss.after_discriminator_step(toy.step)
    assert toy.gap() > before, "20 steps of the discriminator do not raise real logits above fake ones; check the signs"


def _generator_raises_logits(plugin: type[Loss]) -> None:
    loss, toy = plugin(), _Toy()
    real, fake = toy.batches(detached=False)
    term = torch.stack([*named("loss_g", loss.generator_loss(fake, real)).values()]).sum()
    (gradient,) = torch.autograd.grad(term, toy.shift)
    with torch.no_grad():
        downhill = toy.linear.weight.flatten() @ -gradient.flatten()
    assert downhill > 0, "following generator_loss downhill lowers the logits of fakes; check the sign"


def _describes_itself(dataset: Dataset) -> None:
    description = dataset.describe()
    assert description.count is None or description.count >= 2, "describe() counts fewer than two images"
    assert description.channels in (1, 3), "describe().channels is 1 or 3"
    assert len(set(description.classes)) == len(description.classes), "describe().classes holds a name twice"
    assert dataset.fingerprint() == dataset.model_copy().fingerprint(), "fingerprint() differs though nothing changed"


def _records_are_as_described(dataset: Dataset) -> None:
    description, records = dataset.describe(), dataset.records()
    assert description.count in (None, len(records)), f"describe() counts {description.count}, records() {len(records)}"
    assert len({record.name for record in records}) == len(records), "two records have the same name"
    odd = [record for record in records if not isinstance(record.label, int) or record.label < 0]
    assert not odd, f"{odd[0].name} has the label {odd[0].label!r}; a class's number, or 0 without classes, is right"
    highest = max(record.label for record in records)
    assert highest < max(len(description.classes), 1), (
        f"label {highest} is beyond the {len(description.classes)} classes"
    )


def _images_can_be_read(dataset: Dataset) -> None:
    for record in list(dataset.records())[:4]:
        pixels, _ = decode(dataset.read(record, 32), Target(32, 3, "crop", (255, 255, 255)))
        assert pixels.shape == (32, 32, 3), f"{record.name} is not a picture"
        again, _ = decode(dataset.read(record, 32), Target(32, 3, "crop", (255, 255, 255)))
        assert np.array_equal(pixels, again), f"read() gives another picture of {record.name} the second time"


def _protocol_is_plain(plugin: type[Metric]) -> None:
    metric = plugin()
    extractor = metric.extractor()
    for of, protocol in (
        ("protocol()", metric.protocol()),
        ("extractor().protocol()", extractor and extractor.protocol()),
    ):
        try:
            again = json.loads(json.dumps(protocol))
        except TypeError as error:
            raise AssertionError(f"{of} holds what JSON cannot: {error}; use numbers, text and lists") from error
        assert again == (dict(protocol) if protocol else protocol), (
            f"{of} comes out of JSON changed; use lists for tuples"
        )


def _tells_images_apart(plugin: type[Metric]) -> None:
    metric, source = plugin(), torch.Generator().manual_seed(0)
    one, other = (torch.randint(256, (64, 3, 32, 32), generator=source, dtype=torch.uint8) for _ in range(2))
    real = metric.statistics(one)
    near, far = (metric.figures(real, metric.statistics(images)) for images in (other, torch.zeros_like(other)))
    assert near.keys() == far.keys(), "figures() gives other names for other images"
    name = next(iter(near))
    assert np.isfinite(near[name]), f"{name} is {near[name]} of random images"
    better = near[name] < far[name] if metric.lower_is_better else near[name] > far[name]
    assert better, f"{name} calls black images more like noise than other noise is; check lower_is_better"
