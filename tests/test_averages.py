"""EMA against its closed form, and meters against plain means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganctl.ema import EMA
from ganctl.meters import Meter


def test_ema_halves_the_old_after_its_half_life() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    ema = EMA(network, half_life=100)
    nn.init.constant_(network.weight, 1.0)
    for _ in range(10):
        ema.update(total=10**6, more=10)
    assert float(ema.network.weight) == pytest.approx(0.5)
    for _ in range(10):
        ema.update(total=10**6, more=10)
    assert float(ema.network.weight) == pytest.approx(0.75)


def test_emas_half_life_is_never_more_than_a_twentieth_of_the_images() -> None:
    ema = EMA(nn.Linear(1, 1), half_life=10_000)
    assert ema.decay(total=200, more=10) == pytest.approx(0.5)
    assert ema.decay(total=10**9, more=10_000) == pytest.approx(0.5)
    assert ema.decay(total=64, more=64) < 1e-5


def test_ema_matches_the_weighted_sum_of_what_it_saw() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    ema = EMA(network, half_life=50)
    expected = network.weight.detach().double().clone()
    for step in range(1, 30):
        with torch.no_grad():
            network.weight.normal_()
        ema.update(total=step * 8, more=8)
        decay = 0.5 ** (8 / min(50, 0.05 * step * 8))
        expected = decay * expected + (1 - decay) * network.weight.detach().double()
    torch.testing.assert_close(ema.network.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_ema_averages_running_statistics_and_copies_counters() -> None:
    network = nn.BatchNorm1d(2)
    ema = EMA(network, half_life=10)
    network(torch.randn(8, 2) + 5)
    ema.update(total=10**6, more=10)
    torch.testing.assert_close(ema.network.running_mean, network.running_mean / 2)
    assert int(ema.network.num_batches_tracked) == 1
    assert not ema.network.training


def test_a_meter_gives_means_of_what_is_added_together() -> None:
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"a": torch.tensor(value), "b": torch.tensor(-value)})
    meter.add({"c": torch.tensor(5.0)})
    assert meter.peek() == {"a": 3.0, "b": -3.0, "c": 5.0}
    assert meter.read() == {"a": 3.0, "b": -3.0, "c": 5.0}
    assert meter.read() == {}


def test_a_meter_restored_goes_on_where_it_was() -> None:
    meter, other = Meter(), Meter()
    meter.add({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    meter.speed(10, 2.0)
    other.restore(*meter.state())
    for each in (meter, other):
        each.add({"a": torch.tensor(3.0), "b": torch.tensor(4.0)})
    assert meter.peek() == other.peek() == {"a": 2.0, "b": 3.0}
    assert other.speed(30, 4.0) == {"images_per_second": 10.0}


def test_a_figure_in_changing_company_has_one_mean() -> None:
    meter = Meter()
    meter.add({"loss_d": torch.tensor(1.0)})
    meter.add({"loss_d": torch.tensor(5.0), "loss_d_r1": torch.tensor(4.0)})
    meter.add({"loss_d": torch.tensor(3.0)})
    assert meter.read() == {"loss_d": 3.0, "loss_d_r1": 4.0}
