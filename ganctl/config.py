"""Settings: the tables, their keys, defaults and bounds, and one run's resolved whole.

:mod:`ganctl.resolve` makes a :class:`Settings` from layers of defaults, recipes and flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ganctl import registry
from ganctl.api import Architecture, Dataset, DataSpec, Loss, Metric

BUILT_IN = "built-in"
TABLES = ("data", "arch", "loss", "optim", "optim.g", "optim.d", "augment", "train", "metric")


def _once(names: Sequence[object]) -> tuple[object, ...]:
    """Return *names*, which may be anything as yet, each but once."""
    return tuple(name for place, name in enumerate(names) if name not in names[:place])


class Table(BaseModel):
    """A table of settings. Its fields are keys of ``--set`` and of recipes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class DataSettings(Table):
    """What is trained on, apart from the data set's own options."""

    size: int = Field(default=64, ge=8, le=2048, description="side of the square images, in pixels")
    channels: Literal[1, 3] = Field(default=3, description="1 for grey, 3 for colour; by default what the images are")
    limit: int | None = Field(
        default=None, ge=2, description="train on a seeded subset of so many images, balanced over classes"
    )
    classes: tuple[str, ...] = Field(default=(), description="train on these classes only; empty: on all")
    flip: bool = Field(default=False, description="mirror half of the images, at random")
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop", description="how images that are not square become so"
    )
    background: str = Field(default="white", description="colour laid under transparent images and around padded ones")
    on_error: Literal["skip", "fail"] = Field(
        default="skip", description="what a broken image does: it is skipped, or ends the run"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _are_names(cls, value: object) -> object:
        """Take one name for a list of one, and a number, as digits' classes are called, for its name."""
        names = value if isinstance(value, list | tuple) else [value]
        return _once([str(name) if isinstance(name, int) else name for name in names])

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise ValueError("must be a colour such as white, '#20a0ff' or 'rgb(32, 160, 255)'") from None
        return value


OPTIMISERS = ["adam", "adamw", "rmsprop", "sgd", "adadelta", "adafactor", "adagrad", "adamax", "asgd", "nadam", "radam"]
"""Those that shells offer, of the many that there may be."""


class OptimiserSettings(Table):
    """One network's optimiser."""

    name: str = Field(
        default="adam",
        description="one of torch.optim's, by name: adam, adamw, rmsprop, sgd, ...",
        examples=OPTIMISERS,
    )
    lr: float = Field(default=2e-4, gt=0, le=10, description="learning rate")
    betas: tuple[float, float] = Field(default=(0.5, 0.999), description="decay of Adam's two running means")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="weight decay")
    decay: Literal["none", "linear", "cosine"] = Field(
        default="none", description="how the learning rate falls to zero towards the end of the run"
    )
    decay_from: float = Field(default=0.0, ge=0, lt=1, description="share of the run after which it begins to fall")
    clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradients of all parameters together; by default any"
    )

    @field_validator("betas")
    @classmethod
    def _are_decays(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("must be two numbers of at least 0 and less than 1, such as [0.5, 0.999]")
        return value


class OptimSettings(Table):
    """Both networks' optimisers."""

    g: OptimiserSettings = OptimiserSettings()
    d: OptimiserSettings = OptimiserSettings()


PAPER_STRENGTHS = MappingProxyType({"translation": 0.125, "colour": 1.0, "cutout": 0.5})
"""Of differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738)."""


class AugmentSettings(Table):
    """What the discriminator sees in place of the images, real and fake alike."""

    noise: float = Field(default=0.0, ge=0, le=10, description="standard deviation of the noise added at first")
    noise_until: float = Field(
        default=1.0, gt=0, le=1, description="share of the run in which the noise falls, linearly, to nothing"
    )
    translation: float = Field(
        default=0.0, ge=0, le=0.5, description="largest shift, as a share of the side; true: 0.125"
    )
    colour: float = Field(
        default=0.0, ge=0, le=1, description="strength of changed brightness, saturation and contrast; true: 1"
    )
    cutout: float = Field(
        default=0.0, ge=0, lt=1, description="side of the square that is blanked, as a share of the image's; true: 0.5"
    )

    @field_validator("translation", "colour", "cutout", mode="before")
    @classmethod
    def _true_is_as_published(cls, value: object, info: ValidationInfo) -> object:
        return PAPER_STRENGTHS[info.field_name or ""] * value if isinstance(value, bool) else value


class TrainSettings(Table):
    """How long and in what way."""

    epochs: int | None = Field(
        default=None, ge=1, description="passes over the images; by default what suits their number"
    )
    steps: int | None = Field(default=None, ge=1, description="stop after so many generator steps")
    images: int | None = Field(default=None, ge=1, description="stop after so many real images have been shown")
    batch_size: int = Field(
        default=64, ge=2, le=65536, description="real images in a discriminator step, and as many fakes"
    )
    g_batch_size: int | None = Field(
        default=None, ge=2, le=65536, description="fakes in a generator step, where it differs"
    )
    d_steps: int = Field(default=1, ge=1, le=1000, description="discriminator steps per generator step")
    joint: bool = Field(default=False, description="judge real and fake in one pass, which changes batch normalisation")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:1 or mps; auto: a GPU if there is one",
        examples=["cpu", "cuda", "mps"],
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="of the networks' arithmetic; auto: bf16 where that is faster, by a probe on a CPU"
    )
    ema: float = Field(
        default=10_000,
        ge=0,
        description="half-life, in images drawn, of the generator's averaged weights that are kept; 0: none",
    )
    init: str | None = Field(
        default=None, description="run folder or safetensors file whose weights training starts from"
    )
    log_every: int = Field(default=50, ge=1, description="generator steps per row of metrics.jsonl")
    sample_every: int = Field(default=1, ge=1, description="epochs per sample sheet")
    checkpoint_every: int = Field(default=1, ge=1, description="epochs per checkpoint")
    eval_every: int = Field(default=0, ge=0, description="epochs per evaluation by metrics; 0: none")
    checkpoint_minutes: float = Field(
        default=10, gt=0, description="and a checkpoint at least so often within an epoch"
    )
    keep: int = Field(default=2, ge=1, description="checkpoints to keep, the last ones, beside the best")
    keep_every: int = Field(default=0, ge=0, description="and one of every so many epochs; 0: none")
    log: Literal["none", "tensorboard"] = Field(
        default="none", description="who else gets figures, sheets and film: tensorboard, in RUN/tensorboard"
    )

    @field_validator("init")
    @classmethod
    def _is_found_from_anywhere(cls, value: str | None) -> str | None:
        return None if value is None else str(Path(value).absolute())

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
            raise ValueError("must be auto, cpu, cuda, cuda:1 (or another number) or mps")
        return value

    @field_validator("ema", mode="before")
    @classmethod
    def _is_a_half_life(cls, value: object) -> object:
        if isinstance(value, bool):
            return cls.model_fields["ema"].default if value else 0
        if isinstance(value, float) and 0 < value < 1:
            raise ValueError("is a half-life in images (10000, or 0 for none), not a decay")
        return value


class MetricSettings(Table):
    """What generated images are judged by, apart from the metrics' own options."""

    name: tuple[str, ...] = Field(
        default=("fd-efflite0",), min_length=1, description="metrics; the first says which checkpoint is the best"
    )
    images: int = Field(default=2000, ge=2, le=1_000_000, description="generated images that are looked at")
    reals: int = Field(default=10_000, ge=4, description="real images that are looked at, at most: a seeded subset")

    @field_validator("name", mode="before")
    @classmethod
    def _are_names(cls, value: object) -> object:
        return _once(value if isinstance(value, list | tuple) else [value])


@dataclass(frozen=True)
class Settings:
    """One run's resolved settings. Make them with :func:`resolve`."""

    data: DataSettings
    optim: OptimSettings
    augment: AugmentSettings
    train: TrainSettings
    metric: MetricSettings
    source: str
    dataset: Dataset
    architecture: Architecture
    loss: Loss
    metrics: tuple[Metric, ...]
    spec: DataSpec
    entries: Mapping[str, registry.Entry]
    """The registrations of the plugins, by table: data, arch, loss; and of metrics by metric.NAME."""
    sources: Mapping[str, str]
    """Where each key's value came from; a key that is not in it has its built-in value."""
    origins: Mapping[str, str]
    """The same; but for what a run's config.toml says, where that run had it from."""
    skipped: tuple[str, ...] = ()
    """What recipes wanted that does not apply, in words."""

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return every setting that has a value, in tables as in config.toml; plain types only."""
        plugins = {
            "data": {"source": self.source}
            | _dump(self.data)
            | _dump(self.dataset, skip={"path"} if self.source != self.entries["data"].name else set()),
            "arch": {"name": self.entries["arch"].name} | _dump(self.architecture),
            "loss": {"name": self.entries["loss"].name} | _dump(self.loss),
        }
        return plugins | {
            "optim": _dump(self.optim),
            "augment": _dump(self.augment),
            "train": _dump(self.train),
            "metric": _dump(self.metric) | {k: v for metric in self.metrics for k, v in _dump(metric).items()},
        }

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Yield (dotted key, value, source) of every setting that has a value."""
        for key, value in flatten(self.tables()):
            yield key, value, self.sources.get(key, BUILT_IN)

    def steps_per_epoch(self, images: int) -> int:
        """Return the generator steps in which the discriminator sees *images* real ones, rounded up."""
        return steps_per_epoch(images, self.train.batch_size, self.train.d_steps)

    def total_steps(self, images: int) -> int:
        """Return the generator steps of a run on *images*: by its epochs, steps or images, whichever ends first."""
        lengths = [self.train.steps] if self.train.steps else []
        if self.train.images:
            lengths.append(self.steps_per_epoch(self.train.images))
        if self.train.epochs:
            lengths.append(self.train.epochs * self.steps_per_epoch(images))
        return min(lengths)


def steps_per_epoch(images: int, batch_size: int, d_steps: int) -> int:
    """Return the generator steps in which the discriminator sees *images* real ones, rounded up."""
    return -(-images // (batch_size * d_steps))


def _dump(model: BaseModel, skip: Iterable[str] = ()) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True, exclude=set(skip))


def flatten(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values. Tables have the depth of settings: what is deeper is an option's own value."""
    for name, value in tables.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in TABLES:
            yield from flatten(value, f"{key}.")
        else:
            yield key, value
