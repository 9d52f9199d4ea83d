"""What happened in a session, for its end and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass

from worldsim.app.metrics import FrameStats
from worldsim.core.clock import Clock
from worldsim.engine.worker import WorkerCounters


@dataclass(frozen=True, kw_only=True)
class SessionStats:
    """Frames per second are counted from the first frame on. Percentiles are of the last some hundred."""

    first_frame_ns: int | None = None
    frames_made: int = 0
    """All that the model made, those made in vain too."""
    frames_shown: int = 0
    frames_per_s: float = 0.0
    shown_per_s: float = 0.0
    ms_per_frame: float = 0.0
    hits: int = 0
    misses: int = 0
    dropped: int = 0
    ms_photon_p50: float = 0.0
    """From a key or the mouse to the first picture that knows of it, handed to the screen."""
    ms_photon_p95: float = 0.0
    jitter_p95: float = 0.0
    """Of the ticks, as a fraction of their period."""
    ms_draw: float = 0.0
    """Median of a drawing, without the wait for the screen."""


class FrameCounter:
    """Counts what was shown. `num_generated` leaves out the starts, which nobody generated."""

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
