from __future__ import annotations

from worldsim.core.clock import ManualClock, MonotonicClock


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock()
    assert clock.now_ns() == clock.now_ns() == 0
    clock.advance_s(0.25)
    clock.sleep_s(0.5)
    assert clock.now_ns() == 750_000_000


def test_sleeping_on_the_real_clock_takes_at_least_that_long() -> None:
    clock = MonotonicClock()
    before_ns = clock.now_ns()
    clock.sleep_s(0.01)
    assert clock.now_ns() - before_ns >= 10_000_000
    clock.sleep_s(-1.0)  # already late: no sleep, no error
