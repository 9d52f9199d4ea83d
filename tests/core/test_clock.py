"""The clocks of play and tests."""

from __future__ import annotations

from worldsim.core.clock import ManualClock, MonotonicClock


def test_manual_clock_advances_only_on_request() -> None:
    clock = ManualClock()
    assert clock.now_ns() == clock.now_ns() == 0
    clock.advance_s(0.25)
    clock.sleep_s(0.5)
    assert clock.now_ns() == 750_000_000


def test_real_clock_sleeps_at_least_as_long_as_requested() -> None:
    clock = MonotonicClock()
    before_ns = clock.now_ns()
    clock.sleep_s(0.01)
    assert clock.now_ns() - before_ns >= 10_000_000
    clock.sleep_s(-1.0)  # a deadline in the past: no sleep, no error
