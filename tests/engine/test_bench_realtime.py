"""Real-time play without a window: frames match the actions, and latencies are measured correctly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.fakes import FakeSimulator, fake_load
from worldsim.actions.bindings import MOUSE_X
from worldsim.actions.synthetic_input import InputEvent, synthetic_input
from worldsim.core.clock import MonotonicClock
from worldsim.core.errors import NonFiniteError
from worldsim.core.types import Action
from worldsim.engine.bench import RealtimeResult, count_mismatched_frames, play_realtime

TICK_S = 0.02


def play(
    simulator: FakeSimulator, events: tuple[InputEvent, ...], *, duration_s: float, depth: int = 2
) -> RealtimeResult:
    loaded = fake_load(simulator, ticks_per_s=1 / TICK_S)(lambda stage: None)
    return play_realtime(loaded, events, duration_s=duration_s, seed=1, prefetch_depth=depth, clock=MonotonicClock())


@pytest.mark.parametrize("depth", [0, 3])
def test_frames_match_the_actions_taken(depth: int) -> None:
    paced = play(FakeSimulator(step_s=0.004), synthetic_input(0, 0.8), duration_s=0.8, depth=depth)
    assert len({step.action for step in paced.steps}) > 1
    assert count_mismatched_frames(FakeSimulator(), 1, paced.steps) == 0
    damaged = replace(paced.steps[3], frame=np.zeros_like(paced.steps[3].frame))
    assert count_mismatched_frames(FakeSimulator(), 1, (*paced.steps[:3], damaged, *paced.steps[4:])) == 1


def test_input_latency_starts_at_the_event_and_tick_latency_at_the_request() -> None:
    events = (
        InputEvent(t_s=0.1, key="w", is_down=True),
        InputEvent(t_s=0.2, key=MOUSE_X, dx_px=5.0),
        InputEvent(t_s=0.25, key="w"),
    )
    paced = play(FakeSimulator(step_s=0.01), events, duration_s=0.4, depth=0)
    assert (len(paced.key_ms), len(paced.mouse_ms)) == (2, 1)
    assert all(ms >= 10 for ms in (*paced.key_ms, *paced.mouse_ms, *paced.request_latency_ms))
    assert any(step.action == Action.of("forward") for step in paced.steps)
    assert len(paced.jitter) == len(paced.steps) - 2


def test_failure_ends_the_run() -> None:
    with pytest.raises(NonFiniteError):
        play(FakeSimulator(fail_at=3, fail_seed=1), (), duration_s=2.0)
