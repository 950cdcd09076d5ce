"""The checks of metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ganctl.api import Metric
from ganctl.testing.common import Check, option_checks


def metric_checks(plugin: type[Metric]) -> Iterator[Check]:
    """Yield the checks of a metric, with its default options; one without a network is tried on random images."""
    yield from option_checks(plugin)
    yield Check("protocol-is-plain", partial(_protocol_is_plain, plugin))
    if not any(field.is_required() for field in plugin.model_fields.values()) and plugin().extractor() is None:
        yield Check("figures-are-repeatable", partial(_figures_are_repeatable, plugin))
        yield Check("tells-images-apart", partial(_tells_images_apart, plugin))


def _noise(seed: int, count: int = 64) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 32, 32), generator=source, dtype=torch.uint8)


def _protocol_is_plain(plugin: type[Metric]) -> None:
    metric = plugin()
    extractor = metric.extractor()
    for of, protocol in (
        ("protocol()", metric.protocol()),
        ("extractor().protocol()", extractor and extractor.protocol()),
    ):
        try:
            again = json.loads(json.dumps(protocol))
        except TypeError as error:
            raise AssertionError(f"{of} holds what JSON cannot: {error}; use numbers, text and lists") from error
        assert again == (dict(protocol) if protocol else protocol), (
            f"{of} comes out of JSON changed; use lists for tuples"
        )


def _figures_are_repeatable(plugin: type[Metric]) -> None:
    metric = plugin()
    answers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        statistics = [metric.statistics(images) for images in (_noise(0), _noise(1))]
        odd = [name for part in statistics for name, value in part.items() if not isinstance(value, Tensor)]
        assert not odd, f"statistics()[{odd[0]!r}] is no tensor, and only tensors are kept in the cache"
        answers.append(dict(metric.figures(*statistics)))
    assert answers[0] == answers[1], (
        f"the same images give {answers[0]} and then {answers[1]}; draw with a torch.Generator that you seed yourself, "
        "and state the seed in protocol()"
    )
    for name, value in answers[0].items():
        finite = isinstance(value, float | int) and math.isfinite(value)
        assert finite, f"{name} is {value!r}; a finite float is right"


def _tells_images_apart(plugin: type[Metric]) -> None:
    metric = plugin()
    real, near, far = (
        metric.statistics(images) for images in (_noise(0), _noise(1), torch.zeros(64, 3, 32, 32, dtype=torch.uint8))
    )
    near_figures, far_figures = metric.figures(real, near), metric.figures(real, far)
    assert near_figures.keys() == far_figures.keys(), "figures() gives other names for other images"
    name = next(iter(near_figures))
    near_value, far_value = near_figures[name], far_figures[name]
    better = near_value < far_value if metric.lower_is_better else near_value > far_value
    assert better, f"{name} calls black images more like noise than other noise is; check lower_is_better"
