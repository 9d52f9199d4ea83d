"""How fast a preset will play here, and in how much memory, before its weights are fetched.

Owns: the prediction. It is made by playing a few frames with untrained weights of the same sizes: what a frame costs
depends on the sizes, not on what was learned. (A sum of operations and their sizes was the other way: at these sizes
most of a frame is the overhead of some 800 small operations, which differs by operation, processor and torch.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median

import psutil
import torch

from worldsim.core.types import NO_ACTION
from worldsim.engine.interfaces import StageTimes
from worldsim.engine.simulator import Simulator
from worldsim.presets.config import PresetConfig
from worldsim.presets.model_size import compute_model_size, untrained_preset

WARMUP_FRAMES = 3
"""Untimed, or what fits in that time."""
TIMING_S = 0.5
"""A rate is the median over the frames that fit in that time, of one at least."""
MAX_TIMED_BYTES, MAX_TIMED_MULTIPLY_ADDS = 2**30, 10**11
"""A preset with more weights, or more work in a frame, is not tried: it may come from a stranger, and plays nowhere."""


@dataclass(frozen=True, kw_only=True)
class PlayEstimate:
    """What playing a preset will take. Rates are None where it was not tried; `reason` says why."""

    num_weights: int
    file_bytes: int
    """About what is downloaded, when the weights are stored as bundled presets store them."""
    memory_bytes: int
    """Resident memory of a process that plays it. On an accelerator its own memory is not in it."""
    steps: int
    """Denoising steps per frame."""
    ticks_per_s: float
    """What the preset asks for."""
    frames_per_s: float | None = None
    stages: StageTimes | None = None
    state_bytes: int | None = None
    reason: str = ""

    @property
    def full_speed(self) -> bool:
        return self.frames_per_s is not None and self.frames_per_s >= self.ticks_per_s


def estimate_play(config: PresetConfig, *, device: str = "cpu", num_steps: int | None = None) -> PlayEstimate:
    """Takes about a second. Side effects: none that last; torch has the preset's number of threads meanwhile."""
    cost, before_bytes = compute_model_size(config), psutil.Process().memory_info().rss
    prediction = PlayEstimate(
        num_weights=cost.num_weights,
        file_bytes=cost.file_bytes,
        memory_bytes=before_bytes + cost.memory_bytes,
        steps=num_steps or config.play.num_steps,
        ticks_per_s=config.play.ticks_per_s,
    )
    if (
        cost.memory_bytes > min(MAX_TIMED_BYTES, psutil.virtual_memory().available // 2)
        or cost.max_multiply_adds * prediction.steps > MAX_TIMED_MULTIPLY_ADDS
    ):
        return replace(prediction, reason=f"{cost.num_weights / 1e6:.0f} million weights: too large to be tried")
    threads = torch.get_num_threads()
    torch.set_num_threads(config.play.cpu_threads)
    try:
        simulator = Simulator(untrained_preset(config), device=device, num_steps=num_steps)
        frame_s, stages = _median_frame(simulator)
    finally:
        torch.set_num_threads(threads)
    grown_bytes = psutil.Process().memory_info().rss - before_bytes
    return replace(
        prediction,
        frames_per_s=1 / frame_s,
        stages=stages,
        state_bytes=simulator.snapshot().state.num_bytes,
        memory_bytes=before_bytes + max(grown_bytes, cost.memory_bytes),
    )


def _median_frame(simulator: Simulator) -> tuple[float, StageTimes]:
    """Medians of some frames: seconds of one, and its stages."""
    simulator.reset(0)
    _time_frames(simulator, WARMUP_FRAMES)
    frame_times_s, times = _time_frames(simulator)
    stages = StageTimes(
        ms_denoise=median(t.ms_denoise for t in times),
        ms_commit=median(t.ms_commit for t in times),
        ms_decode=median(t.ms_decode for t in times),
    )
    return median(frame_times_s), stages


def _time_frames(simulator: Simulator, max_frames: int = 10**6) -> tuple[list[float], list[StageTimes]]:
    frame_times_s: list[float] = []
    times: list[StageTimes] = []
    while not frame_times_s or (sum(frame_times_s) < TIMING_S and len(frame_times_s) < max_frames):
        start_s = time.perf_counter()
        simulator.step(NO_ACTION)
        frame_times_s.append(time.perf_counter() - start_s)
        times.append(simulator.last_times)
    return frame_times_s, times
