"""The Fréchet Inception Distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ganctl import distances
from ganctl.features.inception import NUMBERS, POOL, InceptionMetric


class FID(InceptionMetric):
    """Fréchet Inception Distance (Heusel et al. 2017, arXiv:1706.08500), as torch-fidelity computes it.

    It is the Fréchet distance of the 2048 features of Inception-v3. It needs many images, for with fewer it comes out
    larger: papers take 50,000, and figures of different numbers cannot be compared.
    """

    api_version = 1

    def statistics(self, features: Tensor) -> Mapping[str, Tensor]:
        """Return the mean and the covariance of the features."""
        from torch_fidelity.metric_fid import fid_features_to_statistics

        found = fid_features_to_statistics(features[:, POOL])
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def figures(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Return the distance of the two Gaussians."""
        from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

        one, other = ({name: tensor.numpy() for name, tensor in side.items()} for side in (fake, real))
        return {"fid": fid_statistics_to_metric(one, other, verbose=False)[KEY_METRIC_FID]}

    def hints(self, reals: int, fakes: int) -> Sequence[str]:
        """Warn of fewer images than dimensions."""
        return distances.frechet_hints(NUMBERS, reals, fakes)
