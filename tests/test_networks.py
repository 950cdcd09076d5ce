"""DCGAN against its paper, and the blocks that it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganctl.api import DataSpec
from ganctl.architectures.dcgan import DCGAN, halvings
from ganctl.errors import GanctlError


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_at_64_px_it_is_the_canonical_network() -> None:
    generator, discriminator = DCGAN().build(DataSpec(size=64, channels=3))
    assert count(generator) == 3_576_704
    assert count(discriminator) == 2_765_568


def test_weights_begin_as_in_the_paper() -> None:
    torch.manual_seed(0)
    for network in DCGAN().build(DataSpec(size=64, channels=3)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 10_000:
                assert abs(float(layer.weight.mean())) < 1e-3
                assert float(layer.weight.std()) == pytest.approx(0.02, rel=0.05)
            if isinstance(layer, nn.BatchNorm2d):
                assert float(layer.weight.mean()) == pytest.approx(1, abs=0.01)
                assert float(layer.bias.abs().max()) == 0


@pytest.mark.parametrize("kernel", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [16, 17, 28, 31, 32, 48, 64, 96, 100, 101, 128, 255, 256])
def test_every_size_and_kernel_draws_exactly_that_size(size: int, kernel: int) -> None:
    spec = DataSpec(size=size, channels=1)
    generator, discriminator = DCGAN(width=2, latent_dim=3, kernel=kernel).build(spec)
    images = generator(torch.randn(2, 3))
    assert images.shape == (2, 1, size, size)
    assert discriminator(images).shape == (2,)
    assert 4 <= halvings(size, kernel)[-1] <= 7


@pytest.mark.parametrize("size", [8, 15, 257, 512])
def test_other_sizes_are_refused_with_the_range(size: int) -> None:
    with pytest.raises(GanctlError, match=f"16 to 256 px, not {size}"):
        DCGAN().build(DataSpec(size=size, channels=3))


def test_widths_scale_both_networks_or_each() -> None:
    spec = DataSpec(size=32, channels=3)

    def sizes(**options: int) -> tuple[int, int]:
        generator, discriminator = DCGAN(**options).build(spec)
        return count(generator), count(discriminator)

    g32, d32 = sizes(width=32)
    g16, d16 = sizes(width=16)
    assert sizes(width=32, g_width=16) == (g16, d32)
    assert sizes(width=32, d_width=16) == (g32, d16)


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "spectral", "none"])
def test_each_norm_is_what_it_says(norm: str) -> None:
    kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "layer": nn.GroupNorm}
    networks = DCGAN(width=4, g_norm=norm, d_norm=norm).build(DataSpec(size=32, channels=3))
    for network in networks:
        present = {kind for kind in kinds.values() for layer in network.modules() if isinstance(layer, kind)}
        assert present == ({kinds[norm]} if norm in kinds else set())
    if norm == "spectral":
        discriminator = networks.discriminator.train()
        with torch.no_grad():
            for _ in range(100):
                discriminator(torch.randn(1, 3, 32, 32))
        for layer in discriminator.modules():
            if isinstance(layer, nn.Conv2d):
                largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
                assert float(largest.detach()) == pytest.approx(1, abs=0.02)


def test_slope_is_the_discriminators() -> None:
    discriminator = DCGAN(width=2, slope=0.37).build(DataSpec(size=32, channels=3)).discriminator
    slopes = {layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.37}
