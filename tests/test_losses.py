"""Losses against their formulas, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ganctl.api import Batch, Judgement
from ganctl.errors import GanctlError
from ganctl.judging import halves, judgement, named, scores
from ganctl.losses.bce import BCE


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
