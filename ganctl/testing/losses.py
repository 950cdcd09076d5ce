"""The checks of losses, on a game that is small enough to know who should win it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ganctl.api import Architecture, Batch, DataSpec, Judgement, Loss, Step
from ganctl.errors import GanctlError
from ganctl.judging import judgement, named
from ganctl.testing.common import Check, at_bounds, option_checks, small

COUNT = 64
"""Images in a batch."""


def loss_checks(plugin: type[Loss], architecture: type[Architecture] | None = None) -> Iterator[Check]:
    """Yield the checks of a loss, with its default options, on a toy problem.

    One that reads what only its own discriminator says (``aux``) is checked with the discriminator of *architecture*.
    """
    yield from option_checks(plugin)
    made_for = None
    if architecture is not None:
        keys = {f"arch.{option}": option for option in architecture.model_fields}
        made_for = small(architecture, **{keys[key]: value for key, value in plugin.recipe.items() if key in keys})
    for name, check in {
        "terms-are-finite-scalars": _terms_are_finite,
        "terms-reach-both-networks": _terms_reach_both,
        "extreme-logits-stay-finite": _extremes_stay_finite,
        "terms-are-means": _terms_are_means,
        "patches-are-averaged": _patches_are_averaged,
        "same-seed-same-terms": _same_seed_same_terms,
        "options-work-at-their-bounds": _options_work_at_their_bounds,
        "discriminator-learns-to-part-real-from-fake": _discriminator_learns,
        "generator-raises-the-logits-of-its-fakes": _generator_raises_logits,
    }.items():
        yield Check(name, partial(check, plugin, made_for))


class _Linear(nn.Module):
    """Images (N, 1, 2, 2) -> a Judgement in two classes, with logits (N,), or (N, M) of *patches* that are alike."""

    def __init__(self, patches: int = 1) -> None:
        super().__init__()
        self.logits, self.classes, self.patches = nn.Linear(4, 1), nn.Linear(4, 2), patches

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Judgement:
        """Judge *images*."""
        flat = images.flatten(1)
        logits = self.logits(flat).squeeze(1) if self.patches == 1 else self.logits(flat).expand(-1, self.patches)
        return Judgement(logits, self.classes(flat))


class _Game:
    """Real images around +1 and fakes around -1, in two classes, and a discriminator that has learnt nothing yet.

    The generator's only parameter is a *shift* of all its fakes.
    """

    def __init__(self, architecture: Architecture | None = None, patches: int = 1, count: int = COUNT) -> None:
        torch.manual_seed(0)
        self.discriminator: nn.Module = _Linear(patches)
        self.shape, self.count = (1, 2, 2), count
        if architecture is not None:
            self.discriminator, size = _discriminator(architecture)
            self.shape, self.count = (3, size, size), count // 8
        self.shift = nn.Parameter(torch.full((1, 1, 1, 1), -1.0))
        self.step = Step(0, 0, nn.Identity(), self.discriminator, {})
        self.noise = 0.1 * torch.randn(2, self.count, *self.shape)
        self.repeats = 1
        self.scale = 1.0

    def batches(self, detached: bool) -> tuple[Batch, Batch]:
        """Return real images and fakes; *detached*, as in the discriminator's step, or not."""
        real, fake = self.noise.repeat(1, self.repeats, 1, 1, 1).unbind()
        fake = fake + (self.shift.detach() if detached else self.shift)
        labels = torch.arange(len(real)) % 2

        def judge(images: Tensor) -> Judgement:
            answer = judgement(self.discriminator(images, labels))
            return answer._replace(logits=self.scale * answer.logits)

        latents = torch.zeros(len(real), 4)
        return Batch(real + 1, judge, labels=labels), Batch(fake, judge, labels=labels, latents=latents)

    def d_terms(self, loss: Loss, penalties: bool = True) -> dict[str, Tensor]:
        """Return all that the discriminator minimises, or all but *penalties*."""
        real, fake = self.batches(detached=True)
        terms = named("loss_d", loss.discriminator_loss(real, fake))
        return terms | (named("", loss.discriminator_penalty(real, fake, self.step)) if penalties else {})

    def g_terms(self, loss: Loss) -> dict[str, Tensor]:
        """Return what the generator minimises, without penalties, which want a real one."""
        real, fake = self.batches(detached=False)
        return named("loss_g", loss.generator_loss(fake, real))

    def terms(self, loss: Loss, penalties: bool = True) -> dict[str, Tensor]:
        """Return all terms of both, from one seed and without their gradients."""
        torch.manual_seed(1)
        terms = self.d_terms(loss, penalties) | self.g_terms(loss)
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def gap(self) -> float:
        """Return how far real images' logits are above those of fakes, in the mean."""
        real, fake = self.batches(detached=True)
        return float(real.logits.mean() - fake.logits.mean())


def _discriminator(architecture: Architecture) -> tuple[nn.Module, int]:
    """Return the discriminator of the smallest images that *architecture* builds, and their side."""
    for size in (16, 32, 64, 128):
        try:
            networks = architecture.build(DataSpec(size=size, channels=3, classes=("one", "other")))
        except GanctlError:
            continue
        return networks.discriminator, size
    raise AssertionError(f"{type(architecture).__name__} builds no size up to 128 px")


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([*terms.values()]).sum()


def _terms_are_finite(plugin: type[Loss], architecture: Architecture | None) -> None:
    for name, term in _Game(architecture).terms(plugin()).items():
        assert term.isfinite(), f"{name} is {float(term)} at small logits; look for logarithms of 0 and divisions by 0"


def _terms_reach_both(plugin: type[Loss], architecture: Architecture | None) -> None:
    game, loss = _Game(architecture), plugin()
    for whose, terms, parameters in (
        ("discriminator_loss", game.d_terms(loss), [*game.discriminator.parameters()]),
        ("generator_loss", game.g_terms(loss), [game.shift]),
    ):
        total = _total(terms)
        gradients = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
        assert any(gradient is not None and gradient.count_nonzero() for gradient in gradients), (
            f"no gradient of {whose} reaches its network; detach neither logits nor images, and compute nothing in "
            "no_grad()"
        )


def _extremes_stay_finite(plugin: type[Loss], architecture: Architecture | None) -> None:
    for scale in (1e2, 1e4, -1e4):
        game, loss = _Game(architecture), plugin()
        game.scale = scale
        real, fake = game.batches(detached=False)
        largest = float(torch.cat([real.logits, fake.logits]).detach().abs().max())
        for whose, terms in (
            ("discriminator", named("loss_d", loss.discriminator_loss(real, fake))),
            ("generator", named("loss_g", loss.generator_loss(fake, real))),
        ):
            for name, term in terms.items():
                assert term.isfinite(), (
                    f"{name} is {float(term.detach())} at logits up to {largest:.0f}; use softplus or "
                    "binary_cross_entropy_with_logits in place of exponentials and logarithms"
                )
            total = _total(terms)
            if not total.requires_grad:
                continue
            (gradient,) = torch.autograd.grad(total, game.shift, retain_graph=True, allow_unused=True)
            assert gradient is None or gradient.isfinite().all(), (
                f"the gradient of the {whose}'s loss is not finite at logits up to {largest:.0f}; use softplus or "
                "binary_cross_entropy_with_logits in place of exponentials and logarithms"
            )


def _terms_are_means(plugin: type[Loss], architecture: Architecture | None) -> None:
    game, loss = _Game(architecture), plugin()
    once = game.terms(loss)
    game.repeats = 2
    # Twice the same images; random parts of a loss may make a difference, but not one of that size.
    for name, term in game.terms(loss).items():
        before, after = float(once[name]), float(term)
        assert abs(after - before) <= 0.4 * abs(before) + 0.05, (
            f"{name} goes from {before:.3g} to {after:.3g} when every image is there twice; take the mean over images, "
            "so that learning rates hold for any batch size"
        )


def _patches_are_averaged(plugin: type[Loss], architecture: Architecture | None) -> None:
    if architecture is not None:
        return
    # A penalty is on what images do to all of an image's logits, and so depends on how many there are.
    once, thrice = (_Game(patches=patches).terms(plugin(), penalties=False) for patches in (1, 3))
    for name, term in thrice.items():
        before, after = float(once[name]), float(term)
        assert abs(after - before) <= 0.4 * abs(before) + 0.05, (
            f"{name} goes from {before:.3g} to {after:.3g} with (N, 3) logits that are alike; "
            "take the mean over all of them"
        )


def _same_seed_same_terms(plugin: type[Loss], architecture: Architecture | None) -> None:
    loss = plugin()
    first: dict[str, Tensor] = {}
    for number in range(3):
        terms = _Game(architecture).terms(loss)
        first = first or terms
        for name, term in terms.items():
            assert torch.equal(term, first[name]), (
                f"{name} differs at call {number + 1} from one seed; draw from torch's default generator, "
                "and keep what a loss remembers in step.state"
            )


def _options_work_at_their_bounds(plugin: type[Loss], architecture: Architecture | None) -> None:
    for name, loss in at_bounds(plugin):
        game = _Game(architecture)
        try:
            terms = game.terms(loss)
            loss.after_discriminator_step(game.step)
        except GanctlError:
            continue
        except Exception as error:
            raise AssertionError(
                f"with {name}, which its bounds allow, it cannot be computed: {type(error).__name__}: {error}; "
                "tighten the bounds"
            ) from error
        for term_name, term in terms.items():
            assert term.isfinite(), f"with {name}, which its bounds allow, {term_name} is {float(term)}"


def _discriminator_learns(plugin: type[Loss], architecture: Architecture | None) -> None:
    game, loss = _Game(architecture), plugin()
    optimiser = torch.optim.Adam(game.discriminator.parameters(), lr=0.01 if architecture is None else 1e-3)
    before = game.gap()
    for number in range(20):
        optimiser.zero_grad()
        step = game.step = game.step._replace(number=number, images=number * game.count)
        torch.autograd.backward(_total(game.d_terms(loss)))
        optimiser.step()
        loss.after_discriminator_step(step)
    odd = [key for key, value in game.step.state.items() if not isinstance(value, Tensor)]
    assert not odd, f"step.state's {', '.join(odd)} are no tensors, and only tensors are kept in the checkpoint"
    assert game.gap() > before, "20 steps of the discriminator do not part real logits from fake ones; check the signs"


def _generator_raises_logits(plugin: type[Loss], architecture: Architecture | None) -> None:
    real, fake = _Game(architecture).batches(detached=False)
    total = _total(named("loss_g", plugin().generator_loss(fake, real)))
    (gradient,) = torch.autograd.grad(total, fake.logits, allow_unused=True)
    assert gradient is not None, "generator_loss does not read the logits of fakes"
    assert gradient.sum() < 0, "following generator_loss downhill lowers the logits of fakes; check the sign"
