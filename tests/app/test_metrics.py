"""Rates from running totals, percentiles from events."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.app.metrics import GRAPH_BARS, FrameMeter, FrameStats, Percentiles, percentiles
from worldsim.core.types import NO_ACTION, Step
from worldsim.engine.worker import WorkerCounters


def test_rates_cover_the_last_two_seconds() -> None:
    meter = FrameMeter()
    for tenth in range(101):  # 5 made/s for five seconds, then 20 made/s
        made = tenth // 2 if tenth <= 50 else 25 + (tenth - 50) * 2
        meter.sample(tenth * 100_000_000, WorkerCounters(made=made, busy_ns=made * 4_000_000), num_shown=made)
    stats = meter.stats
    assert stats.generated_per_s == pytest.approx(20.0)
    assert stats.shown_per_s == pytest.approx(20.0)
    assert stats.ms_per_frame == pytest.approx(4.0)


def test_stats_are_zero_without_measurements() -> None:
    assert FrameMeter().stats == FrameStats()


def step(input_ms: float, ready_ms: float = 0.0) -> Step:
    frame = np.zeros((1, 1, 3), dtype=np.uint8)
    times = {"t_input_ns": round(input_ms * 1e6), "t_ready_ns": round(ready_ms * 1e6)}
    return Step(index=1, action=NO_ACTION, frame=frame, **times)


def stats_of(meter: FrameMeter) -> FrameStats:
    meter.sample(0, WorkerCounters(), 0)
    meter.sample(1, WorkerCounters(), 0)
    return meter.stats


def test_percentiles_use_sorted_values() -> None:
    assert percentiles(range(100, 0, -1)) == Percentiles(p50=51, p95=96, p99=100)
    assert percentiles([]) == Percentiles()


def test_tick_to_frame_and_jitter() -> None:
    meter = FrameMeter()
    for number in range(100):
        late_ms = 5.0 if number % 2 else 0.0
        meter.on_tick(step(50 * number + late_ms, 50 * number + 25), 0.05)
    stats = stats_of(meter)
    assert (stats.tick_to_frame_ms.p50, stats.tick_to_frame_ms.p95) == (25.0, 25.0)
    assert stats.jitter.p50 == pytest.approx(0.1)
    assert stats.period_ms == 50.0


def test_input_latency_ends_with_the_first_frame_of_a_later_tick() -> None:
    meter = FrameMeter()
    meter.on_input(10_000_000)
    meter.on_frame_shown(step(5), 30_000_000)  # its tick had begun before
    assert stats_of(meter).input_to_display_ms == Percentiles()
    meter.on_input(50_000_000)
    meter.on_frame_shown(step(55), 80_000_000)
    assert sorted(meter._input_to_display_ms) == [30.0, 70.0]
    meter.on_frame_shown(step(105), 130_000_000)
    assert len(meter._input_to_display_ms) == 2, "the same touch is counted once"


def test_pause_counts_neither_intervals_nor_inputs() -> None:
    meter = FrameMeter()
    meter.on_tick(step(0), 0.05)
    for ms in (0, 50, 100):
        meter.on_frame_shown(step(ms), ms * 1_000_000)
    meter.on_input(110_000_000)
    meter.on_pause()
    meter.on_frame_shown(step(9000), 9_000_000_000)
    assert stats_of(meter).intervals_ms == (50.0, 50.0)
    assert stats_of(meter).input_to_display_ms == Percentiles()
    meter.on_frame_shown(step(99_000), 99_000_000_000)
    assert stats_of(meter).frame_interval_ms.p99 == 50.0, "standing still is no interval either"


def test_draws_are_counted_and_timed_and_the_graph_is_bounded() -> None:
    meter = FrameMeter()
    meter.on_tick(step(0), 0.01)
    for number in range(GRAPH_BARS + 50):
        meter.on_frame_shown(step(10 * number), number * 10_000_000)
        meter.on_draw(draw_ns=2_000_000, flip_ns=1_000_000, upload_ns=None if number % 2 else 500_000)
    meter.sample(0, WorkerCounters(), 0)
    meter.on_draw(draw_ns=8_000_000, flip_ns=1_000_000)
    meter.sample(1_000_000_000, WorkerCounters(), 0)
    stats = meter.stats
    assert (stats.upload_ms, stats.draw_ms, stats.flip_ms, stats.drawn_per_s) == (0.5, 2.0, 1.0, 1.0)
    assert len(stats.intervals_ms) == GRAPH_BARS
    assert meter.draw_s == pytest.approx(0.009)
