"""The figures of play: rates, times, prefetch, memory, and a frame time graph. Pure: from figures to rows.

Owns: the words and the graph. Does not own: the measuring (`app.metrics`), the look of text (`app.text_renderer`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldsim.app.hud import InlineImage, Row, Style
from worldsim.app.metrics import GRAPH_BARS, Rates, Spread
from worldsim.engine.messages import WorkerCounters

GRAPH_HEIGHT_PX = 24
GRAPH_BACKGROUND, BAR, LATE, LINE = (30, 33, 40), (120, 200, 150), (255, 120, 110), (236, 238, 242)
LATE_PERIODS = 1.5
"""A frame that came later than that is drawn in another colour."""


def performance_rows(rates: Rates, counters: WorkerCounters, resident_bytes: int) -> tuple[Row, ...]:
    times, asked = counters.times, counters.hits + counters.misses
    hits = f"{counters.hits} hits, {counters.misses} misses" + (f": {counters.hits / asked:.0%}" if asked else "")
    of_a_model = (
        Row("model, ms", _format_named(denoise=times.ms_denoise, commit=times.ms_commit, decode=times.ms_decode)),
        Row("prefetch", hits),
        Row("ahead", f"{counters.ahead} of {counters.depth}; {counters.dropped} of {counters.made} in vain"),
    )
    return (
        Row("Performance", style=Style.STRONG),
        Row("per second", _format_named(made=rates.made_per_s, shown=rates.shown_per_s, drawn=rates.drawn_per_s)),
        Row("p50, p95, p99, ms", style=Style.MUTED),
        Row(f"frame to frame ({rates.period_ms:.0f})", _format_percentiles(rates.ms_interval)),
        Row("tick to frame", _format_percentiles(rates.ms_tick)),
        Row("input to screen", _format_percentiles(rates.ms_photon)),
        Row("tick jitter", f"{rates.jitter.p50:.1%}   {rates.jitter.p95:.1%}   {rates.jitter.p99:.1%}"),
        *(of_a_model if counters.num_steps else ()),
        Row("window, ms", _format_named(upload=rates.ms_upload, draw=rates.ms_draw, flip=rates.ms_flip)),
        Row("memory", _format_memory(resident_bytes, counters.device_bytes)),
        Row(f"{sum(rates.intervals_ms) / 1e3:.0f} s", image=frame_time_graph(rates.intervals_ms, rates.period_ms)),
    )


def frame_time_graph(intervals_ms: Sequence[float], period_ms: float) -> InlineImage:
    """One column per frame, as high as it took; the white line is one period, the top are two."""
    pixels = np.full((GRAPH_HEIGHT_PX, GRAPH_BARS, 3), GRAPH_BACKGROUND, dtype=np.uint8)
    shares = np.asarray(intervals_ms[-GRAPH_BARS:], dtype=np.float64) / (period_ms or 1.0)
    heights = np.clip(shares / 2 * GRAPH_HEIGHT_PX, 1, GRAPH_HEIGHT_PX).astype(int)
    is_bar = np.arange(GRAPH_HEIGHT_PX)[::-1, None] < heights
    columns = pixels[:, GRAPH_BARS - len(heights) :]
    columns[is_bar & (shares <= LATE_PERIODS)] = BAR
    columns[is_bar & (shares > LATE_PERIODS)] = LATE
    pixels[GRAPH_HEIGHT_PX // 2, ::2] = LINE
    return InlineImage(GRAPH_BARS, GRAPH_HEIGHT_PX, pixels.tobytes())


def _format_named(**values: float) -> str:
    return "   ".join(f"{name} {value:.1f}" for name, value in values.items())


def _format_percentiles(spread: Spread) -> str:
    return f"{spread.p50:.1f}   {spread.p95:.1f}   {spread.p99:.1f}"


def _format_memory(resident_bytes: int, device_bytes: int | None) -> str:
    resident = f"{resident_bytes / 1e6:.0f} MB"
    return resident if device_bytes is None else f"{resident}, on the device {device_bytes / 1e6:.0f} MB"
