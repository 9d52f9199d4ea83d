"""The clocks of play and tests."""

from __future__ import annotations

import time

from worldsim.core.clock import ManualClock, MonotonicClock


def test_manual_clock_advances_only_on_request() -> None:
    clock = ManualClock()
    assert clock.now_ns() == clock.now_ns() == 0
    clock.advance_s(0.25)
    clock.advance_s(0.5)
    assert clock.now_ns() == 750_000_000


def test_real_clock_advances() -> None:
    clock = MonotonicClock()
    before_ns = clock.now_ns()
    time.sleep(0.01)
    assert clock.now_ns() - before_ns >= 10_000_000
