"""Images that a generator repeats, and images that it has copied."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from ganctl import distances
from ganctl.api import Extractor, Metric
from ganctl.errors import GanctlError
from ganctl.features.efficientnet import EfficientNetLite0


class Duplicates(Metric):
    """Shares of generated images that are nearly identical to another one (duplicates), or to a real one (copies).

    Two images are nearly identical where the distance of their EfficientNet-Lite0 features is at most ``threshold``
    times that from a real image to the nearest other, in the median. More images have more duplicates among them, and
    copies are found only of those real images that are looked at (metric.reals). The floor is what real images have.
    """

    api_version = 1
    threshold: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="how near is nearly identical, in median distances between nearest real images",
    )

    def extractor(self) -> Extractor:
        """Return the network."""
        return EfficientNetLite0()

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the features, and the distance from each to the nearest other."""
        if len(features) < 2:
            raise GanctlError("duplicates needs two images or more on each side")
        return {"features": features, "nearest": distances.nearest(features)}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return both shares."""
        # Copies among the real images say nothing about how far others are from each other. Equal features differ by
        # rounding.
        apart = real["nearest"][real["nearest"] > 1e-3]
        limit = self.threshold * float(apart.median()) if len(apart) else 1e-3
        copied = distances.nearest(fake["features"], real["features"])
        return {name: float((near <= limit).double().mean()) for name, near in
                (("duplicates", fake["nearest"]), ("copies", copied))}  # fmt: skip
