"""Distances between two sets of features: Fréchet's, the kernel distance, and those to nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_ROWS = 1024
"""Of a table of distances that are held at a time."""


def gaussian(features: Tensor) -> Mapping[str, Tensor]:
    """Return the ``mean`` (F,) of *features* (N, F), and a ``root`` (F, F) with covariance = root @ root.T."""
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(len(features) - 1, 1))
    # Rank-deficient ones have eigenvalues that are zero but for rounding.
    return {"mean": mean, "root": vectors * values.clamp(min=0).sqrt()}


def frechet(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), the squared Fréchet distance of two :func:`gaussian`.

    It is that of Dowson & Landau (1982). The trace of the root is the sum of the singular values of root1.T @ root2,
    for their squares are the eigenvalues of C1 C2; so no eigenvalue near zero is put under a root.
    """
    gap = (one["mean"] - other["mean"]).square().sum()
    spread = one["root"].square().sum() + other["root"].square().sum()
    shared = torch.linalg.svdvals(one["root"].T @ other["root"]).sum()
    return max(float(gap + spread - 2 * shared), 0.0)


def frechet_hints(numbers: int, reals: int, fakes: int) -> list[str]:
    """Say where there are fewer images than a feature has *numbers*, of which :func:`frechet` says too much."""
    return [
        f"{count} {which} images are no more than the {numbers} numbers of a feature: "
        f"the distance comes out too large; take several times as many ({key})"
        for count, which, key in ((reals, "real", "metric.reals"), (fakes, "generated", "--images"))
        if count <= numbers
    ]


def kernel(features: Tensor, others: Tensor) -> Tensor:
    """Return the polynomial kernel (x·y / F + 1)³ of each pair, (N, M) (Bińkowski et al. 2018, arXiv:1801.01401)."""
    return (features @ others.T / features.shape[1] + 1) ** 3


def kernel_mean(features: Tensor, others: Tensor | None = None) -> Tensor:
    """Return the mean of the :func:`kernel` over all pairs, or, without *others*, over pairs of two different rows."""
    features = features.double()
    second = features if others is None else others.double()
    total = _by_rows(features, lambda rows: kernel(rows, second).sum(1)).sum()
    if others is not None:
        return total / (len(features) * len(second))
    own = (features.square().sum(1) / features.shape[1] + 1) ** 3
    return (total - own.sum()) / (len(features) * (len(features) - 1))


def nearest(features: Tensor, others: Tensor | None = None, k: int = 1) -> Tensor:
    """Return the distance (N,) from each of *features* (N, F) to the *k*-th nearest of *others* (M, F).

    Without *others*: to the k-th nearest of the rest of *features*.
    """
    second = features if others is None else others
    if others is None:
        k += 1  # itself, at a distance of zero
    return _by_rows(features, lambda rows: pairwise(rows, second).kthvalue(k, dim=1).values)


def counts_within(centres: Tensor, radii: Tensor, features: Tensor) -> Tensor:
    """Return how many of *features* (M, F) lie in the ball around each of *centres* (N, F) with *radii* (N,)."""
    inside = [
        (pairwise(rows, features) <= radius[:, None]).sum(1)
        for rows, radius in zip(torch.split(centres, _ROWS), torch.split(radii, _ROWS), strict=True)
    ]
    return torch.cat(inside)


def pairwise(features: Tensor, others: Tensor) -> Tensor:
    """Return the distances (N, M) between the rows of two sets."""
    # In double precision the quick formula, by products, is exact enough to tell copies from what is only alike.
    one, other = features.double(), others.double()
    squares = one.square().sum(1)[:, None] + other.square().sum(1) - 2 * one @ other.T
    return squares.clamp_(min=0).sqrt()


def _by_rows(features: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([of(rows) for rows in torch.split(features, _ROWS)])
