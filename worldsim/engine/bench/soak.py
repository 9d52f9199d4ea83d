"""Hours of play on a simulated clock, as fast as the machine can: what a tick costs, what it leaves in memory, drift.

Owns: the loop, the points in between. Does not own: pace (`engine.session`), frames (`engine.worker`, run here in the
caller's thread), the drift meter (`engine.memory`). Costs are the process's own time on the processor, so that a
machine that is busy with other things does not look like a world that slows down.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
"""Ticks between two pictures that count for `ImageStats`."""
INPUT_CHUNK_S = 60.0
"""Touches are made for so long at once: all those of an hour would be memory that grows by itself."""


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """Pictures in figures, means over some of them."""

    sharpness: float
    """Grey levels from one pixel to the next."""
    contrast: float
    """Standard deviation of a colour, in levels."""
    rgb: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SoakSample:
    """The ticks since the point before, and how things stand at the end of them."""

    tick: int
    ms_p50: float
    rss_bytes: int
    history_bytes: int
    look: ImageStats
    drift: float | None
    """The drift meter's level, mean over these ticks."""


@dataclass(frozen=True, kw_only=True)
class SoakResult:
    tick_ms: npt.NDArray[np.float64]
    """Per tick, in order."""
    points: tuple[SoakSample, ...]
    begin: ImageStats
    """Of the preset's own start pictures; standing still, of the picture that is looked at."""
    tick_s: float


def run_soak(
    loaded: LoadedWorld,
    *,
    is_idle: bool,
    num_ticks: int,
    every: int,
    seed: int = 0,
    prefetch_depth: int = 1,
    tell: Callable[[int], None] = lambda tick: None,
) -> SoakResult:
    """Plays `num_ticks`, standing still or with input like a person's; a point `every` so many ticks.

    `tell` is given the number of ticks done. Side effects: closes the playable. Raises: what ended play.
    """
    clock = ManualClock()
    worker = Worker(lambda _: loaded, seed=seed, prefetch_depth=prefetch_depth, clock=clock)
    session, memory, process = Session(worker, seed=seed), Memory(loaded.start_frames), psutil.Process()
    first = _until_frame(session, [])
    events: deque[InputEvent] = deque()
    tick_ms, points = np.zeros(num_ticks), list[SoakSample]()
    frame_features, drifts = list[npt.NDArray[np.float64]](), list[float]()
    num_minutes = 0
    for tick in range(num_ticks):
        if not is_idle and tick * session.tick_s >= num_minutes * INPUT_CHUNK_S:
            begin_s = num_minutes * INPUT_CHUNK_S
            events += [_shifted(t, begin_s) for t in synthetic_input(seed + num_minutes, INPUT_CHUNK_S)]
            num_minutes += 1
        begin_ns = time.process_time_ns()
        while events and events[0].t_s <= tick * session.tick_s:
            apply_input_event(session.inputs, events.popleft())
        clock.advance_s(session.tick_s)
        step = _until_frame(session, session.tick(session.tick_s))
        while worker.run_once():  # ahead, as the model thread does while a person looks
            pass
        assert session.history is not None and session.history.head is not None
        memory.follow(session.history.head)
        tick_ms[tick] = (time.process_time_ns() - begin_ns) / 1e6
        if memory.drift.level is not None:
            drifts.append(memory.drift.level)
        if tick % min(STATS_EVERY, every) == 0:
            frame_features.append(features(step.frame))
        if (tick + 1) % every == 0:
            points.append(
                SoakSample(
                    tick=tick + 1,
                    ms_p50=float(np.median(tick_ms[tick + 1 - every : tick + 1])),
                    rss_bytes=process.memory_info().rss,
                    history_bytes=session.history.num_bytes,
                    look=_image_stats(frame_features),
                    drift=float(np.mean(drifts)) if drifts else None,
                )
            )
            frame_features.clear()
            drifts.clear()
        tell(tick + 1)
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


def _until_frame(session: Session, steps: list[Step]) -> Step:
    """Runs the model until there is one. Returns: the last of them."""
    while not steps:
        session.worker.run_once()
        steps = session.tick(0.0)
        raise_failure(session)
    return steps[-1]


def _shifted(event: InputEvent, by_s: float) -> InputEvent:
    return InputEvent(t_s=event.t_s + by_s, key=event.key, is_down=event.is_down, dx_px=event.dx_px)


def _image_stats(found: Sequence[npt.NDArray[np.float64]]) -> ImageStats:
    mean = np.mean(found, axis=0)
    red, green, blue = map(float, mean[:3])
    return ImageStats(sharpness=math.expm1(mean[6]), contrast=float(mean[3:6].mean()), rgb=(red, green, blue))
