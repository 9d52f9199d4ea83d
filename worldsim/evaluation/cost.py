"""Cost of architectures: training time by clip length, memory and time per generated frame by rollout length.

Weights are untrained, since the cost does not depend on them. The autoencoder, the same for all, is not included.
Source: LSSVWM, figure 8.

Other programs on the machine only ever add time, and unevenly (see `training.profiling`). Therefore every time is the
fastest of several rounds, and every round measures all architectures in turn at all their samples, early and late:
states are immutable, so that all of them can be kept.
Letters: B batch, T frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from worldsim.core.errors import UsageError
from worldsim.diffusion import flow_loss
from worldsim.evaluation.rollout import FrameProgressCallback
from worldsim.models.build import build_world_model
from worldsim.models.config import Mamba2Config, SequenceModelConfig, SharedDenoiserConfig
from worldsim.models.rollout import generate_frame, observe_frame
from worldsim.models.sequence.architectures import find_architecture, match_parameters
from worldsim.models.state import WorldState
from worldsim.models.world_model import WorldModel
from worldsim.training.profiling import Stopwatch, allocated_bytes

REFERENCE_FRAME = 100
"""The first sampled frame, the reference of all later ones."""
LATENT_SHAPE = (16, 6, 8)
ACTION_SIZE = 4
NUM_INPUTS = 16
"""Generation cycles through this many random latents and actions."""
STATE_CHECK_FRAMES = 64
"""Frames between checks of a growing state against its limit."""
RESULT_KIND = "cost"
NOTE = "Untrained weights (the cost does not depend on them), one denoising step, no autoencoder."


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """Settings of a measurement."""

    architectures: tuple[str, ...]
    width: int = 24
    num_layers: int = 2
    frames: int = 100_000
    """Frames to generate; between samples they are only committed."""
    contexts: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Lengths of training clips; empty to skip training."""
    rounds: int = 9
    limit_mb: float = 32.0
    """Generation of an architecture stops when its state exceeds this size."""

    def __post_init__(self) -> None:
        for name in self.architectures:
            find_architecture(name)
        if self.frames < 2 or self.rounds < 1 or self.limit_mb <= 0:
            raise UsageError("frames, rounds and the limit must be positive", hint="use --frames 2 or more")
        if any(a >= b for a, b in zip((2, *self.contexts), self.contexts, strict=False)):
            raise UsageError(f"contexts are {self.contexts}", hint="use increasing numbers from 3: --contexts 16 32 64")

    @property
    def model(self) -> SequenceModelConfig:
        """The reference; other architectures are matched to its number of parameters."""
        return SequenceModelConfig(
            width=self.width,
            num_heads=max(1, self.width // 12),
            num_layers=self.num_layers,
            scan=Mamba2Config(state_dim=8),
            denoiser=SharedDenoiserConfig(),
            pose="none",
        )

    @property
    def num_progress_frames(self) -> int:
        """Upper bound of the frames reported to `on_progress`, generated and trained on."""
        return len(self.architectures) * (self.frames + self.rounds * sum(self.contexts))


@dataclass(frozen=True, kw_only=True)
class TrainingSample:
    context_frames: int
    ms: float


@dataclass(frozen=True, kw_only=True)
class GenerationSample:
    """`ms_ratio` is relative to the first sample, timed in the same rounds."""

    frame: int
    ms: float
    ms_ratio: float
    state_bytes: int
    resident_ratio: float
    """Resident memory relative to the first sample, without other architectures and the states kept for timing."""


@dataclass(kw_only=True)
class ArchitectureCosts:
    """Costs of one architecture."""

    summary: str
    parameters: int
    training: list[TrainingSample] = field(default_factory=list)
    generation: list[GenerationSample] = field(default_factory=list)
    same_as: str | None = None
    """An architecture with the same network, which was measured instead."""
    stopped: str | None = None
    """Why generation stopped before the last frame."""

    @property
    def training_exponent(self) -> float | None:
        """p such that time grows as frames ** p between the longest two clips."""
        if len(self.training) < 2:
            return None
        a, b = self.training[-2:]
        return math.log(b.ms / a.ms) / math.log(b.context_frames / a.context_frames)


class _ArchitectureRun:
    """The state of one architecture during a measurement."""

    def __init__(self, model: WorldModel, costs: ArchitectureCosts, device: str) -> None:
        self.model, self.costs, self._device = model, costs, device
        self._stopwatch = Stopwatch(device)
        self.state = model.initial_state(1, seed=0)
        self.samples: list[WorldState] = []
        self.grown_bytes: list[int] = []
        """Memory that this architecture's frames had added to the process, at every sample."""
        generator = torch.Generator().manual_seed(0)
        self._latents = torch.randn(NUM_INPUTS, 1, *LATENT_SHAPE, generator=generator).to(device)
        self._actions = torch.rand(NUM_INPUTS, 1, ACTION_SIZE, generator=generator).to(device)
        self._level_B = torch.zeros(1, device=device)

    @torch.inference_mode()
    def advance_to(self, frame: int, limit_bytes: float, on_progress: FrameProgressCallback) -> None:
        """Commits frames up to number `frame`, or until the state exceeds its limit, and keeps that state."""
        before_bytes = allocated_bytes(self._device)
        for begin in range(self.state.frame_index, frame, STATE_CHECK_FRAMES):
            end = min(begin + STATE_CHECK_FRAMES, frame)
            for index in range(begin, end):
                self.state = self._commit(self.state, index)
            on_progress(end - begin)
            if self.state.num_bytes > limit_bytes:
                self.costs.stopped = (
                    f"stopped at frame {end}: its state grew to {self.state.num_bytes / 1e6:.1f} MB "
                    f"(limit {limit_bytes / 1e6:g} MB)"
                )
                break
        stored_bytes = self.samples[-1].num_bytes if self.samples else 0
        grown_bytes = allocated_bytes(self._device) - before_bytes - stored_bytes
        self.grown_bytes.append(grown_bytes + (self.grown_bytes[-1] if self.grown_bytes else 0))
        self.samples.append(self.state)

    @torch.inference_mode()
    def generate_ms(self, state: WorldState) -> float:
        """Time of generating one frame after `state`: a denoising step and a commit; the result is discarded."""
        index = state.frame_index
        self._stopwatch.start()
        action_BA, noise_BCHW = self._actions[index % NUM_INPUTS], self._latents[index % NUM_INPUTS]
        generate_frame(self.model, state, action_BA, noise_BCHW, num_steps=1, level_B=self._level_B)
        return self._stopwatch.stop_ms()

    def train_ms(self, clip_BTCHW: Tensor, action_BTA: Tensor) -> float:
        """Time of forward and backward passes on a clip, without the optimizer step, which is the same for all."""
        level_BT = clip_BTCHW.new_zeros(clip_BTCHW.shape[:2])
        tau_BT = level_BT + 0.5
        self.model.zero_grad(set_to_none=True)
        self._stopwatch.start()
        history = self.model.read_history(clip_BTCHW, level_BT, action_BTA)
        predicted = self.model.predict(history, clip_BTCHW, tau_BT, level_BT)
        loss = flow_loss(predicted, clip_BTCHW, tau_BT, torch.ones_like(level_BT), floor=0.5)
        loss.backward()
        return self._stopwatch.stop_ms()

    def _commit(self, state: WorldState, index: int) -> WorldState:
        action_BA, latent_BCHW = self._actions[index % NUM_INPUTS], self._latents[index % NUM_INPUTS]
        return observe_frame(self.model, state, action_BA, latent_BCHW, level_B=self._level_B, generated=True)


def measure_costs(
    config: CostConfig, *, device: str = "cpu", on_progress: FrameProgressCallback | None = None
) -> dict[str, Any]:
    """Returns: the JSON of `worldsim cost`. The caller sets torch's number of threads. Raises: ConfigError."""
    on_progress = on_progress or (lambda num_frames: None)
    costs, runs = _build(config, device)
    _measure_training(config, runs, device, on_progress)
    _measure_generation(config, runs, device, on_progress)
    return {
        "kind": RESULT_KIND,
        "note": NOTE,
        "clock": "processor" if Stopwatch(device).is_cpu_time else "wall",
        "width": config.width,
        "layers": config.num_layers,
        "latent_shape": list(LATENT_SHAPE),
        "frames": config.frames,
        "rounds": config.rounds,
        "architectures": {
            name: {**asdict(cost), "training_exponent": cost.training_exponent} for name, cost in costs.items()
        },
    }


def sampled_frames(frames: int) -> list[int]:
    """1, 2 and 5 times powers of ten, from REFERENCE_FRAME (or a tenth of a short run) to the last frame."""
    first = min(REFERENCE_FRAME, max(1, frames // 10))
    series = [digit * 10**power for power in range(len(str(frames))) for digit in (1, 2, 5)]
    return [first, *(n for n in series if first < n < frames), frames]


def _build(config: CostConfig, device: str) -> tuple[dict[str, ArchitectureCosts], list[_ArchitectureRun]]:
    """Builds every distinct network once: architectures that only differ in training cost the same."""
    costs: dict[str, ArchitectureCosts] = {}
    runs: list[_ArchitectureRun] = []
    built: dict[SequenceModelConfig, str] = {}
    for name in config.architectures:
        model_config = match_parameters(config.model, name)
        twin = built.setdefault(model_config, name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_world_model(model_config, LATENT_SHAPE, ACTION_SIZE).to(device)
        costs[name] = ArchitectureCosts(
            summary=find_architecture(name).summary,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            same_as=None if twin == name else twin,
        )
        if twin == name:
            runs.append(_ArchitectureRun(model, costs[name], device))
    return costs, runs


def _measure_training(
    config: CostConfig, runs: Sequence[_ArchitectureRun], device: str, on_progress: FrameProgressCallback
) -> None:
    for num_frames in config.contexts:
        clip_BTCHW = torch.randn(1, num_frames, *LATENT_SHAPE, device=device)
        action_BTA = torch.rand(1, num_frames, ACTION_SIZE, device=device)
        fastest = [math.inf] * len(runs)
        for _ in range(config.rounds):
            for index, run in enumerate(runs):
                fastest[index] = min(fastest[index], run.train_ms(clip_BTCHW, action_BTA))
                on_progress(num_frames)
        for run, ms in zip(runs, fastest, strict=True):
            run.costs.training.append(TrainingSample(context_frames=num_frames, ms=ms))
    for run in runs:
        run.model.eval().requires_grad_(False)


def _measure_generation(
    config: CostConfig, runs: Sequence[_ArchitectureRun], device: str, on_progress: FrameProgressCallback
) -> None:
    active = list(runs)
    resident_bytes = 0
    for frame in sampled_frames(config.frames):
        for run in active:
            run.advance_to(frame, config.limit_mb * 1e6, on_progress)
        resident_bytes = resident_bytes or allocated_bytes(device)
        active = [run for run in active if run.costs.stopped is None]
    for run, fastest_ms in zip(runs, _generation_ms(runs, config.rounds), strict=True):
        for state, ms, grown_bytes in zip(run.samples, fastest_ms, run.grown_bytes, strict=True):
            run.costs.generation.append(
                GenerationSample(
                    frame=state.frame_index,
                    ms=ms,
                    ms_ratio=ms / fastest_ms[0],
                    state_bytes=state.num_bytes,
                    resident_ratio=1 + (grown_bytes - run.grown_bytes[0]) / resident_bytes,
                )
            )


def _generation_ms(runs: Sequence[_ArchitectureRun], rounds: int) -> list[list[float]]:
    """The fastest time over all rounds, for every sample of every run."""
    fastest = [[math.inf] * len(run.samples) for run in runs]
    for _ in range(rounds):
        for number in range(max(len(run.samples) for run in runs)):
            for run, ms in zip(runs, fastest, strict=True):
                if number < len(ms):
                    ms[number] = min(ms[number], run.generate_ms(run.samples[number]))
    return fastest
