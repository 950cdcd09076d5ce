"""DCGAN against its paper, and the blocks that it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from ganctl.api import DataSpec
from ganctl.architectures.dcgan import DCGAN, TransposedStem, halvings
from ganctl.architectures.resnet import ResNet
from ganctl.errors import GanctlError
from ganctl.nn import WholeMap


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


SPEC = DataSpec(size=32, channels=3)
CLASSES = DataSpec(size=32, channels=3, classes=("cat", "dog", "owl"))


def kinds(network: nn.Module) -> list[str]:
    """The classes of a network's layers, in order."""
    return [type(layer).__name__.removeprefix("Parametrized") for layer in network.layers]


@pytest.mark.parametrize("bias", [False, True])
def test_what_is_done_as_a_product_of_matrices_is_the_convolution_that_it_says(bias: bool) -> None:
    torch.manual_seed(0)
    latents, maps = torch.randn(3, 5, 1, 1), torch.randn(3, 6, 4, 4)
    stem, ending = TransposedStem(5, 6, 4, bias=bias), WholeMap(6, 2, 4, bias=bias)
    torch.testing.assert_close(stem(latents), conv_transpose2d(latents, stem.weight, stem.bias))
    torch.testing.assert_close(ending(maps), conv2d(maps, ending.weight, ending.bias))


@pytest.mark.parametrize(("kernel", "size"), [(4, 32), (4, 20), (3, 32), (5, 20)])
def test_an_image_that_is_drawn_without_a_gradient_is_the_one_with(kernel: int, size: int) -> None:
    torch.manual_seed(0)
    generator, _ = DCGAN(width=4, kernel=kernel).build(DataSpec(size=size, channels=3))
    nn.init.normal_(generator.layers[-1].weight)
    latents = torch.randn(3, 100)
    drawn = generator.eval()(latents)
    with torch.no_grad():
        torch.testing.assert_close(generator(latents), drawn)


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_a_discriminator_that_normalises_each_image_can_learn_to_see_its_contrast(norm: str) -> None:
    torch.manual_seed(0)
    _, discriminator = DCGAN(width=4, d_norm=norm).build(DataSpec(size=16, channels=3))
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    logits = discriminator(images)
    logits.sum().backward()
    (first,) = [p for name, p in discriminator.named_parameters() if name == "layers.0.bias"]
    assert first.grad is not None and first.grad.abs().max() > 1e-4
    nn.init.normal_(first, std=0.1)
    with torch.no_grad():
        assert not torch.allclose(discriminator(images), discriminator(images / 2), rtol=0.05)


def test_slope_is_the_discriminators_and_the_leaky_generators() -> None:
    for activation, wanted in (("relu", set()), ("leaky", {0.37})):
        generator, discriminator = DCGAN(width=2, slope=0.37, g_activation=activation).build(SPEC)
        for network, slopes in ((generator, wanted), (discriminator, {0.37})):
            found = {layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)}
            assert found == slopes


def test_a_growing_kernel_is_three_five_seven_in_the_order_of_the_layers() -> None:
    for network in DCGAN(width=2, kernel="growing", stem="dense").build(SPEC):
        sides = [m.kernel_size[0] for m in network.layers if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert sides == [3, 5, 7]


def test_the_generator_begins_dense_or_transposed_and_ends_with_a_doubling_or_a_convolution() -> None:
    plain = kinds(DCGAN(width=2).build(SPEC).generator)
    assert plain[0] == "TransposedStem"
    assert plain[-1] == "TransposedLast"
    other = kinds(DCGAN(width=2, stem="dense", last="conv").build(SPEC).generator)
    assert other[0] == "DenseStem"
    assert other[-5:] == ["ConvTranspose2d", "BatchNorm2d", "ReLU", "ZeroPad2d", "Conv2d"]


def test_the_generators_norm_comes_before_or_after_its_activation() -> None:
    before = kinds(DCGAN(width=2).build(SPEC).generator)
    after = kinds(DCGAN(width=2, g_norm_last=True).build(SPEC).generator)
    assert before[:3] == ["TransposedStem", "BatchNorm2d", "ReLU"]
    assert after[:3] == ["TransposedStem", "ReLU", "BatchNorm2d"]


def test_a_sigmoid_generator_spans_the_images_range_and_its_discriminator_sees_0_to_1() -> None:
    generator, discriminator = DCGAN(width=2, output="sigmoid").build(SPEC)
    with torch.no_grad():
        generator.layers[-1].weight.mul_(1e4)
        images = generator(torch.randn(8, 100))
    assert float(images.min()) == pytest.approx(-1, abs=1e-3)
    assert float(images.max()) == pytest.approx(1, abs=1e-3)
    seen = []
    discriminator.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    discriminator(torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 32, 32))
    assert seen[0].flatten(1).amax(1).tolist() == [0, 1]


def test_a_dense_head_is_flattened_dropped_and_dense() -> None:
    discriminator = DCGAN(width=2, head="dense", head_dropout=0.4, dropout=0.3).build(SPEC).discriminator
    ending = discriminator.head.logits
    assert [type(layer).__name__ for layer in ending] == ["Flatten", "Dropout", "Linear"]
    assert ending[1].p == 0.4
    assert ending[2].in_features == 8 * 4 * 4
    assert [layer.p for layer in discriminator.layers if isinstance(layer, nn.Dropout)] == [0.3] * 3
    with pytest.raises(GanctlError, match="head_dropout.*arch.head=dense"):
        DCGAN(head_dropout=0.4).build(SPEC)


def test_odd_kernels_get_a_hint_and_even_ones_none() -> None:
    assert not DCGAN(kernel=4).hints(SPEC)
    for kernel in (3, 5, 7, "growing"):
        (hint,) = DCGAN(kernel=kernel).hints(SPEC)
        assert "checkerboard" in hint


@pytest.mark.parametrize("architecture", [DCGAN, ResNet])
@pytest.mark.parametrize("conditioning", ["embedding", "auxiliary", "projection"])
def test_conditional_networks_heed_the_class(architecture: type[DCGAN | ResNet], conditioning: str) -> None:
    torch.manual_seed(0)
    generator, discriminator = architecture(width=4, conditioning=conditioning).build(CLASSES)
    latents, labels = torch.randn(6, generator_dim(architecture)), torch.arange(6) % 3
    generator.eval()
    discriminator.eval()
    with torch.no_grad():
        assert not torch.equal(generator(latents, labels), generator(latents, labels.flip(0)))
        images = torch.rand(6, 3, 32, 32) * 2 - 1
        answer, other = discriminator(images, labels), discriminator(images, labels.flip(0))
        if conditioning == "auxiliary":
            assert answer.class_logits.shape == (6, 3)
            assert torch.equal(answer.logits, other.logits), "only the loss tells this discriminator the class"
        else:
            assert answer.shape == (6,)
            assert not torch.allclose(answer, other, atol=1e-7)


@pytest.mark.parametrize("architecture", [DCGAN, ResNet])
def test_a_generator_draws_what_lies_between_classes(architecture: type[DCGAN | ResNet]) -> None:
    generator = architecture(width=4, conditioning="projection").build(CLASSES).generator.eval()
    latents = torch.randn(3, generator_dim(architecture))
    with torch.no_grad():
        whole = generator(latents, torch.arange(3))
        torch.testing.assert_close(generator(latents, torch.eye(3)), whole)
        assert not torch.equal(generator(latents, torch.full((3, 3), 1 / 3)), whole)


def generator_dim(architecture: type[DCGAN | ResNet]) -> int:
    return architecture().latent_dim


@pytest.mark.parametrize("architecture", [DCGAN, ResNet])
def test_conditioning_without_classes_is_refused_with_the_remedy(architecture: type[DCGAN | ResNet]) -> None:
    for classes in ((), ("only",)):
        with pytest.raises(GanctlError, match=r"two classes or more.*class folders.*conditioning=none"):
            architecture(conditioning="projection").build(DataSpec(size=32, channels=3, classes=classes))


@pytest.mark.parametrize("size", [8, 9, 16, 28, 31, 32, 48, 64, 100, 128, 256])
def test_resnet_draws_every_size(size: int) -> None:
    generator, discriminator = ResNet(width=2, latent_dim=3).build(DataSpec(size=size, channels=1))
    images = generator(torch.randn(2, 3))
    assert images.shape == (2, 1, size, size)
    assert discriminator(images).shape == (2,)


@pytest.mark.parametrize("size", [7, 257])
def test_resnet_refuses_other_sizes(size: int) -> None:
    with pytest.raises(GanctlError, match=f"8 to 256 px, not {size}"):
        ResNet().build(DataSpec(size=size, channels=3))


def test_resnet_is_sngans_at_32_px() -> None:
    """With 256 and 128 filters throughout it has SNGAN's blocks (Miyato et al. 2018, table 4)."""
    generator, discriminator = ResNet(g_width=256, d_width=128, widest=1).build(SPEC)
    block = 2 * (256 * 256 * 9 + 256) + 256 * 256 + 256 + 4 * 256
    assert count(generator) == (128 + 1) * 4 * 4 * 256 + 3 * block + 2 * 256 + 256 * 3 * 9 + 3
    first = (3 * 128 * 9 + 128) + (128 * 128 * 9 + 128) + (3 * 128 + 128)
    halving, keeping = 2 * (128 * 128 * 9 + 128) + 128 * 128 + 128, 2 * (128 * 128 * 9 + 128)
    levels = 1  # 32 -> 16 -> 8 in the paper; here on to 4
    assert count(discriminator) == first + halving * (levels + 1) + keeping * 2 + 128 + 1


def test_resnets_spectral_norms_reach_every_layer_of_the_discriminator() -> None:
    discriminator = ResNet(width=4, conditioning="projection").build(CLASSES).discriminator.train()
    with torch.no_grad():
        for _ in range(100):
            discriminator(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.02)
    assert len(layers) == 3 * 5 - 2 + 2
