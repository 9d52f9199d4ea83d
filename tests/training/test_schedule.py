"""A leg is counted in updates: what minutes reached, the same number of updates reaches again."""

from __future__ import annotations

import pytest

from worldsim.core.errors import UsageError
from worldsim.training.config import OptimiserConfig
from worldsim.training.schedule import FINAL_RATE, Leg, Schedule

CONFIG = OptimiserConfig(learning_rate=1.0, warmup_updates=10, cooldown_share=0.25)


def rates(schedule: Schedule, first: int, num: int) -> list[float]:
    return [schedule.rate(update) for update in range(first, first + num)]


def test_a_leg_of_updates_warms_up_and_cools_down() -> None:
    schedule = Schedule(CONFIG, first=0, updates=100)
    assert schedule.leg == Leg(first=0, cooldown=75, end=100)
    rate = rates(schedule, 0, 100)
    assert rate[0] == 0.1 and rate[9:75] == [1.0] * 66
    assert rate[75] == 1.0 and rate[87] == pytest.approx(13 / 25) and rate[99] == FINAL_RATE
    assert not schedule.is_over(99) and schedule.is_over(100)


def test_a_leg_of_minutes_becomes_a_leg_of_updates_when_its_fall_begins() -> None:
    """Slow updates first, fast ones later: what counts is how long one takes when the fall begins."""
    schedule, update, spent_s, seen = Schedule(CONFIG, first=500, updates=None), 500, 0.0, []
    while not schedule.is_over(update):
        schedule.observe(update, spent_s, 100.0)
        seen.append(schedule.rate(update))
        spent_s += 2.0 if update < 510 else 0.5
        update += 1
    assert schedule.leg is not None
    assert 99 < spent_s < 102, f"the leg of 100 s took {spent_s} s"
    again = Schedule(CONFIG, first=500, updates=schedule.leg.end - 500, cooldown_updates=50)
    assert f"--updates {update - 500} --cooldown-updates 50" == schedule.leg.again
    assert rates(again, 500, len(seen)) == seen


def test_a_fall_longer_than_the_leg_is_refused() -> None:
    for updates in (None, 5):
        with pytest.raises(UsageError, match="--cooldown-updates"):
            Schedule(CONFIG, first=0, updates=updates, cooldown_updates=6)


def test_a_leg_ends_where_its_updates_are_whole() -> None:
    schedule = Schedule(CONFIG, first=8, updates=10, cooldown_updates=2, multiple=4)
    assert schedule.leg == Leg(first=8, cooldown=18, end=20)
    timed = Schedule(CONFIG, first=0, updates=None, multiple=4)
    for update in range(8):
        timed.observe(update, float(update), 9.0)
    assert timed.leg is not None and timed.leg.end % 4 == 0, timed.leg
