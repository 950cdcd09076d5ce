"""The Fréchet distance of EfficientNet-Lite0 features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ganctl import distances
from ganctl.api import Extractor, Metric
from ganctl.features.efficientnet import NUMBERS, EfficientNetLite0


class FDEffLite0(Metric):
    """Fréchet distance between the features of real and of generated images, of EfficientNet-Lite0's block 10.

    It is what FID is with another network, so the two cannot be compared. It works offline, is quick on a CPU, and
    tells sets apart that have a few hundred images. How near it is to its floor, real against real, says more than the
    number by itself.
    """

    api_version = 1

    def extractor(self) -> Extractor:
        """Return the network."""
        return EfficientNetLite0()

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the Gaussian of the features."""
        return distances.gaussian(features)

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the distance of the two Gaussians."""
        return {"fd-efflite0": distances.frechet(real, fake)}

    def hints(self, reals: int, fakes: int) -> Sequence[str]:
        """Warn of fewer images than dimensions."""
        return distances.frechet_hints(NUMBERS, reals, fakes)
