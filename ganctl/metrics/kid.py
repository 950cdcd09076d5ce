"""The Kernel Inception Distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from ganctl.errors import GanctlError
from ganctl.evaluation import SEED
from ganctl.features.inception import POOL, InceptionMetric


class KID(InceptionMetric):
    """Kernel Inception Distance (Bińkowski et al. 2018, arXiv:1801.01401), as torch-fidelity computes it.

    It is the mean, over random subsets of both sides, of the squared MMD between the 2048 features of Inception-v3. Its
    estimate is unbiased: with few images it is less certain, but no larger, and it may be slightly negative.
    """

    api_version = 1
    subsets: int = Field(default=100, ge=1, le=100_000, description="that are drawn, of whose distances it is the mean")
    subset_size: int = Field(
        default=1000, ge=2, le=100_000, description="images of each side in a subset; all where a side has fewer"
    )

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the features."""
        if len(features) < 2:
            raise GanctlError("kid needs two images or more on each side")
        return {"features": features[:, POOL]}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the mean distance."""
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        found = kid_features_to_metric(
            fake["features"],
            real["features"],
            kid_subsets=self.subsets,
            kid_subset_size=min(self.subset_size, len(fake["features"]), len(real["features"])),
            rng_seed=SEED,
            verbose=False,
        )
        return {"kid": found[KEY_METRIC_KID_MEAN]}

    def protocol(self) -> Mapping[str, Any]:
        """Return the options, and what the subsets are drawn from."""
        return {**super().protocol(), "seed": SEED}
