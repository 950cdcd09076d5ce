"""FastGAN conforms; its gates gate, its discriminator redraws what it saw, and its loss is its formula."""

from __future__ import annotations

import pytest
import torch
from ganctl_fastgan.loss import FastGAN
from ganctl_fastgan.networks import FastNets, Gate, quarter
from pydantic import Field

from ganctl.api import Batch, DataSpec, Judgement
from ganctl.errors import GanctlError
from ganctl.testing import Check, architecture_checks, loss_checks


class Small(FastNets):
    """With few filters, so that the checks are quick."""

    api_version = 1
    width: int = Field(default=8, ge=4, le=512, description="filters of maps of 128 px")


@pytest.mark.parametrize("check", [*architecture_checks(Small), *loss_checks(FastGAN, Small)], ids=str)
def test_conforms(check: Check) -> None:
    check()


def test_a_gate_weighs_channels_alike_everywhere() -> None:
    torch.manual_seed(0)
    gate, large = Gate(4, 6), torch.ones(2, 6, 16, 16)
    gated = gate(torch.randn(2, 4, 8, 8), large)
    assert gated.min() > 0
    assert gated.max() < 1
    assert torch.equal(gated, gated[:, :, :1, :1].expand_as(gated))
    assert not torch.equal(gated[0], gated[1])


@pytest.mark.parametrize(("size", "gates"), [(32, 1), (64, 1), (128, 2), (256, 3)])
def test_larger_images_have_more_gates_and_all_have_25_patches(size: int, gates: int) -> None:
    networks = Small().build(DataSpec(size=size, channels=3))
    assert len(networks.generator.gates) == gates
    images = networks.generator(torch.randn(2, 256))
    assert networks.discriminator(images).logits.shape == (2, 25)


def test_what_is_to_be_redrawn_is_what_was_seen() -> None:
    torch.manual_seed(0)
    discriminator = Small().build(DataSpec(size=64, channels=3)).discriminator
    # The means of its four quarters tell which was taken.
    images = torch.tensor([[0.0, 1], [2, 3]]).repeat_interleave(32, 0).repeat_interleave(32, 1).expand(2, 3, 64, 64)
    parts = set()
    for _ in range(20):
        aux = discriminator(images).aux
        assert torch.equal(aux["whole_seen"], images[:, :, ::2, ::2])
        assert aux["whole"].shape == aux["whole_seen"].shape == aux["part"].shape == aux["part_seen"].shape
        parts.add(float(aux["part_seen"].mean()))
    assert parts == {0, 1, 2, 3}
    assert not discriminator.eval()(images).aux


def test_what_nobody_reads_is_not_redrawn_and_what_is_read_once() -> None:
    discriminator = Small().build(DataSpec(size=64, channels=3)).discriminator
    drawn = []
    for decoder in (discriminator.whole, discriminator.part):
        decoder.register_forward_hook(lambda *_: drawn.append(1))
    real, fake = (Batch(torch.zeros(2, 3, 64, 64), discriminator) for _ in range(2))
    FastGAN().generator_loss(fake, real)
    assert not drawn
    FastGAN().discriminator_loss(real, fake)
    assert len(drawn) == 2
    assert not Small(decoders=False).build(DataSpec(size=64, channels=3)).discriminator(real.images).aux


def test_quarters_make_the_whole() -> None:
    maps = torch.randn(1, 2, 4, 4)
    rows = [torch.cat([quarter(maps, top, left) for left in (0, 1)], 3) for top in (0, 1)]
    assert torch.equal(torch.cat(rows, 2), maps)


def test_the_loss_is_hinge_and_mean_absolute_error() -> None:
    images = torch.zeros(2, 3, 4, 4)
    drawn, seen = torch.full((2, 3, 4, 4), 0.25), torch.full((2, 3, 4, 4), 0.75)
    aux = {"whole": drawn, "whole_seen": seen, "part": seen, "part_seen": seen}
    logits = torch.tensor([[2.0, 0.5], [-1.0, 1.0]])
    real, fake = (Batch(images, lambda _: Judgement(logits, aux=aux)) for _ in range(2))
    terms = FastGAN(softening=0, reconstruction_weight=2).discriminator_loss(real, fake)
    assert terms == {
        "loss_d_real": 2.5 / 4,
        "loss_d_fake": (3 + 1.5 + 0 + 2) / 4,
        "loss_d_whole": 1.0,
        "loss_d_part": 0,
    }
    assert FastGAN().generator_loss(fake, real) == -2.5 / 4
    soft = FastGAN().discriminator_loss(real, fake)
    assert 2.5 / 4 - 0.2 < soft["loss_d_real"] < 2.5 / 4


def test_other_sizes_and_other_discriminators_are_refused() -> None:
    with pytest.raises(GanctlError, match="fastgan draws 32, 64, 128, 256 px, not 48"):
        FastNets().build(DataSpec(size=48, channels=3))
    plain = Batch(torch.zeros(2, 3, 4, 4), lambda images: Judgement(images.mean((1, 2, 3))))
    with pytest.raises(GanctlError, match="'whole', which this discriminator does not return"):
        FastGAN().discriminator_loss(plain, plain)
