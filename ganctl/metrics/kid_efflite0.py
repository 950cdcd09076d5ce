"""The kernel distance of EfficientNet-Lite0 features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ganctl import distances
from ganctl.api import Extractor, Metric
from ganctl.errors import GanctlError
from ganctl.features.efficientnet import EfficientNetLite0


class KIDEffLite0(Metric):
    """Kernel distance (squared MMD) between features of real and of generated images, of EfficientNet-Lite0's block 10.

    It is what KID is with another network. Its estimate is unbiased: with few images it is less certain, but no
    larger, and it may be slightly negative. All images are compared with all, not in subsets.
    """

    api_version = 1

    def extractor(self) -> Extractor:
        """Return the network."""
        return EfficientNetLite0()

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the features, and the mean of the kernel within them."""
        if len(features) < 2:
            raise GanctlError("kid-efflite0 needs two images or more on each side")
        return {"features": features, "within": distances.kernel_mean(features)}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return E k(x, x') + E k(y, y') - 2 E k(x, y)."""
        between = distances.kernel_mean(real["features"], fake["features"])
        return {"kid-efflite0": float(real["within"] + fake["within"] - 2 * between)}
