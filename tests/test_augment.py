"""What the discriminator sees in place of images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganctl.augment import Augmentation, cut_out, recolour, translate
from ganctl.config import AugmentSettings


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(64, 3, 16, 16) * 2 - 1


def test_without_settings_images_pass_untouched(images: Tensor) -> None:
    before = torch.get_rng_state()
    assert Augmentation(AugmentSettings(), 0.0)(images) is images
    assert torch.equal(torch.get_rng_state(), before)


def test_what_stands_in_a_batchs_place_is_changed_alike(images: Tensor) -> None:
    settings = AugmentSettings(noise=0.1, translation=0.125, colour=1, cutout=0.5)
    see = Augmentation(settings, 0.0)
    assert torch.equal(see(images), see(images))
    assert not torch.equal(see(images), Augmentation(settings, 0.0)(images))


def test_noise_fades_linearly_and_is_gone_where_it_is_said_to_be(images: Tensor) -> None:
    settings = AugmentSettings(noise=0.4, noise_until=0.5)

    def deviation(progress: float) -> float:
        return float((Augmentation(settings, progress)(images) - images).std())

    assert deviation(0.0) == pytest.approx(0.4, rel=0.02)
    assert deviation(0.25) == pytest.approx(0.2, rel=0.02)
    assert deviation(0.5) == 0
    assert deviation(0.9) == 0


def test_a_shift_moves_whole_images_and_fills_with_grey() -> None:
    images = torch.full((200, 1, 8, 8), 0.5)
    images[:, :, 3, 4] = 1.0
    seen = translate(images, 0.25)(images)
    shifts = []
    for image in seen[:, 0]:
        (row, column) = (image == 1).nonzero()[0].tolist()
        shifts += [row - 3, column - 4]
        inside = torch.zeros(8, 8)
        top, left = row - 3, column - 4
        inside[max(top, 0) : 8 + min(top, 0), max(left, 0) : 8 + min(left, 0)] = 1
        assert torch.equal(image != 0, inside.bool())
    assert set(shifts) == {-2, -1, 0, 1, 2}


def test_a_cut_out_square_is_grey_and_has_the_stated_side() -> None:
    images = torch.ones(300, 2, 16, 16)
    hidden = (cut_out(images, 0.5)(images) == 0).float()
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    rows = hidden[:, 0].amax(2).sum(1)
    assert rows.max() == 8
    assert rows.min() >= 4
    assert set(hidden.unique().tolist()) == {0.0, 1.0}


def test_recolouring_spans_the_published_ranges() -> None:
    grey = torch.full((4000, 3, 2, 2), 0.2)
    changed = recolour(grey, 1.0)(grey)
    shift = changed[:, 0, 0, 0] - 0.2
    assert float(shift.min()) == pytest.approx(-0.5, abs=0.01)
    assert float(shift.max()) == pytest.approx(0.5, abs=0.01)

    coloured = grey + torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    seen = recolour(coloured, 1.0)(coloured)
    saturation = (seen[:, 0] - seen[:, 2])[:, 0, 0] / 0.6
    # Saturation of 0 to 2 times a contrast of 0.5 to 1.5.
    assert float(saturation.min()) < 0.05
    assert 2.5 < float(saturation.max()) <= 3.0

    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).expand(4000, 3, 2, 2)
    contrast = (seen := recolour(checks, 1.0)(checks))[:, 0, 0, 0] - seen[:, 0, 0, 1]
    assert float(contrast.min()) / 2 == pytest.approx(0.5, abs=0.01)
    assert float(contrast.max()) / 2 == pytest.approx(1.5, abs=0.01)


def test_gradients_reach_the_images_twice(images: Tensor) -> None:
    images = images.double()[:2, :, :6, :6].clone().requires_grad_()
    see = Augmentation(AugmentSettings(noise=0.1, translation=0.2, colour=1, cutout=0.3), 0.0)
    see(images)
    assert torch.autograd.gradcheck(lambda x: see(x).square().sum(), images)
    assert torch.autograd.gradgradcheck(lambda x: see(x).pow(3).sum(), images)


def test_true_means_the_published_strength() -> None:
    settings = AugmentSettings.model_validate({"translation": True, "colour": True, "cutout": True})
    assert (settings.translation, settings.colour, settings.cutout) == (0.125, 1.0, 0.5)
    assert AugmentSettings.model_validate({"colour": False}).colour == 0
