"""The performance panel and its graph."""

from __future__ import annotations

import numpy as np

from worldsim.app.hud import BAR, GRAPH_HEIGHT_PX, LATE, frame_time_graph, performance_rows
from worldsim.app.metrics import GRAPH_BARS, FrameStats, Percentiles
from worldsim.engine.interfaces import StageTimes
from worldsim.engine.worker import WorkerCounters

RATES = FrameStats(
    generated_per_s=17.5,
    drawn_per_s=60.0,
    frame_interval_ms=Percentiles(p50=57.0, p95=58.0, p99=61.0),
    input_to_display_ms=Percentiles(p50=41.0, p95=63.0, p99=70.0),
    jitter=Percentiles(p50=0.01, p95=0.04, p99=0.06),
    period_ms=57.1,
    intervals_ms=(57.0,) * 50 + (140.0,),
)
COUNTERS = WorkerCounters(
    hits=90, misses=10, made=104, dropped=4, ahead=2, depth=3, num_steps=1, times=StageTimes(ms_denoise=9.8)
)


def shown_text(counters: WorkerCounters) -> str:
    return "\n".join(f"{row.left}: {row.right}" for row in performance_rows(RATES, counters, 400_000_000))


def test_all_metrics_are_shown() -> None:
    text = shown_text(COUNTERS)
    for part in (
        "generated 17.5",
        "drawn 60.0",
        "frame interval (target 57): 57.0   58.0   61.0",
        "input to display: 41.0   63.0   70.0",
        "tick jitter: 1.0%   4.0%   6.0%",
        "denoise 9.8",
        "hits 90, misses 10 (90%)",
        "prefetch depth: 2/3",
        "discarded: 4 of 104 frames",
        "memory: 400 MB\n",
    ):
        assert part in text


def test_gpu_memory_is_shown_and_a_reference_world_has_no_model_rows() -> None:
    assert "400 MB, GPU 1200 MB" in shown_text(WorkerCounters(num_steps=1, device_bytes=1_200_000_000))
    assert "denoise" not in shown_text(WorkerCounters()) and "prefetch" not in shown_text(WorkerCounters())


def test_late_frame_stands_out_at_the_right_end_of_the_graph() -> None:
    picture = frame_time_graph(RATES.intervals_ms, RATES.period_ms)
    pixels = np.frombuffer(picture.pixels, dtype=np.uint8).reshape(GRAPH_HEIGHT_PX, GRAPH_BARS, 3)
    assert (pixels[0, -1] == LATE).all() and (pixels[-1, -2] == BAR).all()
    heights = (pixels == BAR).all(axis=2).sum(axis=0)
    assert set(heights[-51:-1]) <= {GRAPH_HEIGHT_PX // 2 - 2, GRAPH_HEIGHT_PX // 2 - 1}
    assert not heights[: GRAPH_BARS - 51].any()


def test_graph_of_no_frames_is_empty() -> None:
    assert len(frame_time_graph((), 0.0).pixels) == GRAPH_HEIGHT_PX * GRAPH_BARS * 3
