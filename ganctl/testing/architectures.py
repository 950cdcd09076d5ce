"""The checks of architectures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ganctl.api import Architecture, DataSpec, Networks
from ganctl.errors import GanctlError
from ganctl.judging import judgement
from ganctl.sampling import latents
from ganctl.testing.common import Check, at_bounds, highest_integers, option_checks, small

SIZES = (16, 28, 32, 64)
"""At which architectures are checked; one that refuses some of them has to build another."""

CLASSES = ("one", "other")


def architecture_checks(plugin: type[Architecture]) -> Iterator[Check]:
    """Yield the checks of an architecture: its default options at several sizes, grey and colour; then few filters."""
    yield from option_checks(plugin)
    for size in SIZES:
        for channels in (1, 3):
            spec = DataSpec(size=size, channels=channels)
            yield Check(f"shapes-and-range-{size}px-{channels}", partial(_shapes_and_range, plugin, spec))
    yield Check("builds-some-size", partial(_builds_some_size, plugin))
    yield Check("options-work-at-their-bounds", partial(_options_work_at_their_bounds, plugin))
    for name, check in {
        "images-stay-in-range": _images_stay_in_range,
        "logits-are-not-squashed": _logits_are_not_squashed,
        "labels-are-taken": _labels_are_taken,
        "same-seed-same-weights": _same_seed,
        "same-seed-same-training": _same_seed_same_training,
        "networks-share-nothing": _networks_share_nothing,
        "every-parameter-learns": _every_parameter_learns,
        "drawing-is-a-function": _drawing_is_a_function,
        "copies-and-saved-weights-draw-the-same": _copies_draw_the_same,
        "channels-last-is-close": _channels_last_is_close,
        "bf16-is-close": _bf16_is_close,
    }.items():
        yield Check(name, partial(check, partial(small, plugin)))
    for value in _conditionings(plugin):
        yield Check(f"labels-matter-{value}", partial(_labels_matter, plugin, value))


def _conditionings(plugin: type[Architecture]) -> list[str]:
    """Return the values of the option ``conditioning``, if there is one, with which networks heed classes."""
    schema = plugin.model_json_schema()["properties"].get("conditioning", {})
    return [value for value in schema.get("enum", []) if value != "none"]


def _build(architecture: Architecture, spec: DataSpec, seed: int = 0) -> Networks:
    torch.manual_seed(seed)
    return architecture.build(spec)


def _first(architecture: Architecture, classes: tuple[str, ...] = ()) -> tuple[Networks, DataSpec]:
    """Build the smallest size that *architecture* does not refuse."""
    refusals = []
    for size in SIZES:
        spec = DataSpec(size=size, channels=3, classes=classes)
        try:
            return _build(architecture, spec), spec
        except GanctlError as error:
            refusals.append(str(error))
    raise AssertionError(f"build() refuses every one of {SIZES} px: {refusals[-1]}; allow one")


@torch.no_grad()
def _settled(architecture: Architecture) -> Networks:
    """Build networks whose running statistics are those of a few training steps."""
    networks, _ = _first(architecture)
    for _ in range(5):
        networks.discriminator(networks.generator(_points(architecture), None), None)
    return networks


def _points(plugin: Architecture, count: int = 4) -> Tensor:
    return latents(0, count, plugin.latent_dim)


def _judge(discriminator: nn.Module, images: Tensor, labels: Tensor | None = None) -> Tensor:
    return judgement(discriminator(images, labels)).logits


@torch.no_grad()
def _disturb(network: nn.Module, by: float) -> None:
    """Make weights many times as large and move offsets, as a training that goes astray might."""
    source = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.mul_(by).add_(by * 0.1 * torch.randn(parameter.shape, generator=source))


def _builds_some_size(plugin: type[Architecture]) -> None:
    _first(plugin())


def _shapes_and_range(plugin: type[Architecture], spec: DataSpec) -> None:
    try:
        networks = _build(plugin(), spec)
    except GanctlError:
        return
    _fits(networks, _points(plugin(), 3), spec)


@torch.no_grad()
def _fits(networks: Networks, points: Tensor, spec: DataSpec, labels: Tensor | None = None) -> None:
    """Raise AssertionError unless *networks* draw and judge as they have to."""
    count = len(points)
    images = networks.generator(points, labels)
    wanted = (count, spec.channels, spec.size, spec.size)
    assert tuple(images.shape) == wanted, f"the generator draws {tuple(images.shape)}, not {wanted}"
    logits = _judge(networks.discriminator, images, labels)
    if images.device.type != "meta":
        assert images.abs().max() <= 1, "the generator's images leave [-1, 1]; end it with tanh, or 2y - 1 of a sigmoid"
    assert len(logits) == count, (
        f"the discriminator returns {tuple(logits.shape)} for {count} images; one row an image is right"
    )


def _options_work_at_their_bounds(plugin: type[Architecture]) -> None:
    enormous = highest_integers(plugin)
    for name, architecture in at_bounds(plugin):
        # Only shapes are looked at where the numbers might not fit into memory.
        device = torch.device("meta" if name in enormous else "cpu")
        conditional = name.partition("=")[0] == "conditioning"
        try:
            with device:
                networks, spec = _first(architecture, CLASSES if conditional else ())
            labels = torch.tensor([0, 1, 0], device=device) if conditional else None
            _fits(networks, torch.zeros(3, architecture.latent_dim, device=device), spec, labels)
        except GanctlError:
            continue
        except NotImplementedError:
            if device.type == "meta":
                continue
            raise
        except AssertionError as error:
            if "refuses every one" in str(error):
                continue
            raise AssertionError(f"with {name}, {error}") from error
        except Exception as error:
            raise AssertionError(
                f"with {name}, which its bounds allow, it cannot be built and run: {type(error).__name__}: {error}; "
                "tighten the bounds, or raise GanctlError in build()"
            ) from error


@torch.no_grad()
def _images_stay_in_range(plugin: Callable[[], Architecture]) -> None:
    (generator, _), _ = _first(plugin())
    _disturb(generator, 10)
    largest = float(generator(_points(plugin()), None).abs().max())
    assert largest <= 1, (
        f"with large weights the generator's images reach {largest:.3g}; end it with tanh, or 2y - 1 of a sigmoid"
    )


@torch.no_grad()
def _logits_are_not_squashed(plugin: Callable[[], Architecture]) -> None:
    (_, discriminator), spec = _first(plugin())
    _disturb(discriminator, 10)
    images = 100 * torch.randn(8, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    largest = float(_judge(discriminator, images).abs().max())
    assert largest > 1, (
        f"with large weights and images logits reach {largest:.3g} at most; return them as they are, without a sigmoid "
        "or tanh: losses do that themselves"
    )


def _labels_are_taken(plugin: Callable[[], Architecture]) -> None:
    networks, spec = _first(plugin(), CLASSES)
    _fits(networks, _points(plugin()), spec, torch.tensor([0, 1, 0, 1]))


@torch.no_grad()
def _labels_matter(plugin: type[Architecture], conditioning: str) -> None:
    architecture = small(plugin, conditioning=conditioning)
    (generator, discriminator), spec = _first(architecture, CLASSES)
    # Disturbed, because what heeds the class may be zero before training.
    for network in (generator, discriminator):
        _disturb(network.eval(), 1)
    points = _points(architecture, 1)
    one, other = (generator(points, torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(one, other), f"with conditioning={conditioning} the generator draws all classes alike"
    image = torch.randn(1, spec.channels, spec.size, spec.size).clamp(-1, 1)
    first, second = (judgement(discriminator(image, torch.tensor([label]))) for label in (0, 1))
    if first.class_logits is not None:
        shape = tuple(first.class_logits.shape)
        assert shape == (1, 2), f"class_logits of an image and two classes are {shape}; (N, K) is right"
        return
    assert not torch.equal(first.logits, second.logits), (
        f"with conditioning={conditioning} the discriminator judges all classes alike, and returns no class_logits"
    )


def _same_seed(plugin: Callable[[], Architecture]) -> None:
    _, spec = _first(plugin())
    for one, other in zip(_build(plugin(), spec, 1), _build(plugin(), spec, 1), strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), (
                f"{name} differs between two builds from one seed; draw initial weights from torch's default generator"
            )


def _same_seed_same_training(plugin: Callable[[], Architecture]) -> None:
    answers = []
    for _ in range(2):
        generator, discriminator = _first(plugin())[0]
        torch.manual_seed(2)
        images = generator(_points(plugin()), None)
        answers.append((images, _judge(discriminator, images)))
    for what, one, other in zip(("images", "logits"), *answers, strict=True):
        assert torch.equal(one, other), (
            f"{what} in training differ between two runs from one seed; draw noise from torch's default generator, and "
            "keep no state outside the networks"
        )


def _networks_share_nothing(plugin: Callable[[], Architecture]) -> None:
    (generator, _), spec = _first(plugin())
    points = _points(plugin())
    with torch.no_grad():
        before = generator.eval()(points, None)
        other = _build(plugin(), spec, 1)
        _disturb(other.generator, 10)
        _disturb(other.discriminator, 10)
        other.discriminator(other.generator(points, None), None)
        after = generator(points, None)
    assert torch.equal(before, after), (
        "training one pair of networks changes another; make parameters and buffers in __init__, not in the module"
    )


def _every_parameter_learns(plugin: Callable[[], Architecture]) -> None:
    (generator, discriminator), _ = _first(plugin())
    answer = judgement(discriminator(generator(_points(plugin()), None), None))
    parts = [answer.logits, answer.class_logits, *answer.aux.values()]
    total = torch.stack([part.float().sum() for part in parts if part is not None]).sum()
    assert total.requires_grad, "no gradient reaches either network; logits are computed without one"
    torch.autograd.backward(total)
    for player, network in (("generator", generator), ("discriminator", discriminator)):
        idle = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle, (
            f"no gradient reaches the {player}'s {', '.join(idle[:5])}; use it in forward(), detach nothing on the "
            "way, or make it a buffer"
        )


def _drawing_is_a_function(plugin: Callable[[], Architecture]) -> None:
    (generator, _), _ = _first(plugin())
    points = _points(plugin())
    with torch.no_grad():
        generator(points, None)
        generator.eval()
        together, alone = generator(points, None), generator(points[:1], None)
        again = generator(points, None)
    assert torch.equal(together, again), (
        "in eval mode the same latents draw different images; noise belongs to training"
    )
    assert torch.allclose(together[:1], alone, atol=1e-4), "in eval mode an image depends on the others in its batch"


def _copies_draw_the_same(plugin: Callable[[], Architecture]) -> None:
    (generator, _), spec = _first(plugin())
    points = _points(plugin(), 2)
    other = _build(plugin(), spec, 1).generator
    state = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in _state(generator).items()}
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    with torch.no_grad():
        image = generator.eval()(points, None)
        for name, twin in (("a deepcopy", copy.deepcopy(generator)), ("a network with the same state_dict", other)):
            assert torch.equal(image, twin.eval()(points, None)), f"{name} draws other images; register all state"


def _state(network: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Any] = network.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    assert not odd, f"state_dict() holds {', '.join(odd)}, which are no tensors; keep such state in options"
    return state


def _channels_last_is_close(plugin: Callable[[], Architecture]) -> None:
    generator, discriminator = _settled(plugin())
    points = _points(plugin())
    with torch.no_grad():
        images = generator.eval()(points, None)
        logits = _judge(discriminator.eval(), images)
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)
        drawn = generator(points, None)
        judged = _judge(discriminator, images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(images, drawn, atol=1e-3), "in channels-last memory it draws other images; avoid view()"
    scale = 1e-3 * (1 + float(logits.abs().max()))
    assert torch.allclose(logits, judged, atol=scale), "of channels-last images it judges otherwise; avoid view()"


def _bf16_is_close(plugin: Callable[[], Architecture]) -> None:
    generator, discriminator = _settled(plugin())
    points = _points(plugin())
    with torch.no_grad():
        images = generator.eval()(points, None)
        logits = _judge(discriminator.eval(), images)
        with torch.autocast("cpu", torch.bfloat16):
            drawn = generator(points, None).float()
            judged = _judge(discriminator, images)
    off = float((images - drawn).abs().mean())
    assert off < 0.1, (
        f"under bf16 autocast images are off by {off:.2g} in the mean; compute what is delicate in float()"
    )
    off, scale = float((logits - judged).abs().max()), 1 + float(logits.abs().max())
    assert off < 0.1 * scale, (
        f"under bf16 autocast logits of up to {scale - 1:.2g} are off by {off:.2g}; compute what is delicate in float()"
    )
