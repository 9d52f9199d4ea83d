"""The performance panel: rates, latencies, prefetch, memory and a frame time graph. Pure: from metrics to rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldsim.app.hud import InlineImage, PanelRow, Style
from worldsim.app.metrics import GRAPH_BARS, FrameStats, Percentiles
from worldsim.engine.worker import WorkerCounters

GRAPH_HEIGHT_PX = 24
GRAPH_BACKGROUND, BAR, LATE, LINE = (30, 33, 40), (120, 200, 150), (255, 120, 110), (236, 238, 242)
LATE_FRAME_PERIODS = 1.5
"""Frames with a longer interval are drawn in red."""


def performance_rows(stats: FrameStats, counters: WorkerCounters, resident_bytes: int) -> tuple[PanelRow, ...]:
    times, num_requests = counters.times, counters.hits + counters.misses
    hit_rate = f" ({counters.hits / num_requests:.0%})" if num_requests else ""
    model_rows = (
        PanelRow("model, ms", _format_named(denoise=times.ms_denoise, commit=times.ms_commit, decode=times.ms_decode)),
        PanelRow("prefetch", f"hits {counters.hits}, misses {counters.misses}{hit_rate}"),
        PanelRow("prefetch depth", f"{counters.ahead}/{counters.depth}"),
        PanelRow("discarded", f"{counters.dropped} of {counters.made} frames"),
    )
    return (
        PanelRow("Performance", style=Style.STRONG),
        PanelRow(
            "fps", _format_named(generated=stats.generated_per_s, shown=stats.shown_per_s, drawn=stats.drawn_per_s)
        ),
        PanelRow("p50, p95, p99 in ms", style=Style.MUTED),
        PanelRow(f"frame interval (target {stats.period_ms:.0f})", _format_percentiles(stats.frame_interval_ms)),
        PanelRow("tick to frame", _format_percentiles(stats.tick_to_frame_ms)),
        PanelRow("input to display", _format_percentiles(stats.input_to_display_ms)),
        PanelRow("tick jitter", f"{stats.jitter.p50:.1%}   {stats.jitter.p95:.1%}   {stats.jitter.p99:.1%}"),
        *(model_rows if counters.num_steps else ()),
        PanelRow("window, ms", _format_named(upload=stats.upload_ms, draw=stats.draw_ms, flip=stats.flip_ms)),
        PanelRow("memory", _format_memory(resident_bytes, counters.device_bytes)),
        PanelRow(
            f"last {sum(stats.intervals_ms) / 1e3:.0f} s", image=frame_time_graph(stats.intervals_ms, stats.period_ms)
        ),
    )


def frame_time_graph(intervals_ms: Sequence[float], period_ms: float) -> InlineImage:
    """One bar per frame interval; the white line is one period, the full height two."""
    pixels = np.full((GRAPH_HEIGHT_PX, GRAPH_BARS, 3), GRAPH_BACKGROUND, dtype=np.uint8)
    fractions = np.asarray(intervals_ms[-GRAPH_BARS:], dtype=np.float64) / (period_ms or 1.0)
    heights = np.clip(fractions / 2 * GRAPH_HEIGHT_PX, 1, GRAPH_HEIGHT_PX).astype(int)
    is_bar = np.arange(GRAPH_HEIGHT_PX)[::-1, None] < heights
    columns = pixels[:, GRAPH_BARS - len(heights) :]
    columns[is_bar & (fractions <= LATE_FRAME_PERIODS)] = BAR
    columns[is_bar & (fractions > LATE_FRAME_PERIODS)] = LATE
    pixels[GRAPH_HEIGHT_PX // 2, ::2] = LINE
    return InlineImage(GRAPH_BARS, GRAPH_HEIGHT_PX, pixels.tobytes())


def _format_named(**values: float) -> str:
    return "   ".join(f"{name} {value:.1f}" for name, value in values.items())


def _format_percentiles(percentiles: Percentiles) -> str:
    return f"{percentiles.p50:.1f}   {percentiles.p95:.1f}   {percentiles.p99:.1f}"


def _format_memory(resident_bytes: int, device_bytes: int | None) -> str:
    resident = f"{resident_bytes / 1e6:.0f} MB"
    return resident if device_bytes is None else f"{resident}, GPU {device_bytes / 1e6:.0f} MB"
