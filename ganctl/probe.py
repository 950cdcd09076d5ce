"""What a discriminator has learnt to see: its layers' outputs, as features by which simple classifiers tell images.

Both tasks, to tell classes and to tell real from fake, are also done from raw pixels. Needs scikit-learn, the extra
``ganctl[probe]``. The idea is that of Radford et al. 2016 (arXiv:1511.06434), section 5.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.utils.parametrize import is_parametrized

from ganctl import device as devices
from ganctl import sampling, weights
from ganctl.api import Architecture, DataSpec, Progress
from ganctl.assemble import Layers, load_data
from ganctl.checkpoint import KEY
from ganctl.config import Settings
from ganctl.data.batches import choose
from ganctl.errors import GanctlError, did_you_mean, plain
from ganctl.judging import judgement
from ganctl.resolve import Layer, Value, read_recipe
from ganctl.run import Run, check_format

FEWEST = 10
"""Images with which a probe says anything at all."""
HELD_OUT = 0.2
"""The share of each class that is tested on."""
NEIGHBOURS = 5
"""Of which the majority decides in KNN."""
SIDES = (4, 2, 1)
"""To which layers' outputs are averaged: the first with which an image has at most ``MOST_NUMBERS`` features."""
MOST_NUMBERS = 16_384
"""More would take minutes and gigabytes."""
PIXELS_SIDE = 32
"""Larger images are averaged to this side before their pixels are taken for features."""

_BATCH = 100
_FEW = 8
"""Images by which is found out what a discriminator takes and returns."""
_PIXELS = "raw pixels"
_ORDER, _FAKES, _TOLD = 1, 2, 3
"""What one seed draws independently: the images' order, the fakes' classes, those that a discriminator is told."""

Pixels: TypeAlias = NDArray[np.uint8]
Features: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = NDArray[np.int64]


class Split(NamedTuple):
    """What each image is, and the numbers of those that are learnt from and of those that are tested on."""

    labels: Numbers
    train: Numbers
    test: Numbers

    @property
    def chance(self) -> float:
        """The accuracy of always saying what is most frequent among the images that are learnt from."""
        return float(np.mean(self.labels[self.test] == np.bincount(self.labels[self.train]).argmax()))


class Accuracy(NamedTuple):
    """The share of held-out images that each classifier is right about."""

    linear: float
    knn: float


class Row(NamedTuple):
    """What can be told by one set of features, of which an image has *numbers*."""

    features: str
    numbers: int
    classes: Accuracy | None
    real_fake: Accuracy


class Probe(NamedTuple):
    """What was found, and how."""

    step: int
    """The checkpoint's."""
    source: str
    """Of the real images."""
    averaged: bool
    """Whether the fakes are of the averaged weights."""
    names: tuple[str, ...]
    """The classes that are told from each other."""
    classes: Split | None
    """None where there are not two classes to tell."""
    real_fake: Split
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def probe(run: Run, *, layer: str | None, count: int, source: str | None, seed: int, progress: Progress) -> Probe:
    """Probe the newest discriminator of *run* with *count* real images, balanced over classes, and as many fakes.

    The images are the run's own, or those of *source*. Raise :class:`GanctlError` where there is no checkpoint, no
    such *layer* or too few images, and for a discriminator that has diverged.
    """
    saved = run.saved()
    if not saved:
        raise GanctlError(f"{run} has no checkpoint yet; ganctl resume {run} goes on with it")
    settings = _settings(run, source)
    subject = _Subject(saved[-1], settings.architecture)
    real, labels, names = _real(settings, count, seed, progress)
    fakes = subject.draw(len(real), seed)
    # Mixed, so that a layer which looks at the whole batch cannot tell an image by its neighbours.
    order = np.random.default_rng([seed, _ORDER]).permutation(2 * len(real))
    mixed = subject.features(np.concatenate([real, fakes])[order], layer, seed, progress)
    features = {name: mixed.pop(name)[np.argsort(order)] for name in list(mixed)}

    notes = [f"outputs of layers are averaged to at most {subject.side}x{subject.side}"]
    if real.shape[1] > PIXELS_SIDE:
        notes.append(f"raw pixels are averaged to {PIXELS_SIDE}x{PIXELS_SIDE}")
    if source is None:
        notes.append("the discriminator saw these real images in training; --data takes others")
    informed = subject.wants_labels(real[:_FEW])
    if informed:
        notes.append("this discriminator wants labels, and was given random ones, drawn with the seed")
    if informed or subject.tells_classes(real[:_FEW]):
        notes.append("it was trained with the labels of its images")
    split = None
    if labels is None:
        notes.append("the images have no classes: only real and fake are told apart")
    else:
        split = stratified(labels, seed)
        kept = np.unique(split.labels[split.train])
        if len(kept) < 2:
            split = None
            notes.append("there are not two classes with two images or more: only real and fake are told apart")
        else:
            names = tuple(names[number] for number in kept)
            if alone := len(np.unique(labels)) - len(kept):
                notes.append(f"{alone} classes have one image each, and are left out of telling classes")
    kinds = stratified(np.repeat(np.array([1, 0]), len(real)), seed)
    rows = []
    for number, (name, values) in enumerate(features.items()):
        progress("classifying", number, len(features))
        alike = name == _PIXELS
        told = accuracy(values[: len(real)], split, alike) if split else None
        rows.append(Row(name, values.shape[1], told, accuracy(values, kinds, alike)))
    progress("classifying", len(features), len(features))
    return Probe(
        subject.step, settings.source, subject.averaged, names if split else (), split, kinds, tuple(rows), tuple(notes)
    )


def stratified(labels: Numbers, seed: int) -> Split:
    """Split images of *labels* (N,) at random, holding a fifth of each class out, but at least one image.

    An image that is the only one of its class is in neither part.
    """
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        held = max(1, round(len(mine) * HELD_OUT))
        if len(mine) > 1:
            test.append(mine[:held])
            train.append(mine[held:])
    none = np.empty(0, np.int64)
    return Split(labels, np.concatenate([none, *train]), np.concatenate([none, *test]))


def accuracy(features: Features, split: Split, alike: bool = False) -> Accuracy:
    """Train both classifiers on *features* (N, F) and test them on what is held out.

    The linear one is logistic regression with an L2 penalty that grows with F. Each feature is brought to mean 0 and
    variance 1 over the images that are learnt from; or, *alike*, all of them to one common scale, as pixels have.
    """
    train, test = features[split.train], features[split.test]
    mean, spread = train.mean(0), np.broadcast_to(train.std() if alike else train.std(0), train.shape[1:])
    scale = np.where(spread > 1e-6 * spread.max(), spread, 1)
    train, test = (train - mean) / scale, (test - mean) / scale
    known, asked = split.labels[split.train], split.labels[split.test]
    linear = LogisticRegression(C=1 / train.shape[1], max_iter=1000)
    knn = KNeighborsClassifier(min(NEIGHBOURS, len(train)), algorithm="brute")
    # One thread: the many small products of the solver gain nothing by more, and lose much where cores are busy.
    with threadpool_limits(1):
        return Accuracy(*(float(model.fit(train, known).score(test, asked)) for model in (linear, knn)))


def _settings(run: Run, source: str | None) -> Settings:
    """Resolve the settings of *run*, with the images of *source* in place of its own."""
    # The batch does not matter here, and may be larger than what there is in the source.
    recipe = {k: v for k, v in read_recipe(run.config).values.items() if k != "train.batch_size"}
    other: dict[str, Any] = {"data.source": source, "data.classes": [], "data.limit": None} if source else {}
    user = Layer({key: Value(value, "--data") for key, value in other.items()})
    return Layers(user, Layer(recipe), begun=True).resolve()


def _real(
    settings: Settings, count: int, seed: int, progress: Progress
) -> tuple[Pixels, Numbers | None, tuple[str, ...]]:
    """Return *count* of the images that *settings* train on (N, H, W, C), labels (N,) if there are any, and classes."""
    packed = load_data(settings, progress)
    wanted, limit = settings.data.classes, settings.data.limit
    rows, every = choose(packed.labels, packed.manifest.classes, wanted, limit, settings.train.seed)
    labels = None if every is None else every[rows]
    names = wanted or packed.manifest.classes
    few, _ = choose(np.zeros(len(rows), np.int64) if labels is None else labels, names, (), count, seed)
    if len(few) < FEWEST:
        raise GanctlError(f"{plain(settings.source)} has only {len(few)} usable images, and a probe takes {FEWEST}")
    return np.asarray(packed.images[rows[few]]), None if labels is None else labels[few], names


class _Subject:
    """The networks in the checkpoint at *path*, in eval mode, on a GPU if there is one."""

    def __init__(self, path: Path, architecture: Architecture) -> None:
        tensors, values = weights.read(path, KEY)
        check_format(values, path)
        self.step = int(values["step"])
        self.averaged = values["settings"]["train.ema"] > 0
        data = DataSpec.model_validate(values["generator"]["data"])
        self._classes, self._latent_dim = len(data.classes), architecture.latent_dim
        self._device = devices.device("auto")
        self.side = SIDES[0]
        """To which :meth:`features` averaged the outputs of layers."""
        with torch.random.fork_rng(devices=[]):
            networks = architecture.build(data)
        self._generator, self._discriminator = (network.to(self._device).eval() for network in networks)
        fakes = "ema" if self.averaged else "generator"
        for network, place in ((self._generator, fakes), (self._discriminator, "discriminator")):
            own = {name.removeprefix(f"{place}."): t for name, t in tensors.items() if name.startswith(f"{place}.")}
            weights.fit(network, own, path)

    def draw(self, count: int, seed: int) -> Pixels:
        """Draw *count* fakes (N, H, W, C), of random classes."""
        points = sampling.latents(seed, count, self._latent_dim)
        return np.concatenate(list(sampling.draw(self._generator, points, self._random_labels(count, seed, _FAKES))))

    @torch.inference_mode()
    def wants_labels(self, images: Pixels) -> bool:
        """Whether the discriminator cannot judge images without being told their classes."""
        try:
            self._discriminator(self._seen(images), None)
        except Exception:  # whatever a network says that misses its labels
            return self._classes > 0
        return False

    @torch.inference_mode()
    def tells_classes(self, images: Pixels) -> bool:
        """Whether the discriminator was trained to tell classes: it has an auxiliary classifier."""
        labels = self._random_labels(len(images), 0, _TOLD)
        return judgement(self._discriminator(self._seen(images), labels)).class_logits is not None

    @torch.inference_mode()
    def features(self, images: Pixels, layer: str | None, seed: int, progress: Progress) -> dict[str, Features]:
        """Return what *images* are to the eye and to the discriminator, (N, F) each, by name.

        That is their pixels, and the output of each layer or of *layer* alone; if there are several, all together, too.
        """
        labels = self._random_labels(len(images), seed, _TOLD) if self.wants_labels(images[:_FEW]) else None

        def look(start: int, count: int, side: int, sign: int = 1) -> dict[str, Tensor]:
            few = slice(start, start + count)
            seen = sign * self._seen(images[few])
            found = {_PIXELS: _pooled(seen, PIXELS_SIDE)}
            with _outputs(self._discriminator, side, found):
                self._discriminator(seen, None if labels is None else labels[few])
            return {name: values for name, values in found.items() if len(values) == len(seen)}

        # What does not change with the images, such as a layer that takes labels, sees nothing of them.
        before, after = look(0, _FEW, SIDES[0]), look(0, _FEW, SIDES[0], sign=-1)
        names = [name for name in before if name == _PIXELS or not torch.equal(before[name], after[name])]
        if layer is not None and layer not in names[1:]:
            raise GanctlError(
                f"--layer {plain(layer)}: the discriminator has no such layer{did_you_mean(layer, names[1:])}"
            )
        names = [_PIXELS, layer] if layer is not None else names
        sizes = {side: look(0, _FEW, side) for side in SIDES}
        self.side = next(
            side for side in SIDES if side == 1 or sum(sizes[side][n].shape[1] for n in names[1:]) <= MOST_NUMBERS
        )

        parts: dict[str, list[Features]] = {name: [] for name in names}
        for start in range(0, len(images), _BATCH):
            found = look(start, _BATCH, self.side)
            for name in names:
                parts[name].append(found[name].cpu().numpy())
            progress("looking", min(start + _BATCH, len(images)), len(images))
        features = {name: np.concatenate(parts.pop(name)) for name in names}
        for name, values in features.items():
            if not np.isfinite(values).all():
                raise GanctlError(f"the discriminator of step {self.step} has diverged: {plain(name)} is not finite")
        if len(names) > 2:
            features["all layers"] = np.concatenate([features[name] for name in names[1:]], axis=1)
        return features

    def _seen(self, images: Pixels) -> Tensor:
        """Return images (N, H, W, C) as networks take them."""
        pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)
        return pixels.float().div(127.5).sub(1)

    def _random_labels(self, count: int, seed: int, stream: int) -> Tensor | None:
        """Draw *count* of the classes that the networks know, if they know any."""
        if not self._classes:
            return None
        drawn = np.random.default_rng([seed, stream]).integers(0, self._classes, count)
        return torch.from_numpy(drawn).to(self._device)


@contextmanager
def _outputs(network: nn.Module, side: int, found: dict[str, Tensor]) -> Iterator[None]:
    """Add to *found*, pooled to *side*, what each layer returns: each module that multiplies by a weight of its own.

    The names are those of the modules in *network*, in the order in which they are called.
    """

    def keep(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.ndim > 0:
            # A copy, because an activation that follows may work in place.
            found[name] = _pooled(output, side).clone()

    handles = [
        module.register_forward_hook(partial(keep, name))
        for name, module in network.named_modules()
        if name and (is_parametrized(module) or any(weight.ndim > 1 for weight in module.parameters(recurse=False)))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _pooled(output: Tensor, side: int) -> Tensor:
    """Average maps (N, C, H, W) to at most *side* by *side*, or tokens (N, T, C) to one; return (N, F)."""
    if output.ndim == 4:
        output = adaptive_avg_pool2d(output, (min(side, output.shape[2]), min(side, output.shape[3])))
    elif output.ndim == 3:
        output = output.mean(1)
    return output.float().reshape(len(output), -1)
