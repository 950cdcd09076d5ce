"""R3GAN conforms; its blocks begin as nothing, keep variances, and its loss is its formula."""

from __future__ import annotations

import pytest
import torch
from ganctl_r3gan.loss import R3GAN
from ganctl_r3gan.networks import Block, Double, Halve, R3Nets
from torch import nn

from ganctl.api import Batch, DataSpec, Judgement, Step
from ganctl.errors import GanctlError
from ganctl.testing import Check, architecture_checks, loss_checks


@pytest.mark.parametrize("check", [*architecture_checks(R3Nets), *loss_checks(R3GAN)], ids=str)
def test_conforms(check: Check) -> None:
    check()


def test_a_block_is_nothing_at_first_and_its_inside_keeps_the_variance() -> None:
    torch.manual_seed(0)
    block, maps = Block(64, 2, 16, blocks=1), torch.randn(8, 64, 16, 16)
    assert torch.equal(block(maps), maps)
    # Not at the edges, beyond which there are zeros.
    before_activation = block.layers[:3](maps)[:, :, 1:-1, 1:-1].detach()
    assert float(before_activation.var()) == pytest.approx(2 / (1 + 0.2**2), rel=0.1)


def test_a_deep_network_begins_with_logits_of_order_one() -> None:
    torch.manual_seed(0)
    networks = R3Nets(width=16, blocks=4).build(DataSpec(size=64, channels=3))
    images = networks.generator(torch.randn(64, 64), None)
    assert 0.3 < images.std() < 0.9
    assert 0.05 < networks.discriminator(torch.randn(64, 3, 1, 1).expand(-1, -1, 64, 64), None).std() < 5


def test_resampling_is_the_filter_1_3_3_1() -> None:
    taps = torch.tensor([1.0, 3, 3, 1])
    pixel = torch.zeros(1, 1, 8, 8)
    pixel[0, 0, 4, 4] = 1
    torch.testing.assert_close(Double()(pixel)[0, 0, 7:11, 7:11], taps[:, None] * taps / 16)
    line = torch.randn(1, 1, 1, 8).expand(1, 1, 8, 8)
    torch.testing.assert_close(Halve()(line)[0, 0, 2, 1], (taps / 8 * line[0, 0, 0, 1:5]).sum())


def test_penalties_are_the_norms_of_a_linear_critics_weights() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, dtype=torch.float64), nn.Flatten(0))
    images = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64)
    real, fake = (Batch(each, lambda seen: Judgement(critic(seen))) for each in images)
    weights = critic[1].weight.square().sum()
    for shown, share in ((0, 1.0), (50, 10**-0.5), (100, 0.1), (200, 0.1)):
        loss = R3GAN(gamma=3, gamma_falls=100)
        terms = loss.discriminator_penalty(real, fake, Step(0, shown, nn.Identity(), critic, {}))
        torch.testing.assert_close(terms["loss_d_r1"], 1.5 * share * weights)
        torch.testing.assert_close(terms["loss_d_r2"], 1.5 * share * weights)
    expected = (1 + (fake.logits - real.logits).exp()).log().mean()
    torch.testing.assert_close(R3GAN().discriminator_loss(real, fake), expected)
    torch.testing.assert_close(R3GAN().generator_loss(fake, real), (1 + (real.logits - fake.logits).exp()).log().mean())


def test_a_side_that_does_not_halve_is_refused_with_those_that_do() -> None:
    for size in (22, 50, 300):
        with pytest.raises(GanctlError, match=f"which {size} does not; choose a --size such as"):
            R3Nets().build(DataSpec(size=size, channels=3))
