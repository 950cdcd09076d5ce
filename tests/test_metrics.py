"""Distances against closed forms and other implementations, and metrics on real images and planted faults."""

from __future__ import annotations

import math
import pickle
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import SHARED_DATA
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from ganctl import distances
from ganctl.api import Metric
from ganctl.errors import GanctlError
from ganctl.evaluation import Evaluator, Reals, labels_like
from ganctl.features import efficientnet, trusted
from ganctl.features.efficientnet import EfficientNetLite0
from ganctl.metrics.coverage import Coverage
from ganctl.metrics.duplicates import Duplicates
from ganctl.metrics.fd_efflite0 import FDEffLite0
from ganctl.metrics.kid_efflite0 import KIDEffLite0
from ganctl.metrics.swd import SWD

CIFAR = SHARED_DATA / "cifar10-train.zip"
Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def quiet(what: str, done: int, total: int | None) -> None:
    """Show nothing."""


def sqrtm_frechet(one: Tensor, other: Tensor) -> float:
    """Return the distance as it is usually computed, by the square root of a product of covariances."""
    a, b = one.double().numpy(), other.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root))


def test_frechet_distance_of_independent_gaussians_is_the_closed_form() -> None:
    means, scales = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]]), torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 1.0]])
    one, other = (
        {"mean": mean.double(), "root": torch.diag(scale).double()} for mean, scale in zip(means, scales, strict=True)
    )
    closed = (means[0] - means[1]).square().sum() + (scales[0] - scales[1]).square().sum()
    assert distances.frechet(one, other) == pytest.approx(float(closed), rel=1e-12)
    assert distances.frechet(one, one) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [400, 30], ids=["full rank", "fewer images than numbers"])
def test_frechet_distance_agrees_with_sqrtm(count: int) -> None:
    mix = torch.randn(48, 48)
    one, other = torch.randn(count, 48) @ mix, torch.randn(count, 48) @ mix * 1.3 + 0.5
    found = distances.frechet(distances.gaussian(one), distances.gaussian(other))
    assert found == pytest.approx(sqrtm_frechet(one, other), rel=1e-4)


def test_too_few_images_for_a_covariance_are_told_of_with_their_number() -> None:
    assert not FDEffLite0().hints(reals=5000, fakes=2000)
    (line,) = FDEffLite0().hints(reals=5000, fakes=100)
    assert "100 generated images" in line and "112 numbers" in line and "--images" in line


def test_kernel_distance_is_the_unbiased_double_loop() -> None:
    real, fake = torch.randn(13, 7), torch.randn(9, 7) + 0.3

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a.double() @ b.double()) / 7 + 1) ** 3

    within = [
        sum(k(x, y) for i, x in enumerate(some) for j, y in enumerate(some) if i != j) / (len(some) * (len(some) - 1))
        for some in (real, fake)
    ]
    between = sum(k(x, y) for x in real for y in fake) / (13 * 9)
    metric = KIDEffLite0()
    found = metric.figures(metric.statistics(real), metric.statistics(fake))["kid-efflite0"]
    assert found == pytest.approx(sum(within) - 2 * between, rel=1e-9)


def test_nearest_neighbours_are_those_of_a_full_table() -> None:
    one, other = torch.randn(1500, 5), torch.randn(40, 5)
    table = torch.cdist(one.double(), other.double())
    assert torch.allclose(distances.nearest(one, other), table.min(1).values, atol=1e-7)
    own = torch.cdist(other.double(), other.double()).sort(1).values
    assert torch.allclose(distances.nearest(other, k=3), own[:, 3], atol=1e-7)


def test_duplicates_and_copies_that_were_planted_are_counted() -> None:
    metric, real = Duplicates(), torch.randn(200, 16)
    fake = torch.randn(100, 16)
    fake[:10] = fake[10:20] + 1e-4  # ten pairs
    fake[50:55] = real[:5]
    figures = metric.figures(metric.statistics(real), metric.statistics(fake))
    assert figures == {"duplicates": pytest.approx(0.20), "copies": pytest.approx(0.05)}


def test_coverage_and_density_are_one_for_the_same_images_and_fall_with_lost_modes() -> None:
    metric = Coverage(neighbours=5)
    real = torch.randn(400, 4)
    known = metric.statistics(real)
    same = metric.figures(known, metric.statistics(torch.randn(400, 4)))
    half = metric.figures(known, metric.statistics(torch.randn(400, 4).abs()))
    far = metric.figures(known, metric.statistics(torch.randn(400, 4) + 50))
    assert same["coverage"] > 0.9 and same["density"] == pytest.approx(1, abs=0.15)
    assert half["coverage"] < 0.5 * same["coverage"]
    assert far == {"coverage": 0, "density": 0}


def blurred(images: Tensor, radius: float) -> Tensor:
    rows = [
        np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).filter(ImageFilter.GaussianBlur(radius)))
        for image in images
    ]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def patterned(count: int) -> Tensor:
    """Draw random chequered pictures of 32 pixels, whose texture a blur destroys."""
    cells = torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8)
    return cells.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_sliced_wasserstein_is_zero_for_the_same_images_and_rises_with_blur() -> None:
    metric, images = SWD(projections=64), patterned(64)
    known = metric.statistics(images)
    levels = [metric.figures(known, metric.statistics(blurred(images, r)))["swd"] for r in (0, 0.5, 1, 2)]
    assert levels[0] == 0
    assert levels == sorted(levels) and levels[1] > 0


@pytest.fixture(scope="module")
def cifar() -> Pixels:
    """Return 1,200 images of CIFAR-10, of all classes."""
    if not CIFAR.exists():
        pytest.skip("wants ../shared/data/cifar10-train.zip")
    with ZipFile(CIFAR) as file:
        names = sorted(name for name in file.namelist() if name.endswith((".jpg", ".jpeg", ".png")))
        chosen = np.random.default_rng(0).choice(len(names), 1200, replace=False)
        return np.stack([np.asarray(Image.open(file.open(names[number])).convert("RGB")) for number in chosen])


def test_distances_order_real_images_before_blurred_ones_before_noise(cifar: Pixels) -> None:
    real = Reals(cifar, np.arange(600), 600, "test", sha256(cifar.tobytes()).hexdigest())
    metrics: tuple[Metric, ...] = (FDEffLite0(), KIDEffLite0(), Duplicates(), Coverage())
    evaluator = Evaluator(metrics, real, 600, torch.device("cpu"), quiet)
    other = torch.from_numpy(cifar[600:]).permute(0, 3, 1, 2)
    sets = [other, blurred(other, 0.6), blurred(other, 2), torch.randint(256, other.shape, dtype=torch.uint8)]
    found = [
        {score.name: score.value for score in evaluator.scores([some.permute(0, 2, 3, 1).numpy()], {}, quiet)}
        for some in sets
    ]
    for name in ("fd-efflite0", "kid-efflite0"):
        values = [figures[name] for figures in found]
        assert values == sorted(values), name
        assert values[1] > 2 * values[0], name
    coverage = [figures["coverage"] for figures in found]
    assert coverage == sorted(coverage, reverse=True)
    assert found[0]["duplicates"] < 0.01 and found[0]["copies"] < 0.01


def test_images_that_were_repeated_and_copied_are_found_among_real_ones(cifar: Pixels) -> None:
    real = Reals(cifar, np.arange(600), 600, "test", sha256(cifar.tobytes()).hexdigest())
    evaluator = Evaluator([Duplicates()], real, 300, torch.device("cpu"), quiet)
    planted = cifar[600:900].copy()
    planted[:30] = planted[30:60]
    planted[100:115] = cifar[:15]
    found = {score.name: score.value for score in evaluator.scores([planted], {}, quiet)}
    assert found["duplicates"] == pytest.approx(0.2, abs=0.02)
    assert found["copies"] == pytest.approx(0.05, abs=0.02)


class Plain(torch.nn.Module):
    """EfficientNet-Lite0's first eleven blocks written as a module, with the padding that TensorFlow has."""

    BLOCKS = ((32, 16, 3, 1, 1), (16, 24, 3, 2, 6), (24, 24, 3, 1, 6), (24, 40, 5, 2, 6), (40, 40, 5, 1, 6),
              (40, 80, 3, 2, 6), (80, 80, 3, 1, 6), (80, 80, 3, 1, 6), (80, 112, 5, 1, 6), (112, 112, 5, 1, 6),
              (112, 112, 5, 1, 6))  # fmt: skip

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def conv(self, x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        kernel = weight.shape[-1]
        total = max((math.ceil(x.shape[-1] / stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = torch.nn.functional.pad(x, (total // 2, total - total // 2) * 2)
        y = torch.nn.functional.conv2d(x, weight, stride=stride, groups=groups)
        stats = [self.weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(y, *stats, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.nn.functional.interpolate(images.float(), (96, 96), mode="bicubic", antialias=True).clamp(0, 255)
        x = self.conv((x - 127) / 128, "_conv_stem", "_bn0", 2).clamp(0, 6)
        for number, (inputs, outputs, _, stride, expand) in enumerate(self.BLOCKS):
            name, y = f"_blocks.{number}", x
            if expand > 1:
                y = self.conv(y, f"{name}._expand_conv", f"{name}._bn0").clamp(0, 6)
            y = self.conv(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=y.shape[1]).clamp(0, 6)
            y = self.conv(y, f"{name}._project_conv", f"{name}._bn2")
            x = x + y if stride == 1 and inputs == outputs else y
        return x.mean((2, 3))


def test_the_folded_network_is_the_published_one_layer_by_layer() -> None:
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    network = EfficientNetLite0().load(torch.device("cpu"), quiet)
    weights = trusted.load(efficientnet._file(), efficientnet.SHA256, "")
    with torch.inference_mode():
        expected = Plain(weights)(images)
    assert expected.shape == (4, 112)
    assert torch.allclose(network(images), expected, atol=2e-4)
    grey = images[:, :1]
    assert torch.allclose(network(grey), network(grey.expand(-1, 3, -1, -1)), atol=1e-5)


class Marked:
    """What leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_weights_that_were_tampered_with_are_refused_before_a_byte_is_unpickled(tmp_path: Path) -> None:
    file, mark = tmp_path / "weights.pth", tmp_path / "mark"
    file.write_bytes(pickle.dumps(Marked(mark)))
    with pytest.raises(GanctlError, match="SHA-256.*not loaded; get them anew"):
        trusted.load(file, "0" * 64, "get them anew")
    assert not mark.exists()
    # Even with the digest that it has, nothing but tensors is taken.
    with pytest.raises(GanctlError, match="no state dict of torch"):
        trusted.load(file, sha256(file.read_bytes()).hexdigest(), "get them anew")
    assert not mark.exists()


def test_classes_of_fakes_are_in_the_proportions_of_the_images() -> None:
    labels = labels_like(np.array([0] * 30 + [1] * 10), 2, 400)
    assert labels is not None
    assert labels.bincount().tolist() == [300, 100]
    even = labels_like(None, 4, 400)
    assert even is not None
    assert even.bincount().tolist() == [100] * 4
    assert labels_like(None, 0, 400) is None


def test_real_images_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(256, size=(60, 16, 16, 3), dtype=np.uint8)
    reals = Reals(images, np.arange(60), 60, "test", sha256(images.tobytes()).hexdigest())
    told: list[str] = []

    def progress(what: str, done: int, total: int | None) -> None:
        told.append(what)

    first = Evaluator([FDEffLite0(), SWD(projections=8)], reals, 20, torch.device("cpu"), progress)
    assert "looking at real images" in told
    told.clear()
    again = Evaluator([FDEffLite0(), SWD(projections=8)], reals, 20, torch.device("cpu"), progress)
    assert told == []
    values = [
        [(score.value, score.floor) for score in evaluator.scores([images[:20]], {}, progress)]
        for evaluator in (first, again)
    ]
    assert values[0] == values[1]
