"""The figures of play: rates, times, prefetch, memory, and a little diagram. Pure: from figures to rows.

Owns: the words and the diagram. Does not own: the measuring (`app.metrics`), the look of text (`app.text_renderer`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldsim.app.hud import Picture, Row, Tone
from worldsim.app.metrics import NUM_BARS, Rates, Spread
from worldsim.engine.messages import WorkerCounters

DIAGRAM_HEIGHT_PX = 24
WALL, BAR, LATE, LINE = (30, 33, 40), (120, 200, 150), (255, 120, 110), (236, 238, 242)
LATE_PERIODS = 1.5
"""A frame that came later than that is drawn in another colour."""


def figure_rows(rates: Rates, counters: WorkerCounters, resident_bytes: int) -> tuple[Row, ...]:
    times, asked = counters.times, counters.hits + counters.misses
    hits = f"{counters.hits} hits, {counters.misses} misses" + (f": {counters.hits / asked:.0%}" if asked else "")
    of_a_model = (
        Row("model, ms", _named(denoise=times.ms_denoise, commit=times.ms_commit, decode=times.ms_decode)),
        Row("prefetch", hits),
        Row("ahead", f"{counters.ahead} of {counters.depth}; {counters.dropped} of {counters.made} in vain"),
    )
    return (
        Row("Performance", tone=Tone.STRONG),
        Row("per second", _named(made=rates.made_per_s, shown=rates.shown_per_s, drawn=rates.drawn_per_s)),
        Row("p50, p95, p99, ms", tone=Tone.QUIET),
        Row(f"frame to frame ({rates.period_ms:.0f})", _three(rates.ms_interval)),
        Row("tick to frame", _three(rates.ms_tick)),
        Row("input to screen", _three(rates.ms_photon)),
        Row("tick jitter", f"{rates.jitter.p50:.1%}   {rates.jitter.p95:.1%}   {rates.jitter.p99:.1%}"),
        *(of_a_model if counters.num_steps else ()),
        Row("window, ms", _named(upload=rates.ms_upload, draw=rates.ms_draw, flip=rates.ms_flip)),
        Row("memory", _memory(resident_bytes, counters.device_bytes)),
        Row(f"{sum(rates.intervals_ms) / 1e3:.0f} s", picture=diagram(rates.intervals_ms, rates.period_ms)),
    )


def diagram(intervals_ms: Sequence[float], period_ms: float) -> Picture:
    """One column per frame, as high as it took; the white line is one period, the top are two."""
    pixels = np.full((DIAGRAM_HEIGHT_PX, NUM_BARS, 3), WALL, dtype=np.uint8)
    shares = np.asarray(intervals_ms[-NUM_BARS:], dtype=np.float64) / (period_ms or 1.0)
    heights = np.clip(shares / 2 * DIAGRAM_HEIGHT_PX, 1, DIAGRAM_HEIGHT_PX).astype(int)
    is_bar = np.arange(DIAGRAM_HEIGHT_PX)[::-1, None] < heights
    columns = pixels[:, NUM_BARS - len(heights) :]
    columns[is_bar & (shares <= LATE_PERIODS)] = BAR
    columns[is_bar & (shares > LATE_PERIODS)] = LATE
    pixels[DIAGRAM_HEIGHT_PX // 2, ::2] = LINE
    return Picture(NUM_BARS, DIAGRAM_HEIGHT_PX, pixels.tobytes())


def _named(**values: float) -> str:
    return "   ".join(f"{name} {value:.1f}" for name, value in values.items())


def _three(spread: Spread) -> str:
    return f"{spread.p50:.1f}   {spread.p95:.1f}   {spread.p99:.1f}"


def _memory(resident_bytes: int, device_bytes: int | None) -> str:
    resident = f"{resident_bytes / 1e6:.0f} MB"
    return resident if device_bytes is None else f"{resident}, on the device {device_bytes / 1e6:.0f} MB"
