"""Which images a batch holds, and in what form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import CPU, batches

from ganctl.data.batches import Batches, choose


def numbered(count: int, seed: int = 0) -> Batches:
    """Images whose pixels are their numbers."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 1))
    return Batches(np.ascontiguousarray(pixels), None, seed=seed, device=CPU)


def numbers(source: Batches, position: int, count: int) -> list[int]:
    images = source.at(position, count).images
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_each_pass_shows_every_image_once_in_a_new_order() -> None:
    source = numbered(10)
    seen = [number for position in range(0, 30, 3) for number in numbers(source, position, 3)]
    passes = [seen[:10], seen[10:20], seen[20:]]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_a_batch_is_a_function_of_its_position_and_the_seed() -> None:
    assert numbers(numbered(10), 17, 5) == numbers(numbered(10), 17, 5)
    assert numbers(numbered(10, seed=1), 17, 5) != numbers(numbered(10), 17, 5)
    late = numbered(10)
    numbers(late, 0, 25)
    assert numbers(late, 3, 4) == numbers(numbered(10), 3, 4)


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert sorted(numbers(numbered(4), 0, 12)) == sorted([*range(4)] * 3)


def test_pixels_become_numbers_from_minus_one_to_one_channels_last() -> None:
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3).repeat(2, 1).repeat(2, 2)
    images = Batches(pixels, None, seed=0, device=CPU).at(0, 1).images
    assert images.dtype == torch.float32
    torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_images_in_the_devices_memory_give_the_same_batches() -> None:
    for position in (0, 37):
        torch.manual_seed(0)
        mapped = batches(flip=True).at(position, 8)
        torch.manual_seed(0)
        held = batches(flip=True, hold=True).at(position, 8)
        assert torch.equal(mapped.images, held.images) and torch.equal(mapped.labels, held.labels)  # type: ignore[arg-type]
        assert held.images.is_contiguous(memory_format=torch.channels_last)


def test_flip_mirrors_about_half_of_the_images() -> None:
    pixels = np.zeros((64, 1, 2, 1), np.uint8)
    pixels[:, :, 0] = 255
    torch.manual_seed(0)
    left = Batches(pixels, None, seed=0, device=CPU, flip=True).at(0, 64).images[:, 0, 0, 0]
    assert 16 < int((left > 0).sum()) < 48


def test_labels_follow_their_images() -> None:
    source = batches(40)
    plain = Batches(np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1), np.arange(40) % 2, seed=0, device=CPU)
    images, labels = plain.at(5, 16)
    assert labels is not None
    assert (((images[:, 0, 0, 0] + 1) * 127.5).round().long() % 2).tolist() == labels.tolist()
    assert source.at(0, 4).labels is not None


def test_a_limit_is_balanced_seeded_and_within_the_chosen_classes() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 3)
    rows, renumbered = choose(labels, ("a", "b", "c"), (), 15, seed=0)
    assert np.bincount(labels[rows]).tolist() == [6, 6, 3]
    assert renumbered is not None
    assert (rows == choose(labels, ("a", "b", "c"), (), 15, seed=0)[0]).all()
    assert (rows != choose(labels, ("a", "b", "c"), (), 15, seed=1)[0]).any()


def test_chosen_classes_are_numbered_in_their_own_order() -> None:
    labels = np.array([0, 1, 2, 2, 1])
    rows, renumbered = choose(labels, ("a", "b", "c"), ("c", "a"), None, seed=0)
    assert rows.tolist() == [0, 2, 3]
    assert renumbered is not None
    assert renumbered[rows].tolist() == [1, 0, 0]


def test_without_classes_there_are_no_labels() -> None:
    rows, labels = choose(np.zeros(5, np.int64), (), (), 3, seed=0)
    assert (len(rows), labels) == (3, None)


@pytest.mark.parametrize("limit", [5, 100])
def test_a_limit_beyond_the_data_takes_all(limit: int) -> None:
    assert len(choose(np.zeros(5, np.int64), (), (), limit, seed=0)[0]) == 5
