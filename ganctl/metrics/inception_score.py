"""The Inception Score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from ganctl.errors import GanctlError
from ganctl.evaluation import SEED
from ganctl.features.inception import LOGITS, InceptionMetric


class InceptionScore(InceptionMetric):
    """Inception Score (Salimans et al. 2016, arXiv:1606.03498), as torch-fidelity computes it; higher is better.

    It says how surely Inception-v3 sorts each generated image into one of its classes, and how evenly all of them. Real
    images play no part in it: beside it stands the score of real ones. It means little for images of what ImageNet has
    not, like drawings, and grows with the number of images.
    """

    api_version = 1
    lower_is_better = False
    layer = "logits_unbiased"
    splits: int = Field(default=10, ge=1, le=1000, description="parts of the images, of whose scores it is the mean")

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the logits."""
        if len(features) < self.splits:
            raise GanctlError(
                f"is needs as many images on each side as metric.splits = {self.splits}, and has {len(features)}"
            )
        return {"logits": features[:, LOGITS]}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the score of the fakes."""
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

        return {"is": isc_features_to_metric(fake["logits"], self.splits, rng_seed=SEED)[KEY_METRIC_ISC_MEAN]}

    def protocol(self) -> Mapping[str, Any]:
        """Return the options, and what the images are shuffled by."""
        return {**super().protocol(), "seed": SEED}
