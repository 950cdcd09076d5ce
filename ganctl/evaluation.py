"""Metrics of generated images: which real ones they are compared with, under which protocol, beside which floor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganctl import sampling
from ganctl.api import Extractor, Metric, Progress
from ganctl.config import Settings
from ganctl.data.batches import choose
from ganctl.data.pack import Packed
from ganctl.errors import GanctlError
from ganctl.remembered import code_of, remembered

SEED = 1_618_033
"""Of what an evaluation draws; one for all, so that runs compare."""
FEWEST = 4
"""Real images with which there is something to compare, and a floor."""
TRAINED_ON = "training images"
"""The split of the images that a run is trained on."""

_BLOCK = 256
"""Real images that are read at a time."""

Pixels: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]


class Reals(NamedTuple):
    """Real images to compare with."""

    images: Pixels
    """(N, H, W, C), mapped from the pack; among them are others."""
    rows: Numbers
    """Which of them are compared with."""
    of: int
    """How many there were to choose from."""
    split: str
    """What they are, in words."""
    digest: str
    """Of the pixels and the choice."""

    def blocks(self) -> Iterator[Pixels]:
        """Yield the images."""
        for start in range(0, len(self.rows), _BLOCK):
            yield self.images[self.rows[start : start + _BLOCK]]


def chosen(settings: Settings, packed: Packed) -> tuple[Numbers, Numbers | None]:
    """Return the rows of *packed* that *settings* choose, and their labels if they have classes."""
    rows, labels = choose(
        packed.labels, packed.manifest.classes, settings.data.classes, settings.data.limit, settings.train.seed
    )
    return rows, None if labels is None else labels[rows]


def choose_reals(packed: Packed, rows: Numbers, most: int, split: str) -> Reals:
    """Take *rows* of *packed*, or a seeded subset where they are more than *most*.

    Raise :class:`GanctlError` where they are too few.
    """
    if len(rows) < FEWEST:
        raise GanctlError(f"an evaluation needs {FEWEST} real images or more, and there are {len(rows)}")
    few = rows if len(rows) <= most else np.sort(np.random.default_rng(SEED).permutation(rows)[:most])
    digest = hashlib.sha256(packed.manifest.hash.encode() + few.tobytes()).hexdigest()
    return Reals(packed.images, few, len(rows), split, digest)


class Score(NamedTuple):
    """One figure of one evaluation."""

    name: str
    value: float
    floor: float
    """The same figure of real images against other real ones, as many as the fakes where there are enough."""
    lower_is_better: bool
    protocol: Mapping[str, Any]
    """All that the value depends on beside the generator: two that differ in it cannot be compared."""

    def row(self, step: int, epoch: int, images: int) -> dict[str, Any]:
        """Return it as metrics.jsonl has it, of the generator after so many steps, epochs and real images."""
        return {"kind": "metric", "step": step, "epoch": epoch, "images": images, **self._asdict()}


class Evaluator:
    """Compares sets of generated images with the same real ones by the same *metrics*.

    What is known of the real ones is computed when it is made, or read from the cache.
    """

    def __init__(
        self, metrics: Iterable[Metric], reals: Reals, fakes: int, device: torch.device, progress: Progress
    ) -> None:
        """*fakes* is how many a set of generated images has. Raise :class:`GanctlError` where weights are missing."""
        if fakes < 2:
            raise GanctlError(f"an evaluation needs two generated images or more, not {fakes}")
        self.fakes = fakes
        self._reals, self._device = reals, device
        self._held = min(fakes, len(reals.rows) // 2)
        self._networks: dict[Extractor, Callable[[Tensor], Tensor]] = {}
        self._known: list[_Known] = []
        features: dict[Extractor | None, Tensor] = {}
        for metric in metrics:
            extractor = metric.extractor()
            if extractor and extractor not in self._networks:
                self._networks[extractor] = extractor.load(device, progress)
        for metric in metrics:
            self._known.append(self._know(metric, features, progress))

    @property
    def hints(self) -> list[str]:
        """What is known to mislead with so many images, a line each."""
        counts = len(self._reals.rows), self.fakes
        return list(dict.fromkeys(line for known in self._known for line in known.metric.hints(*counts)))

    def scores(self, images: Iterable[Pixels], about: Mapping[str, Any], progress: Progress) -> list[Score]:
        """Compare generated *images*, in blocks (n, H, W, C); *about* is what the protocol has of these."""
        wanted = {known.metric.extractor() for known in self._known}
        features = self._features(images, wanted, "looking at generated images", self.fakes, progress)
        scores = []
        for metric, real, floors in self._known:
            figures = metric.figures(real, metric.statistics(features[metric.extractor()]))
            protocol = self._protocol(metric) | dict(about)
            scores += [
                Score(name, float(value), floors[name], metric.lower_is_better, protocol)
                for name, value in figures.items()
            ]
        return scores

    def _know(self, metric: Metric, features: dict[Extractor | None, Tensor], progress: Progress) -> _Known:
        """Return the statistics of the real images, and the figures that these have among themselves."""
        key = {"reals": self._reals.digest, "metric": dict(metric.protocol()), "code": code_of(metric)}
        extractor = metric.extractor()
        if extractor:
            key |= {"extractor": dict(extractor.protocol()), "extractor code": code_of(extractor)}

        def look() -> Tensor:
            if extractor not in features:
                features[extractor] = self._of_reals(extractor, progress)
            return features[extractor]

        def floors() -> dict[str, Tensor]:
            order = torch.from_numpy(np.random.default_rng(SEED).permutation(len(self._reals.rows)))
            held, rest = (metric.statistics(look()[some]) for some in (order[: self._held], order[self._held :]))
            return {name: torch.tensor(float(v), dtype=torch.float64) for name, v in metric.figures(rest, held).items()}

        # Features are kept on their own: from these, statistics are soon made again. From pixels they may take long.
        real = metric.statistics(look()) if extractor else remembered(key, lambda: metric.statistics(look()))
        found = remembered(key | {"held": self._held}, floors)
        return _Known(metric, real, {name: float(value) for name, value in found.items()})

    def _of_reals(self, extractor: Extractor | None, progress: Progress) -> Tensor:
        """Return the features of the real images, or their pixels."""
        what, count = "looking at real images", len(self._reals.rows)
        blocks = self._reals.blocks()
        if extractor is None:
            return self._features(blocks, {None}, what, count, progress)[None]
        key = {"reals": self._reals.digest, "extractor": dict(extractor.protocol()), "code": code_of(extractor)}
        return remembered(
            key, lambda: {"features": self._features(blocks, {extractor}, what, count, progress)[extractor]}
        )["features"]

    def _features(
        self,
        images: Iterable[Pixels],
        extractors: Iterable[Extractor | None],
        what: str,
        count: int,
        progress: Progress,
    ) -> dict[Extractor | None, Tensor]:
        """Return what each of *extractors* makes of *images*, on the CPU; None makes nothing of them."""
        parts: dict[Extractor | None, list[Tensor]] = {extractor: [] for extractor in extractors}
        done = 0
        progress(what, 0, count)
        with torch.inference_mode(), _single_precision():
            for block in images:
                pixels = torch.from_numpy(block).permute(0, 3, 1, 2)
                for extractor, found in parts.items():
                    if extractor is None:
                        found.append(pixels)
                        continue
                    for some in torch.split(pixels, extractor.batch):
                        found.append(self._networks[extractor](some.to(self._device)).float().cpu())
                done += len(block)
                progress(what, done, count)
        return {extractor: torch.cat(found) for extractor, found in parts.items()}

    def _protocol(self, metric: Metric) -> dict[str, Any]:
        extractor = metric.extractor()
        _, height, width, channels = self._reals.images.shape
        return {
            **(extractor.protocol() if extractor else {"extractor": "none"}),
            **metric.protocol(),
            "size": f"{width}x{height}, {'grey' if channels == 1 else 'colour'}",
            "reals": len(self._reals.rows),
            "reals_of": self._reals.of,
            "split": self._reals.split,
            "data": self._reals.digest[:16],
            "floor": f"{self._held} of the real images against the others",
            "fakes": self.fakes,
        }


@contextmanager
def _single_precision() -> Iterator[None]:
    """Have what claims to be of single precision be so on every GPU, whatever training has allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Known(NamedTuple):
    metric: Metric
    real: Mapping[str, Tensor]
    """The statistics of the real images."""
    floors: Mapping[str, float]


class Judge:
    """Evaluates a generator while it is trained, as ``ganctl evaluate`` would evaluate what it exports."""

    def __init__(self, settings: Settings, packed: Packed, device: torch.device, progress: Progress) -> None:
        """*progress* shows each evaluation. Raise :class:`GanctlError` as :class:`Evaluator` does."""
        rows, known = chosen(settings, packed)
        self._count, self._dim = settings.metric.images, settings.architecture.latent_dim
        self._labels = labels_like(known, len(settings.spec.classes), self._count)
        self._about = about_generator(settings.train.ema > 0, known, len(settings.spec.classes))
        self._progress = progress
        reals = choose_reals(packed, rows, settings.metric.reals, TRAINED_ON)
        self._evaluator = Evaluator(settings.metrics, reals, self._count, device, progress)

    @property
    def hints(self) -> list[str]:
        """What is known to mislead with so many images, a line each."""
        return self._evaluator.hints

    def scores(self, generator: nn.Module) -> list[Score]:
        """Evaluate *generator*, the one that is exported; the first score says which checkpoint is the best."""
        fakes = draw_fakes(generator, self._dim, self._labels, self._count)
        return self._evaluator.scores(fakes, self._about, self._progress)


def labels_like(labels: Numbers | None, classes: int, count: int) -> Tensor | None:
    """Return *count* class numbers in the proportions of *labels*, or evenly where there are none to go by.

    None where there are no classes.
    """
    if not classes:
        return None
    known = np.arange(classes) if labels is None else np.sort(labels)
    drawn = known[np.arange(count) * len(known) // count]
    # Not sorted: a metric may look at parts of the images.
    return torch.from_numpy(np.random.default_rng(SEED).permutation(drawn))


def draw_fakes(generator: nn.Module, dim: int, labels: Tensor | None, count: int) -> Iterator[Pixels]:
    """Yield *count* images of *generator* in blocks, from latents of *dim* numbers that are the same each time."""
    yield from sampling.draw(generator, sampling.latents(SEED, count, dim), labels)


def about_generator(ema: bool, labels: Numbers | None, classes: int) -> dict[str, Any]:
    """Return what the protocol has of images that :func:`draw_fakes` drew."""
    drawn = {"labels": "evenly" if labels is None else "in the proportions of the data"} if classes else {}
    return {"ema": ema, "seed": SEED} | drawn
