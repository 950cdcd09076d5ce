import pickle
from dataclasses import astuple
from itertools import combinations
from statistics import mean

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ganctl.api import Record
from ganctl.datasets import faces
from ganctl.datasets.faces import HAIR, Faces


def read(index, size=32, **options):
    data = Faces(**options)
    return data.read(Record(f"face-{index:06d}", index % 8), size)


@pytest.fixture(scope="module")
def sample():
    return [Faces().face(index) for index in range(4000)]


def test_describes_what_it_lists():
    data = Faces(count=1003)
    description, records = data.describe(), data.records()
    assert description.count == len(records) == 1003
    assert description.classes == ("black", "brown", "auburn", "blond", "silver", "pink", "blue", "green")
    assert (description.channels, description.needs) == (3, "")
    assert records[1002] == Record("face-001002", 1002 % 8)
    counts = np.bincount([record.label for record in records], minlength=8)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 1_000_001}, {"seed": -1}, {"seed": 2**32}])
def test_refuses_options_out_of_bounds(options):
    with pytest.raises(ValidationError):
        Faces(**options)


@pytest.mark.parametrize("size", [16, 32, 50, 64, 256])
def test_size_and_mode_are_exact(size):
    picture = read(3, size)
    assert isinstance(picture, Image.Image)
    assert (picture.size, picture.mode) == ((size, size), "RGB")


def test_a_face_depends_on_seed_and_index_alone():
    data = Faces(count=50, seed=7)
    forwards = [data.read(record, 32).tobytes() for record in data.records()]
    copy = pickle.loads(pickle.dumps(data))
    np.random.seed(1)  # the global state must not matter
    backwards = [copy.read(record, 32).tobytes() for record in reversed(copy.records())]
    assert forwards == backwards[::-1]
    assert read(31, count=50, seed=7).tobytes() == read(31, count=12_000, seed=7).tobytes()
    assert len(set(forwards)) == 50
    assert read(31, seed=7).tobytes() != read(31, seed=8).tobytes()


def test_the_fingerprint_follows_options_and_drawings(monkeypatch):
    assert Faces().fingerprint() == Faces().fingerprint()
    before = {Faces().fingerprint(), Faces(seed=1).fingerprint(), Faces(count=5).fingerprint()}
    monkeypatch.setattr(faces, "DRAWING", faces.DRAWING + 1)
    assert len(before | {Faces().fingerprint()}) == 4


def test_what_is_picked_varies_independently(sample):
    picked = ("label", "style", "side", "iris", "mouth", "freckles", "accessory", "accent", "clothes", "neckline")
    picked += ("backdrop", "paper")
    values = {name: [getattr(face, name) for face in sample] for name in picked}
    for one, other in combinations(picked, 2):
        together = len(set(zip(values[one], values[other], strict=True)))
        assert together == len(set(values[one])) * len(set(values[other])), (one, other)
        assert len(set(values[one])) > 1


def test_what_is_measured_varies_independently(sample):
    measured = ("width", "slim", "eye_size", "eye_gap", "brow", "blush", "turn", "tilt", "scale")
    table = [[getattr(face, name) for name in measured] for face in sample]
    table = np.array([[*row, f.shift.real, f.shift.imag, mean(f.skin)] for row, f in zip(table, sample, strict=True)])
    assert (table.std(axis=0) > 0).all()
    related = np.abs(np.corrcoef(table.T)) - np.eye(table.shape[1])
    assert related.max() < 0.08
    for label in range(8):  # nor does the class shift any
        away = table[label::8].mean(axis=0) - table.mean(axis=0)
        assert (np.abs(away) < 0.2 * table.std(axis=0)).all()


def test_no_two_faces_are_alike(sample):
    assert len({astuple(face) for face in sample}) == len(sample)


def test_hair_of_the_class_shows_in_every_face():
    palette = np.array(list(HAIR.values()))
    data = Faces(count=200)
    right = 0
    for record in data.records():
        pixels = np.asarray(data.read(record, 64), dtype=float).reshape(-1, 3)
        near = (np.linalg.norm(pixels[:, None] - palette, axis=2) < 22).sum(axis=0)
        assert near[record.label] > 60, record.name
        right += near.argmax() == record.label
    assert right > 180  # the most frequent of the palette's colours tells the class


def test_the_classes_are_told_apart_by_colour():
    palette = np.array(list(HAIR.values()), dtype=float)
    assert min(np.linalg.norm(a - b) for a, b in combinations(palette, 2)) > 60


def test_edges_are_smooth():
    # A face is drawn in fewer than 30 colours, on a plain backdrop in one more: all others are blends at edges.
    index = next(i for i in range(99) if Faces().face(i).backdrop == "plain")
    assert len(np.unique(np.asarray(read(index, 64)).reshape(-1, 3), axis=0)) > 150


def test_a_face_is_the_same_at_every_size():
    for index in range(24):
        small = np.asarray(read(index, 32), dtype=float)
        for size in (64, 128, 256):
            large = read(index, size)
            reduced = np.asarray(large.reduce(size // 32), dtype=float)
            assert np.abs(small - reduced).mean() < 4
        other = np.asarray(read(index + 1, 128).reduce(4), dtype=float)
        assert np.abs(small - other).mean() > 12
