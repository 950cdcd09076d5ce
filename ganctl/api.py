"""All that a plugin imports. Light: it needs pydantic and no torch.

A plugin is its options: a frozen pydantic model whose fields are what ``--set`` takes, what ``ganctl show`` prints and
what ``config.toml`` records. It is registered by an entry point in one of the groups ``ganctl.architectures``,
``ganctl.losses``, ``ganctl.datasets`` and ``ganctl.metrics``, and the entry point's name is its only name.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from ganctl.errors import GanctlError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, device, nn

API_VERSION = 1
"""The contract that this ganctl speaks. A plugin states the one that it was written for."""

OLDEST_API_VERSION = 1
"""The oldest that it still loads plugins of. ``plugins/README.md`` says what changes a number, and what does not."""

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is (None: unknown)."""


class Plugin(BaseModel):
    """The base of every plugin: its fields are its options, its docstring what ``ganctl show`` prints.

    Give each field bounds and a description: ``slope: float = Field(default=0.2, ge=0, le=1, description="...")``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    api_version: ClassVar[int]
    """State ``api_version = 1`` in the class's own body: an inherited number proves nothing."""

    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Settings that suit this plugin, by dotted key: ``{"train.d_steps": 5}``. The user's own settings win."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            for base in cls.__mro__[1:]:
                if callable(vars(base).get(name)):
                    raise TypeError(
                        f"{cls.__name__}.{name}: an option cannot have the name of {base.__name__}.{name}()"
                    )


class DataSpec(BaseModel):
    """What a network is built for: square images of ``size`` pixels, with 1 or 3 channels, of these classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]
    classes: tuple[str, ...] = ()


class Networks(NamedTuple):
    """The two players.

    ``generator``: (latents (N, Z), labels (N,) or None) -> images (N, C, H, W) in [-1, 1]; in eval mode a function of
    its arguments alone. One that also takes labels (N, K), shares of each class, can be filmed between classes.
    ``discriminator``: (images, labels or None) -> logits (N,) or (N, M), or a :class:`Judgement`.
    """

    generator: nn.Module
    discriminator: nn.Module


class Judgement(NamedTuple):
    """What a discriminator may return in place of bare logits."""

    logits: Tensor
    """(N,), or (N, M) for patches or scales; unnormalised, larger means more real."""
    class_logits: Tensor | None = None
    """(N, K), an auxiliary classifier's."""
    aux: Mapping[str, Tensor] = MappingProxyType({})
    """(N, ...), whatever else a loss may want. A mapping that computes them when they are read costs others nothing."""


class Architecture(Plugin):
    """A generator and a discriminator for any :class:`DataSpec`."""

    latent_dim: int = Field(default=128, ge=1, le=65536, description="numbers in a latent, from which an image is made")

    def build(self, data: DataSpec) -> Networks:
        """Return freshly initialised networks. Raise :class:`GanctlError` for what cannot be built."""
        raise NotImplementedError

    def hints(self, data: DataSpec) -> Sequence[str]:
        """Say what of these options can be built and is known to go wrong, a line each; shown before training."""
        return ()


class _Returned(Mapping[str, "Tensor"]):
    """What a discriminator returns besides logits. Asking for more refuses the pair of plugins."""

    def __init__(self, aux: Mapping[str, Tensor]) -> None:
        self._aux = aux

    def __getitem__(self, name: str) -> Tensor:
        # Not `in` the mapping itself, which would compute what it looks for.
        if name not in tuple(self._aux):
            raise GanctlError(
                f"the loss reads {name!r}, which this discriminator does not return; choose the architecture that the "
                "loss was made for, or another loss"
            )
        return self._aux[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aux)

    def __len__(self) -> int:
        return len(self._aux)


class Batch:
    """What a loss gets for real and for fake images. What is expensive is computed when first read.

    Reading what is not there (labels of unlabelled data, class logits of a discriminator without a classifier) refuses
    the pair of plugins, with the remedy.
    """

    def __init__(
        self,
        images: Tensor,
        judge: Callable[[Tensor], Judgement],
        *,
        labels: Tensor | None = None,
        latents: Tensor | None = None,
        judgement: Judgement | None = None,
    ) -> None:
        self.images = images
        """(N, C, H, W) in [-1, 1], before noise and augmentation."""
        self._judge = judge
        self._labels = labels
        self._latents = latents
        if judgement is not None:
            self.judgement = judgement

    @cached_property
    def judgement(self) -> Judgement:
        """The discriminator's answer to :attr:`images`, computed once."""
        return self._judge(self.images)

    @property
    def logits(self) -> Tensor:
        """(N,) or (N, M). In the generator's step the real ones are judged only if read."""
        return self.judgement.logits

    @property
    def class_logits(self) -> Tensor:
        """(N, K), from the discriminator's auxiliary classifier."""
        if self.judgement.class_logits is None:
            raise GanctlError(
                "the loss needs an auxiliary classifier, and this discriminator has none; "
                "ganctl's own architectures have one with --set arch.conditioning=auxiliary"
            )
        return self.judgement.class_logits

    @property
    def aux(self) -> Mapping[str, Tensor]:
        """Whatever else the discriminator returns, by name."""
        return _Returned(self.judgement.aux)

    @property
    def labels(self) -> Tensor:
        """(N,) class numbers; a fake has its real neighbour's."""
        if self._labels is None:
            raise GanctlError("the loss needs labels, which this data set has not; sort the images into class folders")
        return self._labels

    @property
    def latents(self) -> Tensor:
        """(N, Z), of fakes only."""
        if self._latents is None:
            raise GanctlError("the loss reads the latents of real images, which have none")
        return self._latents

    def judge(self, images: Tensor) -> Judgement:
        """Judge other images, with this step's discriminator and the same noise, augmentation and labels."""
        return self._judge(images)


class Step(NamedTuple):
    """Where training is, for penalties and for what follows a step."""

    number: int
    """Updates of this network so far."""
    images: int
    """Real images shown so far."""
    generator: nn.Module
    discriminator: nn.Module
    state: MutableMapping[str, Tensor]
    """The loss's own numbers: kept in the checkpoint."""


Terms: TypeAlias = "Tensor | Mapping[str, Tensor]"
"""A scalar, or named scalars that are summed and logged (``loss_d_real``, ``loss_d_fake``)."""


class Loss(Plugin):
    """What the two networks minimise. Logits are unnormalised and larger means more real."""

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        """Return what the discriminator minimises; ``fake.images`` carry no gradient to the generator."""
        raise NotImplementedError

    def generator_loss(self, fake: Batch, real: Batch) -> Terms:
        """Return what the generator minimises."""
        raise NotImplementedError

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        """Return named scalars to add to the discriminator's loss (R1, R2, gradient penalty); none by default."""
        return {}

    def generator_penalty(self, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        """Return named scalars to add to the generator's loss (path length); none by default."""
        return {}

    def after_discriminator_step(self, step: Step) -> None:
        """Change the discriminator after its optimiser did (weight clipping); nothing by default."""


class PenalisedLoss(Loss):
    """A loss that can add gradient penalties to what the discriminator minimises. See :mod:`ganctl.penalties`."""

    r1_weight: float = Field(default=0.0, ge=0, description="of the R1 penalty, on the gradients at real images")
    r2_weight: float = Field(default=0.0, ge=0, description="of the R2 penalty, on the gradients at fakes")
    gp_weight: float = Field(default=0.0, ge=0, description="of WGAN-GP's penalty, on the gradients between the two")
    penalty_every: int = Field(
        default=1, ge=1, description="add penalties in every so many discriminator steps, as many times as strong"
    )

    def discriminator_penalty(self, real: Batch, fake: Batch, step: Step) -> Mapping[str, Tensor]:
        """Return those with a weight; in steps between two penalties they are zero, so that their means are right."""
        from ganctl import penalties

        due = step.number % self.penalty_every == 0
        kinds: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "r1": (self.r1_weight, lambda: penalties.r1(real, step)),
            "r2": (self.r2_weight, lambda: penalties.r2(fake, step)),
            "gp": (self.gp_weight, lambda: penalties.gradient_penalty(real, fake, step)),
        }
        return {
            f"loss_d_{name}": self.penalty_every * weight * penalty() if due else real.images.new_zeros(())
            for name, (weight, penalty) in kinds.items()
            if weight
        }


@dataclass(frozen=True)
class Description:
    """What a data set says of itself without touching the network or decoding an image."""

    count: int | None
    """Images, or None where that is known only once they are there."""
    classes: tuple[str, ...] = ()
    channels: Literal[1, 3] = 3
    needs: str = ""
    """What has to be fetched or drawn first, in words: ``"a download of 170 MB"``."""


class Record(NamedTuple):
    """One image of a data set, not yet read."""

    name: str
    """Names it in messages, and for ``read``."""
    label: int = 0
    """Its class's place in ``Description.classes``; 0 where there are none."""
    image: bytes | Image | None = None
    """What ``read`` is to return, where that is in hand already."""


class Dataset(Plugin):
    """A source of images, read once and in parallel into ganctl's packed form: one by one, or in order.

    An instance is sent to other processes by pickling its options, so ``records`` and ``read`` must depend on them
    alone. ``describe`` is called often and by light commands: keep it quick, offline and free of torch.
    """

    def describe(self) -> Description:
        """Say what there is. Raise :class:`GanctlError` where the source is missing or unusable."""
        raise NotImplementedError

    def prepare(self, progress: Progress) -> None:
        """Fetch what ``records`` and ``read`` need, once; nothing by default."""

    def records(self) -> Sequence[Record] | Iterator[Record]:
        """List the images in a fixed order, without decoding any.

        Where they can only be had in order, yield each with its ``image``; how many there are, nobody has to know.
        They are then decoded in threads, as they come, and no more than a few are held at a time.
        """
        raise NotImplementedError

    def ignored(self) -> Mapping[str, int]:
        """Count what lies beside the images and is not taken for one, by kind; ``ganctl data check`` tells of it."""
        return {}

    def read(self, record: Record, size: int) -> bytes | Image:
        """Return one image, as an encoded file's bytes or decoded. *size* is the side it will have, as a hint.

        By default that is the record's own. Raise :class:`GanctlError` or OSError for a broken one.
        """
        if record.image is None:
            raise NotImplementedError
        return record.image

    def fingerprint(self) -> str:
        """Return a text that changes when the images do, which makes ganctl pack them again.

        By default that is when the options change, or the file that the class is in.
        """
        code = Path(inspect.getfile(type(self))).read_bytes()
        return hashlib.sha256(self.model_dump_json().encode() + code).hexdigest()


class Extractor(BaseModel):
    """What turns images into the features that metrics compare. Metrics with equal extractors share one pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: ClassVar[int] = 32
    """Images that are taken at a time; what fits into the processor's caches is quickest."""

    def load(self, device: device, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return what takes bytes (N, C, H, W) on *device*, of 1 or 3 channels, and returns features (N, F).

        Raise :class:`GanctlError` where its weights are missing, or are not what they should be.
        """
        raise NotImplementedError

    def protocol(self) -> Mapping[str, Any]:
        """Return what features depend on, in plain types: ``{"extractor": ..., "weights": ..., "resize": ...}``."""
        raise NotImplementedError


class Metric(Plugin):
    """Figures of how good generated images are, beside real ones.

    It compares features, which are on the CPU: those of its :meth:`extractor`, or the images themselves.
    """

    lower_is_better: ClassVar[bool] = True
    """Of each of its figures."""

    def extractor(self) -> Extractor | None:
        """Return what turns images into features; None, as by default: bytes (N, C, H, W) are the features."""
        return None

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return what :meth:`figures` needs to know of one set of images; by default its ``"features"``."""
        return {"features": features}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Compare two sets by their statistics, and return figures by name. The first is what "best" is judged by.

        Raise :class:`GanctlError` where there are too few images to say anything.
        """
        raise NotImplementedError

    def protocol(self) -> Mapping[str, Any]:
        """Return what the figures depend on beside features and numbers of images; by default the options."""
        return self.model_dump(mode="json")

    def hints(self, reals: int, fakes: int) -> Sequence[str]:
        """Say what is known to mislead with so many images, a line each."""
        return ()
