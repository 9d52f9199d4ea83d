"""Training speed of a recipe on a device: real updates on synthetic data, without a world or trained weights.

The data is in memory, so rendering, encoding and waiting are not included. The learning rate is 0, which costs the same
and keeps synthetic data from causing numerical problems.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldsim.presets.config import PresetConfig
from worldsim.presets.store import build_networks
from worldsim.training.compute import autocast_context, matmul_dtype, prepare_layers
from worldsim.training.config import (
    FixedMapTraining,
    RecallTraining,
    RecipeConfig,
    SequenceTraining,
    SpatialMapTraining,
    TrainingConfig,
)
from worldsim.training.distributed import DistributedContext
from worldsim.training.loop import Recipe, Trainer, batch_seed
from worldsim.training.profiling import FlopCounter, PeakMemory, Stopwatch, allocated_bytes
from worldsim.training.recipes.autoencoder import AutoencoderRecipe
from worldsim.training.recipes.probes import PresetWriter, WorldModelProbe
from worldsim.training.replay_buffer import ReplayBuffer, store_frames
from worldsim.training.run import world_model_recipe
from worldsim.training.workers import Episode, WeightedStream

BenchmarkStage = Literal["dynamics", "map", "autoencoder"]

GRADIENT_BYTES = 4
"""Per parameter: weights and gradients stay in float32, whatever the precision of products."""
_NUM_EPISODES, _MIN_EPISODE_FRAMES = 4, 64

UpdateCallback = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """FLOPs of matrix products, convolutions and attention; other operations are not counted."""

    forward: float = 0
    backward: float = 0
    again: float = 0
    """Recomputed in the backward pass (activation checkpointing): time, but no progress."""

    def __mul__(self, factor: float) -> FlopCount:
        return FlopCount(forward=self.forward * factor, backward=self.backward * factor, again=self.again * factor)

    def __add__(self, other: FlopCount) -> FlopCount:
        return FlopCount(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            again=self.again + other.again,
        )

    @property
    def needed(self) -> float:
        """Without recomputation, as model FLOP utilization counts."""
        return self.forward + self.backward

    @property
    def backward_share(self) -> float:
        """Fraction of all computed FLOPs."""
        return (self.backward + self.again) / max(self.needed + self.again, 1.0)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """One stage of a recipe, as every process trains it; `work` and `peak_bytes` are per process."""

    parameters: int
    frames_per_update: int
    """Per process."""
    update_ms: float
    work: FlopCount
    """Per update."""
    peak_bytes: int
    updates: int
    """Timed updates of each kind; `update_ms` is their median."""
    warm_up_updates: int
    accumulate: int
    dtype: str
    clock: Literal["processor", "wall"]
    processes: int

    @property
    def frames_per_s(self) -> float:
        """Of all processes together."""
        return self.processes * self.frames_per_update / (self.update_ms / 1e3)

    @property
    def flop_per_s(self) -> float:
        """Per process."""
        return self.work.needed / (self.update_ms / 1e3)

    @property
    def gradient_bytes(self) -> int:
        return GRADIENT_BYTES * self.parameters


@dataclass(frozen=True, kw_only=True)
class ScalingPrediction:
    """For devices like the measured one, each with its own batches (weak scaling)."""

    devices: int
    frames_per_s: float
    efficiency: float
    """Relative to the same number of devices without communication."""
    hours: float


def measure_training(
    preset: PresetConfig,
    training: TrainingConfig,
    stage: BenchmarkStage,
    *,
    distributed: DistributedContext,
    updates: int,
    on_progress: UpdateCallback = lambda: None,
) -> Throughput:
    """`on_progress` is called `num_progress_steps` times: after counting FLOPs and after every update.

    Kinds of updates that alternate at random (true context, self-rollout) are timed separately and weighted by their
    probability.
    """
    before_bytes = allocated_bytes(distributed.device)
    work = count_flops(preset, training, stage, device=distributed.device)
    on_progress()
    parts = [
        (prob, _time_updates(preset, kind, stage, distributed, updates, work, before_bytes, on_progress))
        for prob, kind in _update_kinds(preset, training, stage)
    ]
    return replace(
        parts[0][1],
        update_ms=sum(prob * each.update_ms for prob, each in parts),
        peak_bytes=max(each.peak_bytes for _, each in parts),
    )


def count_flops(preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage, *, device: str) -> FlopCount:
    """FLOPs of one update of one process. Runs layers eagerly, because the counter sees individual operations."""
    work = FlopCount()
    for prob, kind in _update_kinds(preset, training, stage):
        steady = _steady_state_update(kind.recipe(stage, preset.model))
        work += _count_flops(_build_recipe(preset, kind, stage, device), kind, steady, device) * prob
    gc.collect()  # prepared layers are in reference cycles
    return work


def num_progress_steps(preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage, updates: int) -> int:
    """How often `measure_training` calls `on_progress`."""
    return 1 + len(_update_kinds(preset, training, stage)) * (warm_up_updates(updates) + updates)


def warm_up_updates(updates: int) -> int:
    """Untimed updates before `updates` timed ones: the first one compiles and allocates memory."""
    return 1 + updates // 5


def predict_scaling(measured: Throughput, devices: int, *, frames: float, link_bytes_per_s: float) -> ScalingPrediction:
    """Assumes ring all-reduce: each of n devices sends 2 (n - 1) / n of the gradients.

    Communication overlaps with the backward pass of an update's last batch; the rest of it is waited for. The backward
    pass takes the same fraction of the time as of the FLOPs.
    """
    update_s = measured.update_ms / 1e3
    sent_s = 2 * (devices - 1) / devices * measured.gradient_bytes / link_bytes_per_s
    hidden_s = update_s * measured.work.backward_share / measured.accumulate
    total_s = update_s + max(0.0, sent_s - hidden_s)
    rate = devices * measured.frames_per_update / total_s
    return ScalingPrediction(
        devices=devices, frames_per_s=rate, efficiency=update_s / total_s, hours=frames / rate / 3600
    )


def _update_kinds(
    preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage
) -> list[tuple[float, TrainingConfig]]:
    """Each kind of update with its probability."""
    config = training.recipe(stage, preset.model)
    if not isinstance(config, SequenceTraining):
        return [(1.0, training)]
    prob = config.self_rollout_prob
    return [
        (part, replace(training, sequence=replace(config, self_rollout_prob=always)))
        for part, always in ((1 - prob, 0.0), (prob, 1.0))
        if part > 0
    ]


def _steady_state_update(config: RecipeConfig) -> int:
    """The first update, at the start of a sequence, that costs what most of a run's updates cost."""
    if isinstance(config, SequenceTraining):
        return -(-config.shortcut_start_step // config.tbptt_clips) * config.tbptt_clips
    if isinstance(config, RecallTraining):
        return config.phases[-2].until if len(config.phases) > 1 else 0
    return config.steady_step if isinstance(config, FixedMapTraining | SpatialMapTraining) else 0


def _count_flops(recipe: Recipe, training: TrainingConfig, steady: int, device: str) -> FlopCount:
    counter = FlopCounter("forward")

    @contextmanager
    def recompute_context() -> Iterator[None]:
        counter.phase = "again"
        try:
            yield
        finally:
            counter.phase = "backward"

    prepare_layers(recipe.network, replace(training.compute, compile=False), recompute_context=recompute_context)
    number = steady + recipe.updates_per_sequence - 1  # the end of a sequence: no state is kept
    torch.manual_seed(batch_seed(training.seed, number, 0))
    with counter:
        with autocast_context(training.compute, device):
            loss, _ = recipe.loss(number)
        counter.phase = "backward"
        loss.backward()
    return FlopCount(**counter.flops) * training.compute.gradient_accumulation_steps


def _time_updates(
    preset: PresetConfig,
    training: TrainingConfig,
    stage: BenchmarkStage,
    distributed: DistributedContext,
    updates: int,
    work: FlopCount,
    before_bytes: int,
    on_progress: UpdateCallback,
) -> Throughput:
    compute, elapsed_ms = training.compute, list[float]()
    config = training.recipe(stage, preset.model)
    stopwatch = Stopwatch(distributed.device, waits=distributed.world_size > 1)
    with PeakMemory(distributed.device, before_bytes) as memory, tempfile.TemporaryDirectory() as folder:
        recipe = _build_recipe(preset, training, stage, distributed.device)
        trainer = Trainer(
            recipe,
            config.optimizer,
            Path(folder),
            on_log=lambda row: None,
            seed=training.seed,
            compute=compute,
            distributed=distributed,
        )
        trainer.num_updates = _steady_state_update(config)
        for _ in range(warm_up_updates(updates) + updates):
            stopwatch.start()
            trainer.update(0.0)
            elapsed_ms.append(stopwatch.stop_ms())
            on_progress()
    return Throughput(
        parameters=sum(parameter.numel() for parameter in recipe.network.parameters()),
        frames_per_update=recipe.frames_per_update * compute.gradient_accumulation_steps,
        update_ms=median(elapsed_ms[-updates:]),
        work=work,
        peak_bytes=memory.num_bytes,
        updates=updates,
        warm_up_updates=warm_up_updates(updates),
        accumulate=compute.gradient_accumulation_steps,
        dtype=str(matmul_dtype(compute, distributed.device)).removeprefix("torch."),
        clock="processor" if stopwatch.is_cpu_time else "wall",
        processes=distributed.world_size,
    )


def _build_recipe(preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage, device: str) -> Recipe:
    """As `run.TrainingRun` builds it, with fresh weights and synthetic episodes."""
    config = training.recipe(stage, preset.model)
    autoencoder, model = build_networks(preset, allocate=True)
    episodes = _SyntheticStream(preset, training, config.sampled_frames)
    if stage == "autoencoder":
        autoencoder = autoencoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        replay_buffer = _replay_buffer(episodes, store_frames, training)
        return AutoencoderRecipe(
            autoencoder, training.autoencoder, replay_buffer, episodes.get().first(1), device=device
        )

    def store_latents(episode: Episode) -> Tensor:
        return torch.randn(len(episode.actions), *preset.latent_shape).half()

    autoencoder = autoencoder.to(device).requires_grad_(False)
    replay_buffer = _replay_buffer(episodes, store_latents, training)
    writer = PresetWriter(config=preset, metadata={})
    probe = WorldModelProbe([episodes.get().first(1)], autoencoder, writer, device=device)
    noise = preset.play.context_noise
    return world_model_recipe(stage, training, model, replay_buffer, probe, context_noise=noise, device=device)


def _replay_buffer(
    episodes: _SyntheticStream, store: Callable[[Episode], Tensor], training: TrainingConfig
) -> ReplayBuffer:
    replay_buffer = ReplayBuffer([WeightedStream(stream=episodes)], store, training.data)
    replay_buffer.fill()
    return replay_buffer


class _SyntheticStream:
    """Episodes of noise; few enough to fit into any replay buffer, so that no more are requested during training."""

    num_episodes: int | None = _NUM_EPISODES
    has_pose = True

    def __init__(self, preset: PresetConfig, training: TrainingConfig, sampled_frames: int) -> None:
        poses = training.sequence if preset.model.map is None else training.map
        self._preset, self._origin, self._scale = preset, poses.pose_origin_units, poses.pose_scale_units
        self._num_frames = max(_MIN_EPISODE_FRAMES, sampled_frames)
        self._random = np.random.default_rng(0)

    def skip(self, num_episodes: int) -> None:
        """All episodes are alike."""

    def has_next(self) -> bool:
        """No workers render episodes ahead of the trainer."""
        return False

    def get(self) -> Episode:
        num_frames, scale = self._num_frames, self._scale
        xy = self._random.uniform(-scale, scale, (num_frames, 2)) + self._origin
        angle = self._random.uniform(-np.pi, np.pi, (num_frames, 1))
        return Episode(
            seed=0,
            frames=self._random.integers(0, 256, (num_frames, *self._preset.frame_shape), dtype=np.uint8),
            actions=self._random.random((num_frames, self._preset.action_spec.size), dtype=np.float32),
            pose=np.concatenate((xy, angle), 1).astype(np.float32),
        )
