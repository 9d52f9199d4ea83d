"""Sessions without a window: in real time under a list of input events, or hours of play on a simulated clock.

Drawing and the screen are not part of the times. On the simulated clock the worker runs in the caller's thread, and
costs are the process's own CPU time, so that other load on the machine does not look like a world that slows down.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import psutil

from worldsim.actions.bindings import MOUSE_X
from worldsim.actions.synthetic_input import InputEvent, synthetic_input
from worldsim.core.clock import Clock, ManualClock
from worldsim.core.errors import WorldsimError
from worldsim.core.types import Frame, Step
from worldsim.engine.inputs import Inputs
from worldsim.engine.interfaces import LoadedWorld, SimulatorProtocol
from worldsim.engine.memory import Memory, features
from worldsim.engine.session import Session, SessionState
from worldsim.engine.worker import Worker, WorkerCounters

MAX_WAIT_S = 0.05
"""Longest interval between two ticks of the session."""
STATS_EVERY = 5
"""Ticks between two frames that count for `ImageStats`."""
INPUT_CHUNK_S = 60.0
"""Input events are generated in chunks of this length: those of an hour would be growing memory themselves."""


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


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """Means over several frames."""

    sharpness: float
    """Gray levels from one pixel to the next."""
    contrast: float
    """Standard deviation of a color channel, in levels."""
    rgb: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SoakSample:
    """Statistics of the ticks since the previous sample, and memory at the end of them."""

    tick: int
    ms_p50: float
    rss_bytes: int
    history_bytes: int
    look: ImageStats
    drift: float | None
    """Mean level of the drift meter."""


@dataclass(frozen=True, kw_only=True)
class SoakResult:
    tick_ms: npt.NDArray[np.float64]
    """Per tick, in order."""
    points: tuple[SoakSample, ...]
    begin: ImageStats
    """Of the preset's start frames; when idle, of the first frame."""
    tick_s: float


def run_soak(
    loaded: LoadedWorld,
    *,
    is_idle: bool,
    num_ticks: int,
    every: int,
    seed: int = 0,
    prefetch_depth: int = 1,
    on_progress: Callable[[int], None] = lambda tick: None,
) -> SoakResult:
    """Plays `num_ticks`, idle or with synthetic input, with a sample every `every` ticks.

    `on_progress` receives the number of ticks done. Side effects: closes the playable. Raises: the error that ended
    play.
    """
    clock = ManualClock()
    worker = Worker(lambda _: loaded, seed=seed, prefetch_depth=prefetch_depth, clock=clock)
    session, memory = Session(worker, seed=seed), Memory(loaded.start_frames)
    first = _until_frame(session, [])
    events = _SyntheticEvents(seed)
    window = _SampleWindow(session, memory)
    tick_ms, points = np.zeros(num_ticks), list[SoakSample]()
    for tick in range(num_ticks):
        if not is_idle:
            events.extend_to(tick * session.tick_s)
        begin_ns = time.process_time_ns()
        for event in events.take_until(tick * session.tick_s):
            apply_input_event(session.inputs, event)
        clock.advance_s(session.tick_s)
        step = _until_frame(session, session.tick(session.tick_s))
        while worker.run_once():  # prefetch, as the model thread does between frames
            pass
        assert session.history is not None and session.history.head is not None
        memory.follow(session.history.head)
        tick_ms[tick] = (time.process_time_ns() - begin_ns) / 1e6
        window.add(step.frame, has_stats=tick % min(STATS_EVERY, every) == 0)
        if (tick + 1) % every == 0:
            points.append(window.sample(tick + 1, float(np.median(tick_ms[tick + 1 - every : tick + 1]))))
        on_progress(tick + 1)
    worker.close()
    loaded.playable.close()
    starts = [frame for frames in loaded.start_frames for frame in frames]
    begin: Sequence[Frame] = [first.frame] if is_idle or not starts else starts
    return SoakResult(
        tick_ms=tick_ms,
        points=tuple(points),
        begin=_image_stats([features(frame) for frame in begin]),
        tick_s=session.tick_s,
    )


class _SyntheticEvents:
    def __init__(self, seed: int) -> None:
        self._seed, self._num_chunks = seed, 0
        self._events: deque[InputEvent] = deque()

    def extend_to(self, now_s: float) -> None:
        begin_s = self._num_chunks * INPUT_CHUNK_S
        if now_s >= begin_s:
            chunk = synthetic_input(self._seed + self._num_chunks, INPUT_CHUNK_S)
            self._events += [replace(event, t_s=event.t_s + begin_s) for event in chunk]
            self._num_chunks += 1

    def take_until(self, now_s: float) -> list[InputEvent]:
        taken = []
        while self._events and self._events[0].t_s <= now_s:
            taken.append(self._events.popleft())
        return taken


class _SampleWindow:
    """What has been measured since the last sample."""

    def __init__(self, session: Session, memory: Memory) -> None:
        self._session, self._memory, self._process = session, memory, psutil.Process()
        self._features, self._drifts = list[npt.NDArray[np.float64]](), list[float]()

    def add(self, frame: Frame, *, has_stats: bool) -> None:
        level = self._memory.drift.level
        if level is not None:
            self._drifts.append(level)
        if has_stats:
            self._features.append(features(frame))

    def sample(self, tick: int, ms_p50: float) -> SoakSample:
        assert self._session.history is not None
        sample = SoakSample(
            tick=tick,
            ms_p50=ms_p50,
            rss_bytes=self._process.memory_info().rss,
            history_bytes=self._session.history.num_bytes,
            look=_image_stats(self._features),
            drift=float(np.mean(self._drifts)) if self._drifts else None,
        )
        self._features.clear()
        self._drifts.clear()
        return sample


def _until_frame(session: Session, steps: list[Step]) -> Step:
    """Runs the model until there is a frame. Returns the last one."""
    while not steps:
        session.worker.run_once()
        steps = session.tick(0.0)
        raise_failure(session)
    return steps[-1]


def _image_stats(found: Sequence[npt.NDArray[np.float64]]) -> ImageStats:
    mean = np.mean(found, axis=0)
    red, green, blue = map(float, mean[:3])
    return ImageStats(sharpness=math.expm1(mean[6]), contrast=float(mean[3:6].mean()), rgb=(red, green, blue))
