"""The checks of data sets."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial

import numpy as np

from ganctl.api import Dataset
from ganctl.data.decode import Target, decode
from ganctl.testing.common import Check, option_checks


def dataset_checks(plugin: type[Dataset], **options: object) -> Iterator[Check]:
    """Yield the checks of a data set made with *options*; one whose images must first be fetched is only described."""
    yield from option_checks(plugin)
    if any(field.is_required() and name not in options for name, field in plugin.model_fields.items()):
        return
    dataset = plugin.model_validate(options)
    yield Check("describes-itself", partial(_describes_itself, dataset))
    if not dataset.describe().needs:
        yield Check("records-are-as-described", partial(_records_are_as_described, dataset))
        yield Check("images-can-be-read", partial(_images_can_be_read, dataset))
        yield Check("reads-the-same-elsewhere", partial(_reads_the_same_elsewhere, dataset))


def _describes_itself(dataset: Dataset) -> None:
    description = dataset.describe()
    assert description.count is None or description.count >= 2, "describe() counts fewer than two images"
    assert description.channels in (1, 3), "describe().channels is 1 or 3"
    assert len(set(description.classes)) == len(description.classes), "describe().classes holds a name twice"
    assert dataset.fingerprint() == dataset.model_copy().fingerprint(), "fingerprint() differs though nothing changed"


def _records_are_as_described(dataset: Dataset) -> None:
    description, records = dataset.describe(), dataset.records()
    assert description.count in (None, len(records)), f"describe() counts {description.count}, records() {len(records)}"
    assert len({record.name for record in records}) == len(records), "two records have the same name"
    odd = [record for record in records if not isinstance(record.label, int) or record.label < 0]
    assert not odd, f"{odd[0].name} has the label {odd[0].label!r}; a class's number, or 0 without classes, is right"
    highest = max(record.label for record in records)
    assert highest < max(len(description.classes), 1), (
        f"label {highest} is beyond the {len(description.classes)} classes"
    )
    assert list(records) == list(dataset.records()), "records() lists other images the second time; sort them"


def _images_can_be_read(dataset: Dataset) -> None:
    for record in list(dataset.records())[:4]:
        pixels, _ = decode(dataset.read(record, 32), Target(32, 3, "crop", (255, 255, 255)))
        assert pixels.shape == (32, 32, 3), f"{record.name} is not a picture"
        again, _ = decode(dataset.read(record, 32), Target(32, 3, "crop", (255, 255, 255)))
        assert np.array_equal(pixels, again), f"read() gives another picture of {record.name} the second time"


def _reads_the_same_elsewhere(dataset: Dataset) -> None:
    twin: Dataset = pickle.loads(pickle.dumps(dataset))
    here, there = dataset.records(), twin.records()
    assert list(here) == list(there), "a copy in another process lists other records; let records() use options alone"
    target = Target(32, 3, "crop", (255, 255, 255))
    one, other = (decode(source.read(here[-1], 32), target)[0] for source in (dataset, twin))
    assert np.array_equal(one, other), "a copy in another process reads another picture; let read() use options alone"
