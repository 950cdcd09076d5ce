"""Features per second, against torch-fidelity's loop: ``python tests/benchmarks/features.py [ROUNDS] [IMAGES]``.

The other side is EfficientNet-Lite0 as others have it (the package efficientnet-lite-pytorch, which this needs),
registered with torch-fidelity, which takes the same images from its own data loader: with worker processes, as is its
default, and without. Network, weights, resize, batch and precision are the same; the largest difference between
features is printed. Rounds take turns. Beside seconds on the clock stand those for which cores were busy.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

import torch
import torch_fidelity
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from torch_fidelity.utils import create_feature_extractor, get_featuresdict_from_dataset

from ganctl.features import efficientnet, trusted
from ganctl.features.efficientnet import EfficientNetLite0

SIDE, LAYER = 32, "block10"
BATCHES = (32, 64)
"""ganctl's, and torch-fidelity's default."""


class Reference(torch_fidelity.FeatureExtractorBase):  # type: ignore[misc]
    """The network as one would write it for torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **kwargs: object) -> None:
        super().__init__(name, features_list)
        self.network = EfficientNet.from_name("efficientnet-lite0", image_size=efficientnet.SIDE)
        self.network.load_state_dict(trusted.load(efficientnet._file(), efficientnet.SHA256, ""))
        self.blocks = self.network._blocks[: len(efficientnet.STRIDES)]

    def forward(self, images: Tensor) -> tuple[Tensor]:
        side = efficientnet.SIDE
        x = interpolate(images.float(), (side, side), mode="bicubic", antialias=True, align_corners=False)
        x = (x.clamp(0, 255) - 127) / 128
        x = self.network._swish(self.network._bn0(self.network._conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        return (x.mean((2, 3)),)

    @staticmethod
    def get_provided_features_list() -> tuple[str]:
        return (LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return LAYER


class Images(Dataset[Tensor]):
    """Images in memory."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


class Took(NamedTuple):
    clock: float
    cores: float


def busy() -> float:
    """Return the seconds for which this process and those that it has waited for had a core."""
    return sum(os.times()[:4])


def timed(run: Callable[[], Tensor]) -> tuple[Took, Tensor]:
    clock, cores = time.perf_counter(), busy()
    features = run()
    return Took(time.perf_counter() - clock, busy() - cores), features


def main(rounds: int = 5, count: int = 512) -> None:
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than there are cores
    pixels = torch.randint(256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    look = EfficientNetLite0().load(torch.device("cpu"), lambda *_: None)
    torch_fidelity.register_feature_extractor("efficientnet-lite0", Reference)
    reference = create_feature_extractor("efficientnet-lite0", [LAYER], cuda=False, verbose=False)

    def own(batch: int) -> Tensor:
        return torch.cat([look(some) for some in torch.split(pixels, batch)])

    def theirs(batch: int, no_workers: bool) -> Tensor:
        return get_featuresdict_from_dataset(Images(pixels), reference, batch, False, no_workers, False)[LAYER]

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch on {torch.get_num_threads()}")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "torch-fidelity", "efficientnet-lite-pytorch")))
    print(f"{count} images of {SIDE} px, median of {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36}images/s   ratio   images per core second   ratio")
    for batch in BATCHES:
        sides: dict[str, Callable[[], Tensor]] = {
            "ganctl": partial(own, batch),
            "torch-fidelity": partial(theirs, batch, no_workers=False),
            "torch-fidelity, no workers": partial(theirs, batch, no_workers=True),
        }
        features = {name: timed(run)[1] for name, run in sides.items()}  # warms up, too
        took: dict[str, list[Took]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, run in sides.items():
                took[name].append(timed(run)[0])
        for name, times in took.items():
            # Neighbouring rounds share what else the machine has to do, so the ratio is of these.
            pairs = list(zip(times, took["ganctl"], strict=True))
            clock = median(other.clock / ours.clock for other, ours in pairs)
            cores = median(other.cores / ours.cores for other, ours in pairs)
            rate = [count / median(part) for part in zip(*times, strict=True)]
            print(f"batch {batch}, {name:28}{rate[0]:8.1f}   {clock:5.2f}   {rate[1]:22.1f}   {cores:5.2f}")
        gap = (features["ganctl"] - features["torch-fidelity"]).abs().max()
        print(f"batch {batch}, largest difference {float(gap):.1e} of {float(features['ganctl'].abs().max()):.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
