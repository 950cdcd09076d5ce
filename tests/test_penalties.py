"""Gradient penalties against closed forms and numerical differentiation, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganctl import penalties
from ganctl.api import Batch, Judgement, PenalisedLoss, Step
from ganctl.errors import GanctlError
from ganctl.losses.wgan_gp import WGANGP

SHAPE = (6, 1, 3, 2)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def batch(critic: Callable[[Tensor], Tensor], images: Tensor | None = None) -> Batch:
    images = torch.randn(SHAPE, dtype=torch.float64) if images is None else images
    return Batch(images, lambda seen: Judgement(critic(seen)))


def step(number: int = 0, critic: nn.Module | None = None) -> Step:
    return Step(number, 0, nn.Identity(), critic or nn.Identity(), {})


def test_a_linear_critics_gradient_is_its_weight() -> None:
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    linear = batch(lambda images: images.flatten(1) @ weight)
    norm = weight.norm()
    torch.testing.assert_close(penalties.r1(linear, step()), norm.square() / 2)
    torch.testing.assert_close(penalties.r2(linear, step()), norm.square() / 2)
    penalty = penalties.gradient_penalty(linear, batch(lambda images: images.flatten(1) @ weight), step())
    torch.testing.assert_close(penalty, (norm - 1).square())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * (norm - 1) * weight.detach() / norm)


def test_a_quadratic_critics_gradient_is_the_image() -> None:
    images = torch.randn(SHAPE, dtype=torch.float64)
    quadratic = batch(lambda seen: seen.square().flatten(1).sum(1) / 2, images)
    torch.testing.assert_close(penalties.r1(quadratic, step()), images.square().sum() / len(images) / 2)


def test_each_image_has_an_interpolation_of_its_own() -> None:
    """Between zeros and ones the image is its share; at D(x) = |x|^2 / 2 its gradient's norm is share * sqrt(6)."""
    seen = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.square().flatten(1).sum(1) / 2

    ones, zeros = torch.ones(SHAPE, dtype=torch.float64), torch.zeros(SHAPE, dtype=torch.float64)
    penalty = penalties.gradient_penalty(batch(critic, ones), batch(critic, zeros), step())
    shares = seen[0].flatten(1)
    assert torch.equal(shares, shares[:, :1].expand_as(shares))
    assert len(set(shares[:, 0].tolist())) == len(shares)
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(penalty, (shares[:, 0] * 6**0.5 - 1).square().mean())


@pytest.mark.parametrize("kind", ["r1", "r2", "gradient_penalty"])
def test_penalties_have_right_gradients_for_the_weights(kind: str) -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)).double()
    real, fake = torch.randn(2, *SHAPE, dtype=torch.float64)

    def penalty(weight: Tensor) -> Tensor:
        torch.manual_seed(1)

        def judge(images: Tensor) -> Tensor:
            return torch.func.functional_call(critic, {"1.weight": weight}, (images,))

        pair = [batch(judge, real), batch(judge, fake)]
        given = pair if kind == "gradient_penalty" else pair[:1]
        return getattr(penalties, kind)(*given, step(critic=critic))

    weight = critic[1].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(penalty, weight)


def test_the_images_own_graph_is_left_alone() -> None:
    images = torch.zeros(SHAPE, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(6, dtype=torch.float64, requires_grad=True)
    penalty = penalties.r2(batch(lambda seen: seen.flatten(1) @ weight, images), step())
    torch.autograd.backward(penalty)
    assert images.grad is None


def test_batch_normalisation_is_refused_with_the_remedy() -> None:
    critic = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    for penalty in (penalties.r1, penalties.r2):
        with pytest.raises(GanctlError, match=r"batch normalisation.*arch\.d_norm=layer"):
            penalty(batch(lambda seen: critic(seen).sum((1, 2, 3))), step(critic=critic))


class Bare(PenalisedLoss):
    api_version = 1


def test_weights_switch_penalties_on() -> None:
    weight = torch.full((6,), 2.0, dtype=torch.float64)
    pair = [batch(lambda images: images.flatten(1) @ weight) for _ in range(2)]
    assert Bare().discriminator_penalty(*pair, step()) == {}
    terms = Bare(r1_weight=3, r2_weight=5, gp_weight=7).discriminator_penalty(*pair, step())
    norm = weight.norm()
    torch.testing.assert_close(terms["loss_d_r1"], 3 * norm.square() / 2)
    torch.testing.assert_close(terms["loss_d_r2"], 5 * norm.square() / 2)
    torch.testing.assert_close(terms["loss_d_gp"], 7 * (norm - 1).square())
    assert WGANGP().gp_weight == 10


def test_a_lazy_penalty_is_as_strong_on_average() -> None:
    weight = torch.full((6,), 2.0, dtype=torch.float64)
    pair = [batch(lambda images: images.flatten(1) @ weight) for _ in range(2)]

    def mean(every: int) -> float:
        loss = Bare(r1_weight=1, penalty_every=every)
        return sum(float(loss.discriminator_penalty(*pair, step(i))["loss_d_r1"]) for i in range(16)) / 16

    assert mean(4) == pytest.approx(mean(1))
    lazy = Bare(r1_weight=1, penalty_every=4)
    terms = [float(lazy.discriminator_penalty(*pair, step(i))["loss_d_r1"]) for i in range(8)]
    assert [i for i, term in enumerate(terms) if term] == [0, 4]
