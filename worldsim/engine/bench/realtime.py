"""Real-time play without a window: replays a list of input events and records when each frame was requested and ready.

Drawing and the screen are not part of these times.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from worldsim.actions.bindings import MOUSE_X
from worldsim.actions.synthetic_input import InputEvent
from worldsim.core.clock import Clock
from worldsim.core.errors import WorldsimError
from worldsim.core.types import Step
from worldsim.engine.inputs import Inputs
from worldsim.engine.interfaces import LoadedWorld, SimulatorProtocol
from worldsim.engine.session import Session, SessionState
from worldsim.engine.worker import Worker, WorkerCounters

MAX_WAIT_S = 0.05
"""Longest interval between two ticks of the session."""


@dataclass(frozen=True, kw_only=True)
class RealtimeResult:
    """The first of `steps` is the start."""

    steps: tuple[Step, ...]
    tick_s: float
    key_ms: tuple[float, ...]
    """Per key press or release: time until the first frame that reflects it was ready."""
    mouse_ms: tuple[float, ...]
    """The same for mouse motion, which cannot be predicted."""
    counters: WorkerCounters

    @property
    def request_latency_ms(self) -> list[float]:
        """Per frame: time from the tick that requested it until it was ready."""
        return [(step.t_ready_ns - step.t_input_ns) / 1e6 for step in self.steps[1:]]

    @property
    def jitter(self) -> list[float]:
        """Per tick: deviation of its length, as a fraction of the nominal length."""
        start_s = [step.t_input_ns / 1e9 for step in self.steps[1:]]
        return [abs(after - before - self.tick_s) / self.tick_s for before, after in pairwise(start_s)]


def play_realtime(
    loaded: LoadedWorld,
    events: Sequence[InputEvent],
    *,
    duration_s: float,
    seed: int,
    prefetch_depth: int,
    clock: Clock,
) -> RealtimeResult:
    """Plays for `duration_s`. Side effects: closes the playable. Raises: the error that ended play."""
    wake = threading.Event()
    worker = Worker(lambda _: loaded, seed=seed, prefetch_depth=prefetch_depth, clock=clock, on_change=wake.set)
    session = Session(worker, seed=seed)
    worker.start()
    try:
        return _play(session, list(events), duration_s, wake, clock)
    finally:
        worker.close()


def count_mismatched_frames(playable: SimulatorProtocol, seed: int, steps: Sequence[Step]) -> int:
    """How many frames of `steps` differ in any bit from those of the same actions without a worker."""
    frames = [playable.reset(seed).frame, *(playable.step(step.action).frame for step in steps[1:])]
    return sum(not np.array_equal(step.frame, frame) for step, frame in zip(steps, frames, strict=True))


def _play(
    session: Session, events: list[InputEvent], duration_s: float, wake: threading.Event, clock: Clock
) -> RealtimeResult:
    steps: list[Step] = []
    latencies_ms: dict[bool, list[float]] = {False: [], True: []}
    pending: list[tuple[int, bool]] = []
    while not steps:
        steps += session.tick(0.0)
        raise_failure(session)
        wake.wait(MAX_WAIT_S)
        wake.clear()
    begin_ns = last_ns = clock.now_ns()
    while (now_ns := clock.now_ns()) < begin_ns + duration_s * 1e9:
        while events and begin_ns + events[0].t_s * 1e9 <= now_ns:
            pending.append((now_ns, events[0].key == MOUSE_X))
            apply_input_event(session.inputs, events.pop(0))
        new_steps = session.tick((now_ns - last_ns) / 1e9)
        last_ns = now_ns
        raise_failure(session)
        for step in new_steps:
            for t_ns, is_mouse in pending:
                if t_ns <= step.t_input_ns:
                    latencies_ms[is_mouse].append((step.t_ready_ns - t_ns) / 1e6)
            pending = [event for event in pending if event[0] > step.t_input_ns]
        steps += new_steps
        until_event_s = (begin_ns + events[0].t_s * 1e9 - clock.now_ns()) / 1e9 if events else MAX_WAIT_S
        next_due_s = session.next_due_s
        wake.wait(max(0.0, min(until_event_s, MAX_WAIT_S if next_due_s is None else next_due_s, MAX_WAIT_S)))
        wake.clear()
    return RealtimeResult(
        steps=tuple(steps),
        tick_s=session.tick_s,
        key_ms=tuple(latencies_ms[False]),
        mouse_ms=tuple(latencies_ms[True]),
        counters=session.worker.counters,
    )


def raise_failure(session: Session) -> None:
    """For non-interactive callers."""
    if session.state is SessionState.FAILED:
        raise session.error or WorldsimError("play ended")


def apply_input_event(inputs: Inputs, event: InputEvent) -> None:
    """As the window would for a real event."""
    if event.key == MOUSE_X:
        inputs.move_mouse(event.dx_px)
    elif event.is_down:
        inputs.press(event.key)
    else:
        inputs.release(event.key)
