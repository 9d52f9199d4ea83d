"""A session is counted in updates: one of minutes can be reproduced by its number of updates."""

from __future__ import annotations

import pytest

from worldsim.core.errors import UsageError
from worldsim.training.config import OptimizerConfig
from worldsim.training.loop import FINAL_RATE_FRACTION, Schedule, TrainingPhase

CONFIG = OptimizerConfig(learning_rate=1.0, warmup_steps=10, decay_fraction=0.25)


def rates(schedule: Schedule, first: int, num: int) -> list[float]:
    return [schedule.learning_rate(update) for update in range(first, first + num)]


def test_a_phase_of_updates_warms_up_and_decays() -> None:
    schedule = Schedule(CONFIG, first=0, updates=100)
    assert schedule.phase == TrainingPhase(first=0, decay_start=75, end=100)
    learning_rate = rates(schedule, 0, 100)
    assert learning_rate[0] == 0.1 and learning_rate[9:75] == [1.0] * 66
    assert (
        learning_rate[75] == 1.0
        and learning_rate[87] == pytest.approx(13 / 25)
        and learning_rate[99] == FINAL_RATE_FRACTION
    )
    assert not schedule.is_over(99) and schedule.is_over(100)


def test_a_phase_of_minutes_becomes_a_phase_of_updates_when_its_decay_begins() -> None:
    """Slow updates first, fast ones later: only the duration when the decay starts counts."""
    schedule, update, spent_s, seen = Schedule(CONFIG, first=500, updates=None), 500, 0.0, []
    while not schedule.is_over(update):
        schedule.observe_time(update, spent_s, 100.0)
        seen.append(schedule.learning_rate(update))
        spent_s += 2.0 if update < 510 else 0.5
        update += 1
    assert schedule.phase is not None
    assert 99 < spent_s < 102, f"the session of 100 s took {spent_s} s"
    reproduce_args = Schedule(CONFIG, first=500, updates=schedule.phase.end - 500, cooldown_updates=50)
    assert f"--steps {update - 500} --decay-steps 50" == schedule.phase.reproduce_args
    assert rates(reproduce_args, 500, len(seen)) == seen


def test_a_decay_longer_than_the_phase_is_rejected() -> None:
    for updates in (None, 5):
        with pytest.raises(UsageError, match="--decay-steps"):
            Schedule(CONFIG, first=0, updates=updates, cooldown_updates=6)


def test_a_phase_ends_at_a_multiple_of_the_sequence_length() -> None:
    schedule = Schedule(CONFIG, first=8, updates=10, cooldown_updates=2, multiple=4)
    assert schedule.phase == TrainingPhase(first=8, decay_start=18, end=20)
    timed = Schedule(CONFIG, first=0, updates=None, multiple=4)
    for update in range(8):
        timed.observe_time(update, float(update), 9.0)
    assert timed.phase is not None and timed.phase.end % 4 == 0, timed.phase
