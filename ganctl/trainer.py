"""The training loop: a generator of reports. It prints nothing and writes no file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ganctl import optim
from ganctl.api import Batch, Judgement, Step
from ganctl.augment import Augmentation
from ganctl.config import OptimiserSettings, Settings
from ganctl.data.batches import Batches, RealBatch
from ganctl.ema import EMA
from ganctl.health import vitals
from ganctl.judging import halves, judgement, named, scores
from ganctl.meters import Meter
from ganctl.randomness import RandomState


class Report(NamedTuple):
    """What the trainer says before the first step and after each."""

    step: int
    """Generator steps so far."""
    epoch: int
    """Epochs so far; the one that training is in counts."""
    images: int
    """Real images shown so far."""
    seconds: float
    """Spent training so far, over all sessions of the run."""
    rows: Mapping[Literal["step", "epoch"], Mapping[str, float]] = MappingProxyType({})
    """Means of loss_g, loss_d, score_real ... since the last row of the kind; most steps have none."""


class Drawn(NamedTuple):
    """Fakes (N, C, H, W) in float32, and the latents (N, Z) that they were drawn from."""

    latents: Tensor
    images: Tensor


class Trainer:
    """Trains one pair of networks. Iterate over :meth:`run`; between reports its whole state may be read and saved."""

    def __init__(self, settings: Settings, batches: Batches, device: torch.device, precision: torch.dtype) -> None:
        self.settings, self.batches, self.device, self.precision = settings, batches, device, precision
        self.loss = settings.loss
        self.random = RandomState(settings.train.seed, device)
        with self.random:
            networks = settings.architecture.build(settings.spec)
        self.generator, self.discriminator = (
            n.to(device).to(memory_format=torch.channels_last).train() for n in networks
        )
        self.ema = EMA(self.generator, settings.train.ema)
        self.g_optimiser = self._optimiser("g", self.generator)
        self.d_optimiser = self._optimiser("d", self.discriminator)
        # Scaling the loss is what keeps small gradients from vanishing in half precision; otherwise it does nothing.
        half = precision == torch.float16
        self.g_scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.d_scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.loss_state: dict[str, Tensor] = {}
        self.meters = {"step": Meter(), "epoch": Meter(), "health": Meter()}
        self.notes: dict[str, Any] = {}
        """Plain values that whoever consumes the reports finds again after a resume."""
        self.step = self.images = 0
        self.seconds = 0.0
        self._clock = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Generator steps that show about as many real images as there are."""
        return self.settings.steps_per_epoch(len(self.batches))

    @property
    def total_steps(self) -> int:
        """Generator steps of the whole run."""
        return self.settings.total_steps(len(self.batches))

    @property
    def _progress(self) -> float:
        """The share of the run that is over."""
        return self.step / self.total_steps

    @property
    def _watched(self) -> bool:
        """Whether answers and gradients are measured in the step that is being taken."""
        return self.step % vitals.MEASURED_EVERY == 0

    def run(self) -> Iterator[Report]:
        """Train to the end, from wherever the state is. Whoever consumes the reports cannot change the run."""
        with self.random:
            for report in self._train():
                with self.random.left():
                    yield report

    def _train(self) -> Iterator[Report]:
        train = self.settings.train
        self._clock = time.perf_counter()
        if self.step == 0:
            yield self._report({})
        while self.step < self.total_steps:
            for left in reversed(range(train.d_steps)):
                real = self.batches.at(self.images, train.batch_size)
                # The generator learns from the last fakes, and so draws them once.
                drawn = self._draw(real, keep=not left and train.g_batch_size is None)
                self._train_discriminator(real, drawn)
                self.images += train.batch_size
            self._train_generator(real, drawn)
            self.step += 1
            count = train.g_batch_size or train.batch_size
            self.ema.update(self.step * count, count)

            last = self.step == self.total_steps
            rows: dict[Literal["step", "epoch"], Meter] = {}
            if last or self.step % train.log_every == 0:
                rows["step"] = self.meters["step"]
            if last or self.step % self.steps_per_epoch == 0:
                rows["epoch"] = self.meters["epoch"]
            yield self._report(rows)

    def _draw(self, data: RealBatch, keep: bool) -> Drawn:
        """Draw as many fakes as there are images in *data*, of the same classes; *keep* what a gradient needs."""
        latents = self._latents(len(data.images))
        with self._autocast(), torch.set_grad_enabled(keep):
            return Drawn(latents, self.generator(latents, data.labels).float())

    def _train_discriminator(self, data: RealBatch, drawn: Drawn) -> None:
        train = self.settings.train
        step = Step(self.images // train.batch_size, self.images, self.generator, self.discriminator, self.loss_state)
        with self._autocast():
            real, fake = self._batches(data, Drawn(drawn.latents, drawn.images.detach()), joint=train.joint)
            terms = named("loss_d", self.loss.discriminator_loss(real, fake))
        # Gradients of gradients leave the range of half precision easily.
        terms |= self.loss.discriminator_penalty(real, fake, step)
        total = torch.stack([*terms.values()]).sum()
        self._update(total, self.discriminator, self.d_optimiser, self.d_scaler, self.settings.optim.d)
        self.loss.after_discriminator_step(step)
        self._measure(terms | {"loss_d": total} | scores(real.logits, fake.logits))
        if self._watched:
            self.meters["health"].add({"loss_d": total} | vitals.answers(real.logits, fake.logits))

    def _train_generator(self, data: RealBatch, drawn: Drawn) -> None:
        count = self.settings.train.g_batch_size
        if count is not None:
            data = self.batches.at(self.images - len(data.images), count)
            drawn = self._draw(data, keep=True)
        step = Step(self.step, self.images, self.generator, self.discriminator, self.loss_state)
        with self._autocast():
            real, fake = self._batches(data, drawn)
            terms = named("loss_g", self.loss.generator_loss(fake, real))
        terms |= self.loss.generator_penalty(fake, step)
        total = torch.stack([*terms.values()]).sum()
        self._update(total, self.generator, self.g_optimiser, self.g_scaler, self.settings.optim.g)
        self._measure(terms | {"loss_g": total})
        if self._watched:
            self.meters["health"].add({"loss_g": total})

    def _update(
        self,
        total: Tensor,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        settings: OptimiserSettings,
    ) -> None:
        # Gradients for these parameters alone: those of the other network are neither computed nor kept.
        parameters = trainable(network)
        torch.autograd.backward(scaler.scale(total), inputs=parameters)
        watched = network is self.generator and self._watched
        if watched or settings.clip is not None:
            scaler.unscale_(optimiser)
        if watched:
            self.meters["health"].add(vitals.gradients(network))
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        if settings.decay != "none":
            for group in optimiser.param_groups:
                group["lr"] = optim.rate(settings, self._progress)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()

    def _batches(self, data: RealBatch, drawn: Drawn, joint: bool = False) -> tuple[Batch, Batch]:
        """Pair real images with fakes, both to be judged when a loss reads what the discriminator says of them."""
        latents, fakes = drawn
        see_real, see_fake = (Augmentation(self.settings.augment, self._progress) for _ in range(2))

        def judge(see: Augmentation, images: Tensor) -> Judgement:
            return judgement(self.discriminator(see(images), data.labels))

        judged: tuple[Judgement | None, Judgement | None] = (None, None)
        if joint:
            labels = None if data.labels is None else torch.cat([data.labels, data.labels])
            seen = torch.cat([see_real(data.images), see_fake(fakes)])
            judged = halves(judgement(self.discriminator(seen, labels)))
        real = Batch(data.images, partial(judge, see_real), labels=data.labels, judgement=judged[0])
        fake = Batch(fakes, partial(judge, see_fake), labels=data.labels, latents=latents, judgement=judged[1])
        return real, fake

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.settings.architecture.latent_dim, device=self.device)

    def _measure(self, figures: Mapping[str, Tensor]) -> None:
        for kind in ("step", "epoch"):
            self.meters[kind].add(figures)

    def _report(self, meters: Mapping[Literal["step", "epoch"], Meter]) -> Report:
        now = time.perf_counter()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        rows = {kind: meter.read() | meter.speed(self.images, self.seconds) for kind, meter in meters.items()}
        return Report(self.step, -(-self.step // self.steps_per_epoch), self.images, self.seconds, rows)

    def _optimiser(self, player: Literal["g", "d"], network: nn.Module) -> torch.optim.Optimizer:
        key = f"optim.{player}"
        flagged = self.settings.sources.get(f"{key}.betas", "").startswith("--")
        return optim.make(getattr(self.settings.optim, player), trainable(network), self.device, key, flagged)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
