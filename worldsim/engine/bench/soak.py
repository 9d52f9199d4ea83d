"""Hours of play on a simulated clock, as fast as the machine can: cost of a tick, memory, drift.

The worker runs in the caller's thread. Costs are the process's own CPU time, so that other load on the machine does not
look like a world that slows down.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import psutil

from worldsim.actions.synthetic_input import InputEvent, synthetic_input
from worldsim.core.clock import ManualClock
from worldsim.core.types import Frame, Step
from worldsim.engine.bench.realtime import apply_input_event, raise_failure
from worldsim.engine.interfaces import LoadedWorld
from worldsim.engine.memory import Memory, features
from worldsim.engine.session import Session
from worldsim.engine.worker import Worker

STATS_EVERY = 5
"""Ticks between two frames that count for `ImageStats`."""
INPUT_CHUNK_S = 60.0
"""Input events are generated in chunks of this length: those of an hour would be growing memory themselves."""


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
