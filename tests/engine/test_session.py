"""Pace, taps, pause, single step and failure, with a manual clock and no thread."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.core.clock import ManualClock
from worldsim.core.types import Step
from worldsim.engine.session import MAX_CATCH_UP_TICKS, Session, SessionState
from worldsim.engine.worker import Worker

TICK_S = 0.1


class Play:
    """A session on a worker run by hand. `go(s)` advances time; the model takes none."""

    def __init__(self, simulator: FakeSimulator | None = None, *, depth: int = 1) -> None:
        self.worker = Worker(
            fake_load(simulator or FakeSimulator(), ticks_per_s=1 / TICK_S), prefetch_depth=depth, clock=ManualClock()
        )
        self.session = Session(self.worker)
        self.steps: list[Step] = []

    def start(self) -> Play:
        self.go(0.0)
        self.go(0.0)
        assert self.session.state is SessionState.PLAYING
        self.steps.clear()
        return self

    def model(self) -> None:
        while self.worker.run_once():
            pass

    def tick(self, elapsed_s: float) -> int:
        steps = self.session.tick(elapsed_s)
        self.steps += steps
        return len(steps)

    def go(self, elapsed_s: float) -> int:
        num = self.tick(elapsed_s)
        self.model()
        return num + self.tick(0.0)


def test_play_starts_when_the_world_is_loaded() -> None:
    play = Play()
    assert play.tick(5.0) == 0
    assert play.session.state is SessionState.LOADING
    play.model()
    assert play.tick(5.0) == 1
    assert play.session.state is SessionState.PLAYING
    assert play.steps[0].index == 0


def test_ticks_follow_the_world_rate_not_the_display() -> None:
    play = Play().start()
    assert sum(play.go(1 / 60) for _ in range(60)) == pytest.approx(1 / TICK_S, abs=1)


def test_stall_is_not_caught_up() -> None:
    play = Play(depth=4).start()
    assert play.go(10.0) <= MAX_CATCH_UP_TICKS
    assert play.go(0.0) == 0


def test_slow_model_slows_the_world_without_queueing() -> None:
    play = Play(depth=0).start()
    for _ in range(50):
        play.tick(TICK_S)  # the model does not run
    assert play.steps == []
    play.model()
    assert play.tick(0.0) == 1
    play.model()
    assert play.tick(0.0) + play.tick(0.0) <= MAX_CATCH_UP_TICKS


def test_a_tap_between_two_ticks_counts_once() -> None:
    play = Play().start()
    play.session.inputs.press("w")
    play.session.inputs.release("w")
    play.go(TICK_S)
    play.go(TICK_S)
    assert [step.action.buttons for step in play.steps] == [{"forward"}, set()]


def test_a_held_key_acts_in_every_tick_until_it_is_released() -> None:
    play = Play().start()
    play.session.inputs.press("left")
    play.go(TICK_S)
    play.go(TICK_S)
    play.session.inputs.release("left")
    play.go(TICK_S)
    assert [step.action.axis("turn") for step in play.steps] == [1.0, 1.0, 0.0]


def test_input_is_sampled_at_the_tick() -> None:
    play = Play().start()
    play.go(TICK_S * 0.9)
    play.session.inputs.press("d")
    play.go(TICK_S * 0.1)
    assert play.steps[0].action.buttons == {"right"}


def test_prefetched_frame_is_shown_in_the_same_draw() -> None:
    play = Play().start()
    play.session.inputs.press("w")
    play.go(TICK_S)
    assert play.tick(TICK_S) == 1
    assert play.worker.counters.hits == 1


def test_pause_stops_the_world_and_forgets_what_was_pressed_in_it() -> None:
    play = Play().start()
    play.session.toggle_pause()
    assert play.go(1.0) == 0
    play.session.inputs.press("w")
    play.session.inputs.release("w")
    play.session.inputs.move_mouse(40)
    play.session.toggle_pause()
    play.go(TICK_S)
    assert [step.action for step in play.steps] == [play.steps[0].action.of()]


def test_a_single_step_makes_one_frame_and_stays_paused() -> None:
    play = Play().start()
    play.session.inputs.press("w")
    play.session.single_step()
    assert play.go(0.0) == 1
    assert play.go(1.0) == 0
    assert play.session.state is SessionState.PAUSED
    assert play.steps[0].action.buttons == {"forward"}


def test_failure_is_a_state_with_an_error_and_reset_recovers() -> None:
    play = Play(FakeSimulator(fail_at=3)).start()
    for _ in range(5):
        play.go(TICK_S)
    assert play.session.state is SessionState.FAILED
    assert play.session.error is not None
    assert "NaN" in play.session.error.message
    assert len(play.steps) == 2
    play.session.reset(seed=1)
    play.go(0.0)
    assert play.session.state is SessionState.PLAYING
    assert play.session.error is None


def test_reset_begins_at_the_same_frame_and_another_seed_at_another() -> None:
    play = Play().start()
    play.go(TICK_S)
    play.session.reset()
    play.go(0.0)
    play.session.reset(seed=1)
    play.go(0.0)
    _, again, other = play.steps
    assert np.array_equal(again.frame, FakeSimulator().reset(0).frame)
    assert not np.array_equal(other.frame, again.frame)


def test_next_due_time() -> None:
    play = Play().start()
    play.go(TICK_S * 0.25)
    assert play.session.next_due_s == pytest.approx(TICK_S * 0.75)
    play.session.toggle_pause()
    assert play.session.next_due_s is None


def test_custom_tick_rate() -> None:
    play = Play()
    play.session = Session(play.worker, ticks_per_s=2 / TICK_S)
    play.start()
    assert play.go(TICK_S / 2) == 1
