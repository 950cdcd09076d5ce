"""How much of the real images' variety is generated, and how typical what is generated is."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from ganctl import distances
from ganctl.api import Extractor, Metric
from ganctl.errors import GanctlError
from ganctl.features.efficientnet import EfficientNetLite0


class Coverage(Metric):
    """Coverage and density (Naeem et al. 2020, arXiv:2002.09797), of EfficientNet-Lite0 features.

    Around each real image is a ball that reaches to its ``neighbours``-th nearest other. Coverage is the share of balls
    that hold a generated image; density, how many balls a generated image lies in, over ``neighbours``. Both are higher
    the better, and about 1 for images as good as real ones; coverage grows with the number of generated images.
    """

    api_version = 1
    lower_is_better = False
    neighbours: int = Field(default=5, ge=1, le=1000, description="of the real image to which its ball reaches")

    def extractor(self) -> Extractor:
        """Return the network."""
        return EfficientNetLite0()

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the features, and the radii of the balls around them."""
        if len(features) <= self.neighbours:
            raise GanctlError(
                f"coverage needs more images on each side than metric.neighbours = {self.neighbours}, "
                f"and has {len(features)}"
            )
        return {"features": features, "radii": distances.nearest(features, k=self.neighbours)}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return both."""
        held = distances.counts_within(real["features"], real["radii"], fake["features"])
        return {
            "coverage": float((held > 0).double().mean()),
            "density": float(held.sum()) / (self.neighbours * len(fake["features"])),
        }
