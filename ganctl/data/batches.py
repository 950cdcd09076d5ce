"""Packed images -> batches for the discriminator, gathered from the array, normalised and flipped on the device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class RealBatch(NamedTuple):
    """Real images (N, C, H, W) in [-1, 1], and their class numbers (N,) if the data set has classes."""

    images: Tensor
    labels: Tensor | None


class Batches:
    """Endless batches: each pass shows every image once, in a new order; a batch may end one pass and begin the next.

    What a batch holds is a function of the seed and of how many images came before it: that number is the whole state.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64] | None,
        *,
        seed: int,
        device: torch.device,
        flip: bool = False,
        chosen: NDArray[np.int64] | None = None,
        hold: bool = False,
    ) -> None:
        """*images* is (N, H, W, C) and may be mapped from a file; *chosen* are the rows to train on, all by default.

        *hold* keeps a copy of all images in the device's memory, from where batches are gathered much faster.
        """
        self._images = np.asarray(images)  # a memory map as a plain array, which is quicker to index
        self._held = torch.from_numpy(np.array(images)).to(device) if hold else None
        self._labels = labels
        self._chosen = np.arange(len(images)) if chosen is None else chosen
        self._seed = seed
        self._device = device
        self._flip = flip
        self._order: tuple[int, NDArray[np.int64]] = (-1, self._chosen)

    def __len__(self) -> int:
        """Images in a pass."""
        return len(self._chosen)

    def at(self, position: int, count: int) -> RealBatch:
        """Return the *count* images that follow the first *position*. Flips draw from torch's default generator."""
        rows = self._rows(position, count)
        pixels = self._on_device(self._images[rows]) if self._held is None else self._held[self._on_device(rows)]
        # (N, H, W, C) in memory, seen as (N, C, H, W): the channels-last layout in which convolutions are fastest.
        pixels = pixels.permute(0, 3, 1, 2)
        images = pixels.float().div_(127.5).sub_(1)
        if self._flip:
            mirrored = torch.rand(count, device=self._device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        labels = None
        if self._labels is not None:
            labels = self._on_device(self._labels[rows])
        return RealBatch(images, labels)

    def first(self, count: int, label: int | None = None) -> NDArray[np.uint8]:
        """Return the first *count* packed images of a pass, or as many as there are, of all or of the class *label*."""
        rows = self._pass(0)
        if label is not None and self._labels is not None:
            rows = rows[self._labels[rows] == label]
        return self._images[rows[:count]]

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        # Only from pinned memory does a GPU fetch it by itself, while its work goes on.
        tensor = tensor.pin_memory() if self._device.type == "cuda" else tensor
        return tensor.to(self._device, non_blocking=True)

    def _rows(self, position: int, count: int) -> NDArray[np.int64]:
        parts = []
        while count:
            number, offset = divmod(position, len(self))
            part = self._pass(number)[offset : offset + count]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return np.concatenate(parts)

    def _pass(self, number: int) -> NDArray[np.int64]:
        if self._order[0] != number:
            self._order = number, np.random.default_rng([self._seed, number]).permutation(self._chosen)
        return self._order[1]


def choose(
    labels: NDArray[np.int64], classes: tuple[str, ...], wanted: tuple[str, ...], limit: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the rows to train on, and the labels of all rows numbered as in *wanted*, or None without classes.

    *limit* takes a seeded subset that is balanced over classes: as even as their numbers of images allow.
    """
    keep = wanted or classes
    renumbered = np.full(max(len(classes), 1), -1, np.int64)
    renumbered[[classes.index(name) for name in keep] if keep else [0]] = np.arange(max(len(keep), 1))
    labels = renumbered[labels]
    rows = np.flatnonzero(labels >= 0)
    if limit is not None and limit < len(rows):
        shuffled = np.random.default_rng(seed).permutation(rows)
        # Number each image within its class: the first of every class come first, then the second of every class ...
        turn = np.empty(len(shuffled), np.int64)
        for label in range(max(len(keep), 1)):
            mine = labels[shuffled] == label
            turn[mine] = np.arange(mine.sum())
        rows = np.sort(shuffled[np.argsort(turn, kind="stable")[:limit]])
    return rows, labels if keep else None
