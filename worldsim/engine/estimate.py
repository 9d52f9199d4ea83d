"""Estimates from a preset's config, before its weights are downloaded: number of parameters, memory, speed here.

Speed is that of a few frames with untrained weights of the same sizes: the cost of a frame depends on the sizes, not on
the values. Adding up the costs of operations does not work: at these sizes most of a frame is the overhead of some 800
small operations, which differs by operation, processor and torch version.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch

from worldsim.core.types import NO_ACTION
from worldsim.engine.simulator import Simulator
from worldsim.presets.config import PresetConfig
from worldsim.presets.store import Preset, Start, build_networks

WARMUP_FRAMES = 3
"""Upper bound: warm-up also ends after `TIMING_S`."""
TIMING_S = 0.5
"""Time for the frames whose median is the rate; at least one."""
MAX_TIMED_BYTES, MAX_TIMED_MULTIPLY_ADDS = 2**30, 10**11
"""Larger presets are not benchmarked: they may be untrusted, and are too slow to play anyway."""


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Size of the weights, and a bound on the work per frame."""

    num_weights: int
    memory_bytes: int
    """In float32, as at play."""
    max_multiply_adds: int
    """Upper bound for one denoising step: every convolution at its largest size, every matrix at every latent cell."""


@dataclass(frozen=True, kw_only=True)
class PlayEstimate:
    """Expected cost of playing a preset. `frames_per_s` is None if it was not benchmarked; `reason` says why."""

    num_weights: int
    memory_bytes: int
    """Resident memory of a process that plays it, without an accelerator's own memory."""
    steps: int
    """Denoising steps per frame."""
    ticks_per_s: float
    """Target rate of the preset."""
    frames_per_s: float | None = None
    reason: str = ""

    @property
    def full_speed(self) -> bool:
        return self.frames_per_s is not None and self.frames_per_s >= self.ticks_per_s


def compute_model_size(config: PresetConfig) -> ModelSize:
    """Counted on networks without allocated memory: exact for every config, and always cheap."""
    height_px, width_px, _ = config.frame_shape
    _, rows, columns = config.latent_shape
    places = {4: height_px * width_px // 4, 2: rows * columns}  # no convolution runs at full size
    networks = build_networks(config, allocate=False)
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    num_weights = sum(tensor.numel() for tensor in tensors)
    return ModelSize(
        num_weights=num_weights,
        memory_bytes=num_weights * 4,
        max_multiply_adds=sum(tensor.numel() * places.get(tensor.ndim, 1) for tensor in tensors),
    )


def untrained_preset(config: PresetConfig) -> Preset:
    """A preset of this size with random weights and a start of one gray frame; it is as fast as a trained one."""
    autoencoder, model = build_networks(config, allocate=True)
    start = Start(
        frames=np.full((1, *config.frame_shape), 127, dtype=np.uint8),
        actions=np.zeros((1, config.action_spec.size), dtype=np.float32),
    )
    return Preset(
        config=replace(config, play=replace(config.play, context_frames=1)),
        folder=Path(),
        autoencoder=autoencoder.eval().requires_grad_(False),
        model=model.eval().requires_grad_(False),
        starts=(start,),
        sha256="",
    )


def estimate_play(config: PresetConfig, *, device: str = "cpu", num_steps: int | None = None) -> PlayEstimate:
    """Takes about a second. Side effects: torch has the preset's number of threads meanwhile."""
    size, before_bytes = compute_model_size(config), psutil.Process().memory_info().rss
    estimate = PlayEstimate(
        num_weights=size.num_weights,
        memory_bytes=before_bytes + size.memory_bytes,
        steps=num_steps or config.play.num_steps,
        ticks_per_s=config.play.ticks_per_s,
    )
    if (
        size.memory_bytes > min(MAX_TIMED_BYTES, psutil.virtual_memory().available // 2)
        or size.max_multiply_adds * estimate.steps > MAX_TIMED_MULTIPLY_ADDS
    ):
        return replace(estimate, reason=f"{size.num_weights / 1e6:.0f} M parameters: too large to benchmark")
    threads = torch.get_num_threads()
    torch.set_num_threads(config.play.cpu_threads)
    try:
        simulator = Simulator(untrained_preset(config), device=device, num_steps=num_steps)
        simulator.reset(0)
        _time_frames(simulator, WARMUP_FRAMES)
        frame_s = median(_time_frames(simulator))
    finally:
        torch.set_num_threads(threads)
    grown_bytes = psutil.Process().memory_info().rss - before_bytes
    return replace(
        estimate,
        frames_per_s=1 / frame_s,
        memory_bytes=before_bytes + max(grown_bytes, size.memory_bytes),
    )


def _time_frames(simulator: Simulator, max_frames: int = 10**6) -> list[float]:
    """Seconds of each frame."""
    frame_times_s: list[float] = []
    while not frame_times_s or (sum(frame_times_s) < TIMING_S and len(frame_times_s) < max_frames):
        start_s = time.perf_counter()
        simulator.step(NO_ACTION)
        frame_times_s.append(time.perf_counter() - start_s)
    return frame_times_s
