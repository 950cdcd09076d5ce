"""The 2014 GAN conforms, and its loss is its formula."""

from __future__ import annotations

import pytest
import torch
from ganctl_goodfellow import Minimax, Perceptron

from ganctl.api import Batch, Judgement
from ganctl.testing import Check, architecture_checks, loss_checks


@pytest.mark.parametrize("check", [*architecture_checks(Perceptron), *loss_checks(Minimax)], ids=str)
def test_conforms(check: Check) -> None:
    check()


def test_minimax_is_the_value_of_the_game() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 32, dtype=torch.float64)
    real, fake = (Batch(torch.zeros(32, 1, 1, 1), lambda _, v=v: Judgement(v)) for v in (x, y))
    terms = Minimax().discriminator_loss(real, fake)
    torch.testing.assert_close(terms["loss_d_real"], -x.sigmoid().log().mean())
    torch.testing.assert_close(terms["loss_d_fake"], -(1 - y.sigmoid()).log().mean())
    torch.testing.assert_close(Minimax().generator_loss(fake, real), (1 - y.sigmoid()).log().mean())
