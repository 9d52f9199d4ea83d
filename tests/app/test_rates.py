"""Frames per second and latency from running totals."""

from __future__ import annotations

import pytest

from worldsim.app.rates import RateMeter, Rates
from worldsim.engine.worker import Counters


def test_rates_are_differences_over_the_last_two_seconds() -> None:
    meter = RateMeter()
    for tenth in range(101):  # 5 made/s for five seconds, then 20 made/s
        made = tenth // 2 if tenth <= 50 else 25 + (tenth - 50) * 2
        meter.sample(tenth * 100_000_000, Counters(made=made, busy_ns=made * 4_000_000), num_shown=made)
    rates = meter.rates
    assert rates.made_per_s == pytest.approx(20.0)
    assert rates.shown_per_s == pytest.approx(20.0)
    assert rates.ms_per_frame == pytest.approx(4.0)


def test_nothing_measured_is_zero() -> None:
    assert RateMeter().rates == Rates()


def test_latency_is_a_median_and_a_95th_percentile() -> None:
    meter = RateMeter()
    for ms in range(1, 101):
        meter.add_latency(0, ms * 1_000_000)
    meter.sample(0, Counters(), 0)
    meter.sample(1, Counters(), 0)
    assert meter.rates.ms_input_p50 == pytest.approx(50, abs=2)
    assert meter.rates.ms_input_p95 == pytest.approx(95, abs=2)
