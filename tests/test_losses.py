"""Losses against their formulas, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.parametrizations import spectral_norm

from ganctl.api import Batch, Judgement, Loss, Step
from ganctl.errors import GanctlError
from ganctl.judging import halves, judgement, named, scores
from ganctl.losses.acgan import ACGAN
from ganctl.losses.bce import BCE
from ganctl.losses.hinge import Hinge
from ganctl.losses.lsgan import LSGAN
from ganctl.losses.rsgan import RSGAN
from ganctl.losses.wgan import WGAN
from ganctl.losses.wgan_gp import WGANGP


def judged(logits: Tensor) -> Batch:
    return Batch(torch.zeros(len(logits), 1, 2, 2), lambda _: Judgement(logits))


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(64, dtype=torch.float64) * 5, torch.randn(64, dtype=torch.float64) * 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_bce_is_binary_cross_entropy_with_smooth_real_labels(logits: tuple[Tensor, Tensor], smoothing: float) -> None:
    real, fake = logits
    loss = BCE(label_smoothing=smoothing)
    terms = named("loss_d", loss.discriminator_loss(judged(real), judged(fake)))
    expected = binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - smoothing))
    torch.testing.assert_close(terms["loss_d_real"], expected)
    torch.testing.assert_close(terms["loss_d_fake"], binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)))
    generator = named("loss_g", loss.generator_loss(judged(fake), judged(real)))
    torch.testing.assert_close(generator["loss_g"], binary_cross_entropy_with_logits(fake, torch.ones_like(fake)))


def test_bce_is_least_where_the_discriminator_answers_the_smooth_target() -> None:
    target = 0.9
    best = torch.tensor([target], dtype=torch.float64).logit().requires_grad_()
    term = named("loss_d", BCE(label_smoothing=0.1).discriminator_loss(judged(best), judged(best.detach())))
    (gradient,) = torch.autograd.grad(term["loss_d_real"], best)
    assert float(gradient.abs()) < 1e-12


def test_bce_survives_extreme_logits() -> None:
    far = torch.tensor([-1e4, 1e4])
    for term in named("", BCE().discriminator_loss(judged(far), judged(far))).values():
        assert term.isfinite()


def test_a_batch_judges_once_and_only_if_read() -> None:
    calls = []
    batch = Batch(torch.zeros(2, 1, 2, 2), lambda images: calls.append(images) or Judgement(torch.zeros(2)))
    assert not calls
    _ = batch.logits, batch.logits
    assert len(calls) == 1


def test_reading_what_is_not_there_says_what_is_missing() -> None:
    batch = judged(torch.zeros(2))
    with pytest.raises(GanctlError, match="needs labels.*class folders"):
        _ = batch.labels
    with pytest.raises(GanctlError, match="auxiliary classifier"):
        _ = batch.class_logits
    with pytest.raises(GanctlError, match="latents of real images"):
        _ = batch.latents


def test_logits_of_a_shape_that_would_broadcast_are_refused() -> None:
    with pytest.raises(GanctlError, match=r"logits of shape \(4, 1\)"):
        judgement(torch.zeros(4, 1))
    with pytest.raises(GanctlError, match=r"\(4, 1, 2, 2\)"):
        judgement(torch.zeros(4, 1, 2, 2))
    assert judgement(torch.zeros(4, 3, dtype=torch.bfloat16)).logits.dtype == torch.float32


def test_a_term_that_is_not_a_scalar_is_refused() -> None:
    with pytest.raises(GanctlError, match=r"loss_g of shape \(3,\)"):
        named("loss_g", torch.zeros(3))


def test_halves_split_everything() -> None:
    both = Judgement(torch.arange(4.0), torch.arange(8.0).reshape(4, 2), {"x": torch.arange(4)})
    first, second = halves(both)
    assert first.logits.tolist() == [0, 1]
    assert second.class_logits is not None
    assert second.class_logits.tolist() == [[4, 5], [6, 7]]
    assert second.aux["x"].tolist() == [2, 3]


def test_scores_are_mean_probabilities_and_the_share_that_is_right() -> None:
    real, fake = torch.tensor([0.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, -2.0, 1.0, -3.0])
    found = scores(real, fake)
    assert float(found["score_real"]) == pytest.approx(float(real.sigmoid().mean()))
    assert float(found["score_fake"]) == pytest.approx(float(fake.sigmoid().mean()))
    assert float(found["accuracy_d"]) == pytest.approx((2 / 4 + 3 / 4) / 2)


def sums(loss: Loss, real: Tensor, fake: Tensor) -> tuple[float, float]:
    """The discriminator's and the generator's loss on logits."""
    d = named("loss_d", loss.discriminator_loss(judged(real), judged(fake)))
    g = named("loss_g", loss.generator_loss(judged(fake), judged(real)))
    return float(sum(d.values())), float(sum(g.values()))


FORMULAS = [
    (LSGAN, lambda x, y: (((x - 1) ** 2 + y**2) / 2).mean(), lambda x, y: ((y - 1) ** 2 / 2).mean()),
    (
        Hinge,
        lambda x, y: ((1 - x) * (x < 1)).mean() + ((1 + y) * (y > -1)).mean(),
        lambda x, y: -y.mean(),
    ),
    (WGAN, lambda x, y: y.mean() - x.mean(), lambda x, y: -y.mean()),
    (WGANGP, lambda x, y: y.mean() - x.mean(), lambda x, y: -y.mean()),
    (
        RSGAN,
        lambda x, y: -(1 / (1 + (y - x).exp())).log().mean(),
        lambda x, y: -(1 / (1 + (x - y).exp())).log().mean(),
    ),
    (
        BCE,
        lambda x, y: -(1 / (1 + (-x).exp())).log().mean() - (1 / (1 + y.exp())).log().mean(),
        lambda x, y: -(1 / (1 + (-y).exp())).log().mean(),
    ),
]


@pytest.mark.parametrize(
    ("plugin", "d_formula", "g_formula"), FORMULAS, ids=lambda value: getattr(value, "__name__", "")
)
def test_losses_are_their_formulas(logits: tuple[Tensor, Tensor], plugin, d_formula, g_formula) -> None:
    d, g = sums(plugin(), *logits)
    assert d == pytest.approx(float(d_formula(*logits)), rel=1e-12)
    assert g == pytest.approx(float(g_formula(*logits)), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "real", "fake", "value"),
    [
        (BCE(), 0.0, 0.0, 1.3862943611198906),  # 2 log 2, where neither can be told from the other
        (LSGAN(), 0.5, 0.5, 0.25),
        (LSGAN(), 1.0, 0.0, 0.0),
        (Hinge(), 0.0, 0.0, 2.0),
        (Hinge(), 1.0, -1.0, 0.0),
        (RSGAN(), 3.0, 3.0, 0.6931471805599453),
    ],
    ids=str,
)
def test_known_optima(loss: Loss, real: float, fake: float, value: float) -> None:
    """At the best answer to equal, or to disjoint, distributions the loss has its known value and no slope."""
    x, y = (torch.full((4,), v, dtype=torch.float64, requires_grad=True) for v in (real, fake))
    total = sum(named("loss_d", loss.discriminator_loss(judged(x), judged(y))).values())
    assert float(total.detach()) == pytest.approx(value, abs=1e-12)
    if not isinstance(loss, Hinge):
        # Of equal distributions x and y are the same images, so that the slopes add up.
        slopes = torch.autograd.grad(total, (x, y))
        slope = slopes[0] + slopes[1] if real == fake else torch.stack(slopes)
        assert float(slope.abs().max()) < 1e-12


@pytest.mark.parametrize(
    "loss", [BCE(), LSGAN(), Hinge(), WGAN(), WGANGP(), RSGAN()], ids=lambda loss: type(loss).__name__
)
def test_patches_are_averaged(loss: Loss) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 5, 3, dtype=torch.float64)
    assert sums(loss, real, fake) == pytest.approx(sums(loss, real.flatten(), fake.flatten()))


def test_soft_labels_are_drawn_from_their_intervals_for_each_image() -> None:
    torch.manual_seed(0)
    loss = BCE(real_labels=(0.7, 1.2), fake_labels=(0.0, 0.3))
    targets = loss._targets(torch.zeros(10_000), loss.real_labels)
    assert float(targets.min()) == pytest.approx(0.7, abs=0.001)
    assert float(targets.max()) == pytest.approx(1.2, abs=0.001)
    assert float(targets.mean()) == pytest.approx(0.95, abs=0.005)
    assert loss._targets(torch.zeros(4, 3), (0, 1)).shape == (4, 1)
    # At D(x) = 1/2 every target costs the same; elsewhere only the mean target counts.
    real, fake = torch.full((50_000,), 2.0), torch.full((50_000,), -1.0)
    terms = named("", loss.discriminator_loss(judged(real), judged(fake)))
    expected = binary_cross_entropy_with_logits(real, torch.full_like(real, 0.95))
    assert float(terms["loss_d_real"]) == pytest.approx(float(expected), abs=0.01)
    expected = binary_cross_entropy_with_logits(fake, torch.full_like(fake, 0.15))
    assert float(terms["loss_d_fake"]) == pytest.approx(float(expected), abs=0.01)


def test_label_noise_turns_round_the_stated_share_in_the_discriminators_step_only() -> None:
    torch.manual_seed(0)
    loss = BCE(label_noise=0.2)
    logits = torch.zeros(20_000)
    assert float(1 - loss._targets(logits, (1.0, 1.0)).mean()) == pytest.approx(0.2, abs=0.01)
    assert float(loss._targets(logits, (0.0, 0.0)).mean()) == pytest.approx(0.2, abs=0.01)
    before = torch.get_rng_state()
    value = named("loss_g", loss.generator_loss(judged(logits + 3), judged(logits)))["loss_g"]
    assert torch.equal(torch.get_rng_state(), before)
    assert float(value) == pytest.approx(float(binary_cross_entropy_with_logits(logits + 3, torch.ones(20_000))))


def test_labels_are_softened_in_one_way_only() -> None:
    with pytest.raises(ValueError, match="label_smoothing or real_labels, not both"):
        BCE(label_smoothing=0.1, real_labels=(0.8, 1.0))
    with pytest.raises(ValueError, match="the lower first"):
        BCE(real_labels=(1.0, 0.8))


def test_acgan_adds_the_cross_entropies_of_the_classes() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 8, dtype=torch.float64)
    real_classes, fake_classes = torch.randn(2, 8, 3, dtype=torch.float64)
    labels = torch.arange(8) % 3

    def labelled(logits: Tensor, classes: Tensor) -> Batch:
        return Batch(torch.zeros(8, 1, 2, 2), lambda _: Judgement(logits, classes), labels=labels)

    pair = labelled(real, real_classes), labelled(fake, fake_classes)
    d = named("loss_d", ACGAN(class_weight=0.5).discriminator_loss(*pair))
    bce = named("loss_d", BCE().discriminator_loss(*pair))
    assert float(d["loss_d_real"] + d["loss_d_fake"]) == pytest.approx(float(sum(bce.values())))
    torch.testing.assert_close(d["loss_d_class_real"], cross_entropy(real_classes, labels) / 2)
    torch.testing.assert_close(d["loss_d_class_fake"], cross_entropy(fake_classes, labels) / 2)
    g = named("loss_g", ACGAN(class_weight=0.5).generator_loss(pair[1], pair[0]))
    torch.testing.assert_close(g["loss_g_class"], cross_entropy(fake_classes, labels) / 2)


def test_wgan_clips_every_weight() -> None:
    critic = nn.Sequential(nn.Conv2d(3, 8, 4), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 1))
    WGAN(clip=0.02).after_discriminator_step(Step(0, 0, nn.Identity(), critic, {}))
    assert max(float(p.detach().abs().max()) for p in critic.parameters()) == pytest.approx(0.02)
    assert min(float(p.detach().min()) for p in critic.parameters()) == pytest.approx(-0.02)


def test_wgan_refuses_to_clip_what_spectral_normalisation_scales_back() -> None:
    critic = nn.Sequential(spectral_norm(nn.Conv2d(3, 8, 4)))
    with pytest.raises(GanctlError, match="undoes their clipping.*d_norm=batch"):
        WGAN().after_discriminator_step(Step(0, 0, nn.Identity(), critic, {}))
