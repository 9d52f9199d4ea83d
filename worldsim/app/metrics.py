"""Performance of play: rates over the last two seconds, percentiles over the last 256 events, totals of the session.

Pure; time is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from worldsim.core.clock import Clock
from worldsim.core.types import Step
from worldsim.engine.worker import WorkerCounters

RATE_WINDOW_NS = 2_000_000_000
MAX_SAMPLES = 256
"""Window of the percentiles."""
GRAPH_BARS = 120
"""Frame intervals shown in the frame time graph."""
MAX_INTERVAL_PERIODS = 4
"""Frames more ticks apart than this are not counted as an interval: play was paused."""


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """50th, 95th and 99th percentile."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FrameStats:
    generated_per_s: float = 0.0
    shown_per_s: float = 0.0
    drawn_per_s: float = 0.0
    """Window redraws, interpolated ones included."""
    ms_per_frame: float = 0.0
    tick_to_frame_ms: Percentiles = Percentiles()
    """From the tick that requested a frame until it was ready."""
    input_to_display_ms: Percentiles = Percentiles()
    """From an input event until the first frame that reflects it is flipped, without the display's own latency."""
    frame_interval_ms: Percentiles = Percentiles()
    """Between two generated frames shown."""
    jitter: Percentiles = Percentiles()
    """Deviation of a tick from its period, as a fraction of the period."""
    upload_ms: float = 0.0
    draw_ms: float = 0.0
    flip_ms: float = 0.0
    """Medians: frame upload to the GPU, drawing, waiting for vsync."""
    period_ms: float = 0.0
    intervals_ms: tuple[float, ...] = ()
    """The most recent frame intervals, oldest first."""


class FrameMeter:
    """Collects events and running totals; `stats` summarizes them."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int, int, int, int]] = deque()
        self._tick_ms, self._input_to_display_ms, self._frame_interval_ms, self._jitter = (_recent() for _ in range(4))
        self._upload_ms, self._draw_ms, self._flip_ms = (_recent() for _ in range(3))
        self._last_draws_ns: deque[int] = deque(maxlen=8)
        self._pending_inputs_ns: list[int] = []
        self._tick_ns: int | None = None
        self._shown_ns: int | None = None
        self._period_ms = 0.0
        self._num_drawn = 0

    def on_input(self, now_ns: int) -> None:
        """A key or mouse event that no frame reflects yet."""
        if len(self._pending_inputs_ns) < MAX_SAMPLES:
            self._pending_inputs_ns.append(now_ns)

    def on_tick(self, step: Step, period_s: float) -> None:
        """The frame requested by a tick is ready."""
        self._period_ms = period_s * 1e3
        self._tick_ms.append((step.t_ready_ns - step.t_input_ns) / 1e6)
        if self._tick_ns is not None:
            self._add_interval(self._jitter, step.t_input_ns - self._tick_ns, is_jitter=True)
        self._tick_ns = step.t_input_ns

    def on_frame_shown(self, step: Step, now_ns: int) -> None:
        """`step` was flipped to the display."""
        self._input_to_display_ms += [
            (now_ns - t_ns) / 1e6 for t_ns in self._pending_inputs_ns if t_ns <= step.t_input_ns
        ]
        self._pending_inputs_ns = [t_ns for t_ns in self._pending_inputs_ns if t_ns > step.t_input_ns]
        if self._shown_ns is not None:
            self._add_interval(self._frame_interval_ms, now_ns - self._shown_ns)
        self._shown_ns = now_ns

    def on_pause(self) -> None:
        """Paused or rewinding: the next frame has no interval, and pending inputs do not count."""
        self._tick_ns = self._shown_ns = None
        self._pending_inputs_ns.clear()

    def on_draw(self, *, draw_ns: int, flip_ns: int, upload_ns: int | None = None) -> None:
        """`upload_ns`: None if the frame had not changed."""
        self._num_drawn += 1
        self._last_draws_ns.append(draw_ns + flip_ns)
        self._draw_ms.append(draw_ns / 1e6)
        self._flip_ms.append(flip_ns / 1e6)
        if upload_ns is not None:
            self._upload_ms.append(upload_ns / 1e6)

    def sample(self, now_ns: int, counters: WorkerCounters, num_shown: int) -> None:
        self._samples.append((now_ns, counters.made, num_shown, counters.busy_ns, self._num_drawn))
        while len(self._samples) > 2 and now_ns - self._samples[1][0] >= RATE_WINDOW_NS:
            self._samples.popleft()

    @property
    def draw_s(self) -> float:
        """Longest of the last few draws, vsync included."""
        return max(self._last_draws_ns, default=0) / 1e9

    @property
    def stats(self) -> FrameStats:
        if len(self._samples) < 2:
            return FrameStats()
        (begin_ns, made_0, shown_0, busy_0, drawn_0), (end_ns, made_1, shown_1, busy_1, drawn_1) = (
            self._samples[0],
            self._samples[-1],
        )
        elapsed_s = max((end_ns - begin_ns) / 1e9, 1e-9)
        made = made_1 - made_0
        return FrameStats(
            generated_per_s=made / elapsed_s,
            shown_per_s=(shown_1 - shown_0) / elapsed_s,
            drawn_per_s=(drawn_1 - drawn_0) / elapsed_s,
            ms_per_frame=(busy_1 - busy_0) / 1e6 / made if made else 0.0,
            tick_to_frame_ms=percentiles(self._tick_ms),
            input_to_display_ms=percentiles(self._input_to_display_ms),
            frame_interval_ms=percentiles(self._frame_interval_ms),
            jitter=percentiles(self._jitter),
            upload_ms=percentiles(self._upload_ms).p50,
            draw_ms=percentiles(self._draw_ms).p50,
            flip_ms=percentiles(self._flip_ms).p50,
            period_ms=self._period_ms,
            intervals_ms=tuple(self._frame_interval_ms)[-GRAPH_BARS:],
        )

    def _add_interval(self, to: deque[float], interval_ns: int, *, is_jitter: bool = False) -> None:
        ms = interval_ns / 1e6
        if self._period_ms > 0.0 and ms <= MAX_INTERVAL_PERIODS * self._period_ms:
            to.append(abs(ms / self._period_ms - 1.0) if is_jitter else ms)


@dataclass(frozen=True, kw_only=True)
class SessionStats:
    """Totals of one session, for `--json`: field names are JSON keys. Rates are counted from the first frame."""

    first_frame_ns: int | None = None
    frames_made: int = 0
    """All generated frames, discarded ones included."""
    frames_shown: int = 0
    frames_per_s: float = 0.0
    shown_per_s: float = 0.0
    ms_per_frame: float = 0.0
    hits: int = 0
    misses: int = 0
    dropped: int = 0
    ms_photon_p50: float = 0.0
    """From an input event until the first frame that reflects it is flipped."""
    ms_photon_p95: float = 0.0
    jitter_p95: float = 0.0
    """Tick jitter, as a fraction of the period."""
    ms_draw: float = 0.0
    """Median draw time, without vsync."""


class FrameCounter:
    """Counts frames shown. `num_generated` leaves out start frames, which come from the preset."""

    def __init__(self, clock: Clock) -> None:
        self.num_generated = 0
        self._clock = clock
        self._first_ns: int | None = None
        self._made_at_first = 0

    def on_frame_shown(self, frame_index: int, counters: WorkerCounters) -> None:
        self.num_generated += frame_index > 0
        if self._first_ns is None:
            self._first_ns, self._made_at_first = self._clock.now_ns(), counters.made

    def report(self, counters: WorkerCounters, stats: FrameStats) -> SessionStats:
        elapsed_s = (self._clock.now_ns() - self._first_ns) / 1e9 if self._first_ns is not None else 0.0
        made = counters.made - self._made_at_first
        return SessionStats(
            first_frame_ns=self._first_ns,
            frames_made=counters.made,
            frames_shown=self.num_generated,
            frames_per_s=made / elapsed_s if elapsed_s else 0.0,
            shown_per_s=self.num_generated / elapsed_s if elapsed_s else 0.0,
            ms_per_frame=counters.busy_ns / 1e6 / counters.made if counters.made else 0.0,
            hits=counters.hits,
            misses=counters.misses,
            dropped=counters.dropped,
            ms_photon_p50=stats.input_to_display_ms.p50,
            ms_photon_p95=stats.input_to_display_ms.p95,
            jitter_p95=stats.jitter.p95,
            ms_draw=stats.draw_ms,
        )


def _recent() -> deque[float]:
    return deque(maxlen=MAX_SAMPLES)


def percentiles(values: Iterable[float]) -> Percentiles:
    """All zero for no values."""
    found = sorted(values) or [0.0]
    p50, p95, p99 = (found[min(len(found) - 1, int(len(found) * fraction))] for fraction in (0.5, 0.95, 0.99))
    return Percentiles(p50=p50, p95=p95, p99=p99)
