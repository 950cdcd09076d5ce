"""The checks of data sets."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ganctl.api import Dataset, Record
from ganctl.data.decode import Target, decode
from ganctl.testing.common import Check, option_checks

MOST = 2000
"""Records of a stream that are looked at."""


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


def _listed(dataset: Dataset) -> Sequence[Record]:
    """List the records of *dataset*, or the first ones of a stream."""
    records = dataset.records()
    return list(islice(records, MOST)) if isinstance(records, Iterator) else records


def _records_are_as_described(dataset: Dataset) -> None:
    description, records = dataset.describe(), _listed(dataset)
    assert description.count in (None, len(records)) or len(records) == MOST, (
        f"describe() counts {description.count}, records() {len(records)}"
    )
    assert len({record.name for record in records}) == len(records), "two records have the same name"
    odd = [record for record in records if not isinstance(record.label, int) or record.label < 0]
    assert not odd, f"{odd[0].name} has the label {odd[0].label!r}; a class's number, or 0 without classes, is right"
    highest = max(record.label for record in records)
    assert highest < max(len(description.classes), 1), (
        f"label {highest} is beyond the {len(description.classes)} classes"
    )
    again = [(record.name, record.label) for record in _listed(dataset)]
    assert again == [(record.name, record.label) for record in records], (
        "records() lists other images the second time; sort them, and begin a stream anew whenever it is asked for"
    )
    if isinstance(dataset.records(), Iterator) and type(dataset).read is Dataset.read:
        bare = [record.name for record in records if record.image is None]
        assert not bare, f"records() yields {bare[0]} without its image; what is read in order brings that along"


def _pixels(dataset: Dataset, record: Record) -> NDArray[np.uint8]:
    return decode(dataset.read(record, 32), Target(32, 3, "crop", (255, 255, 255)))[0]


def _images_can_be_read(dataset: Dataset) -> None:
    at_once = [_pixels(dataset, record) for record in islice(dataset.records(), 4)]
    # Later: of a stream, when other images have come.
    for record, pixels in zip(_listed(dataset)[:4], at_once, strict=True):
        assert pixels.shape == (32, 32, 3), f"{record.name} is not a picture"
        assert np.array_equal(pixels, _pixels(dataset, record)), (
            f"{record.name} is another picture the second time; let read() depend on the record alone, and each record "
            "of a stream have an image of its own"
        )


def _reads_the_same_elsewhere(dataset: Dataset) -> None:
    twin: Dataset = pickle.loads(pickle.dumps(dataset))
    here, there = _listed(dataset), _listed(twin)
    assert [record.name for record in here] == [record.name for record in there], (
        "a copy in another process lists other records; let records() use options alone"
    )
    assert np.array_equal(_pixels(dataset, here[-1]), _pixels(twin, there[-1])), (
        "a copy in another process reads another picture; let read() use options alone"
    )
