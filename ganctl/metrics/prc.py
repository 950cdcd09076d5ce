"""Precision and recall."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from ganctl.errors import GanctlError
from ganctl.features.inception import POOL, InceptionMetric

_ROWS = 1024
"""Of a table of distances that are held at a time."""


class PRC(InceptionMetric):
    """Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), as torch-fidelity computes them.

    Around each image is a ball that reaches to its ``neighbourhood``-th nearest on the same side. Precision is the
    share of generated images within a ball of a real one; recall, of real images within a ball of a generated one; the
    F-score is their harmonic mean. All are higher the better. Features are those of FID, where the paper has VGG-16's.
    """

    api_version = 1
    lower_is_better = False
    neighbourhood: int = Field(default=3, ge=1, le=1000, description="of the nearest image to which a ball reaches")

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the features."""
        if len(features) <= self.neighbourhood:
            raise GanctlError(
                f"prc needs more images on each side than metric.neighbourhood = {self.neighbourhood}, "
                f"and has {len(features)}"
            )
        return {"features": features[:, POOL]}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the F-score, which neither a few good images nor a heap of poor ones raises, and what it is of."""
        from torch_fidelity.metric_prc import (
            KEY_METRIC_F_SCORE,
            KEY_METRIC_PRECISION,
            KEY_METRIC_RECALL,
            prc_features_to_metric,
        )

        found = prc_features_to_metric(
            fake["features"],
            real["features"],
            prc_neighborhood=self.neighbourhood,
            prc_batch_size=_ROWS,
            save_cpu_ram=True,
            verbose=False,
        )
        return {
            "f-score": found[KEY_METRIC_F_SCORE],
            "precision": found[KEY_METRIC_PRECISION],
            "recall": found[KEY_METRIC_RECALL],
        }
