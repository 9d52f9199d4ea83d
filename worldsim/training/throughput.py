"""How fast a recipe trains on a device: the updates of training itself on made-up data, without world or weights.

Owns: what is run and counted, and the prediction for several devices. Does not own: an update (`loop`), the instruments
(`profiling`), printing. The data is at hand, so rendering, encoding and waiting for either are not in it. The learning
rate is 0: that costs the same, and made-up data can break nothing.
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
from worldsim.training.autoencoder import AutoencoderRecipe, store_frames
from worldsim.training.compute import autocast_context, matmul_dtype, prepare_layers
from worldsim.training.config import DynamicsTraining, TrainingConfig
from worldsim.training.distributed import DistributedContext
from worldsim.training.dynamics import DynamicsRecipe
from worldsim.training.episode import Episode
from worldsim.training.loop import Recipe, Trainer, batch_seed
from worldsim.training.profiling import FlopCounter, PeakMemory, Stopwatch, allocated_bytes
from worldsim.training.replay_buffer import ReplayBuffer
from worldsim.training.workers import WeightedStream

BenchmarkStage = Literal["dynamics", "autoencoder"]

GRADIENT_BYTES = 4
"""Of a parameter: weights stay in float32, whatever the products are made in, and so do their gradients."""
_NUM_EPISODES, _MIN_EPISODE_FRAMES = 4, 64

UpdateCallback = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """FLOPs of matrix products, convolutions and attention; what lies between them is not counted."""

    forward: float = 0
    backward: float = 0
    again: float = 0
    """In the backward pass a second time, where activations were forgotten: time, but no progress."""

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
        """What model FLOP utilisation counts."""
        return self.forward + self.backward

    @property
    def backward_share(self) -> float:
        """Of all that is computed."""
        return (self.backward + self.again) / max(self.needed + self.again, 1.0)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Of a stage of a recipe, as every process trains it; `work` and `peak_bytes` are of one process."""

    parameters: int
    frames_per_update: int
    """Of one process."""
    update_ms: float
    work: FlopCount
    """Of one update."""
    peak_bytes: int
    updates: int
    """How many were timed, of each kind; `update_ms` is their median."""
    warm_up_updates: int
    accumulate: int
    dtype: str
    clock: Literal["processor", "wall"]
    processes: int

    @property
    def frames_per_s(self) -> float:
        """Of all processes."""
        return self.processes * self.frames_per_update / (self.update_ms / 1e3)

    @property
    def flop_per_s(self) -> float:
        """Of one process."""
        return self.work.needed / (self.update_ms / 1e3)

    @property
    def gradient_bytes(self) -> int:
        return GRADIENT_BYTES * self.parameters


@dataclass(frozen=True, kw_only=True)
class ScalingPrediction:
    """For devices like the one that was measured, each with batches of its own (weak scaling)."""

    devices: int
    frames_per_s: float
    efficiency: float
    """Of what as many devices without a link between them would do."""
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
    """`on_progress` hears of the count, and of every update; see `num_progress_steps`.

    Kinds of updates that take turns by chance (on the true frames, on the model's own) are timed one after the other,
    and weigh as much as they are frequent.
    """
    before_bytes = allocated_bytes(distributed.device)
    work = count_flops(preset, training, stage, device=distributed.device)
    on_progress()
    parts = [
        (share, _time_updates(preset, kind, stage, distributed, updates, work, before_bytes, on_progress))
        for share, kind in _update_kinds(training, stage)
    ]
    return replace(
        parts[0][1],
        update_ms=sum(share * each.update_ms for share, each in parts),
        peak_bytes=max(each.peak_bytes for _, each in parts),
    )


def count_flops(preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage, *, device: str) -> FlopCount:
    """Of one update of one process. Layers run eager meanwhile, for the counter sees single operations."""
    work = FlopCount()
    for share, kind in _update_kinds(training, stage):
        work += _count_flops(_recipe(preset, kind, stage, device), kind, device) * share
    gc.collect()  # layers that were prepared refer to themselves
    return work


def num_progress_steps(training: TrainingConfig, stage: BenchmarkStage, updates: int) -> int:
    """How often `on_progress` is heard."""
    return 1 + len(_update_kinds(training, stage)) * (warm_up_updates(updates) + updates)


def warm_up_updates(updates: int) -> int:
    """Before so many timed ones: the first one compiles, and takes the memory."""
    return 1 + updates // 5


def predict_scaling(measured: Throughput, devices: int, *, frames: float, link_bytes_per_s: float) -> ScalingPrediction:
    """Gradients are summed in a ring (each device sends 2 (n - 1) / n of them) while the backward pass of an update's
    last batch goes on; what takes longer than that is waited for. The backward pass has the share of the time that it
    has of the FLOPs."""
    update_s = measured.update_ms / 1e3
    sent_s = 2 * (devices - 1) / devices * measured.gradient_bytes / link_bytes_per_s
    hidden_s = update_s * measured.work.backward_share / measured.accumulate
    total_s = update_s + max(0.0, sent_s - hidden_s)
    rate = devices * measured.frames_per_update / total_s
    return ScalingPrediction(
        devices=devices, frames_per_s=rate, efficiency=update_s / total_s, hours=frames / rate / 3600
    )


def _update_kinds(training: TrainingConfig, stage: BenchmarkStage) -> list[tuple[float, TrainingConfig]]:
    """How often which kind of update occurs."""
    if stage == "autoencoder":
        return [(1.0, training)]
    share = training.dynamics.rollout_share
    return [
        (part, replace(training, dynamics=replace(training.dynamics, rollout_share=is_own)))
        for part, is_own in ((1 - share, 0.0), (share, 1.0))
        if part > 0
    ]


def _steady_state_update(config: DynamicsTraining) -> int:
    """The first update, at a chain's beginning, by which all that begins later has begun: most of a run is after it."""
    walks = config.walk_ticks * config.walk_growth_updates
    steady_from = max(config.shortcut_after, config.walk_only_updates, config.place_only_updates, walks)
    return -(-steady_from // config.carry_clips) * config.carry_clips


def _count_flops(recipe: Recipe, training: TrainingConfig, device: str) -> FlopCount:
    counter = FlopCounter("forward")

    @contextmanager
    def recompute_context() -> Iterator[None]:
        counter.phase = "again"
        try:
            yield
        finally:
            counter.phase = "backward"

    prepare_layers(recipe.network, replace(training.compute, compile_layers=False), recompute_context=recompute_context)
    number = (
        _steady_state_update(training.dynamics) + recipe.updates_per_sequence - 1
    )  # the end of a chain: nothing is left waiting
    torch.manual_seed(batch_seed(training.seed, number, 0))
    with counter:
        with autocast_context(training.compute, device):
            loss, _ = recipe.loss(number)
        counter.phase = "backward"
        loss.backward()
    return FlopCount(**counter.flops) * training.compute.accumulate


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
    stopwatch = Stopwatch(distributed.device, waits=distributed.world_size > 1)
    with PeakMemory(distributed.device, before_bytes) as memory, tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(preset, training, stage, distributed.device)
        trainer = Trainer(
            recipe,
            getattr(training, stage).optimiser,
            Path(folder),
            on_log=lambda row: None,
            seed=training.seed,
            compute=compute,
            distributed=distributed,
        )
        trainer.num_updates = _steady_state_update(training.dynamics)
        for _ in range(warm_up_updates(updates) + updates):
            stopwatch.start()
            trainer.update(0.0)
            elapsed_ms.append(stopwatch.stop_ms())
            on_progress()
    return Throughput(
        parameters=sum(parameter.numel() for parameter in recipe.network.parameters()),
        frames_per_update=recipe.frames_per_update * compute.accumulate,
        update_ms=median(elapsed_ms[-updates:]),
        work=work,
        peak_bytes=memory.num_bytes,
        updates=updates,
        warm_up_updates=warm_up_updates(updates),
        accumulate=compute.accumulate,
        dtype=str(matmul_dtype(compute, distributed.device)).removeprefix("torch."),
        clock="processor" if stopwatch.is_cpu_time else "wall",
        processes=distributed.world_size,
    )


def _recipe(preset: PresetConfig, training: TrainingConfig, stage: BenchmarkStage, device: str) -> Recipe:
    """As `run.TrainingRun` makes it, of fresh weights and made-up episodes."""
    autoencoder, network = build_networks(preset, allocate=True)
    episodes = _SyntheticStream(preset, training.dynamics)
    if stage == "autoencoder":
        autoencoder = autoencoder.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        replay_buffer = _replay_buffer(episodes, store_frames, training)
        return AutoencoderRecipe(
            autoencoder, training.autoencoder, replay_buffer, episodes.get().first(1), device=device
        )

    def store_latents(episode: Episode) -> Tensor:
        return torch.randn(len(episode.actions), *preset.latent_shape).half()

    return DynamicsRecipe(
        network.to(device),
        autoencoder.to(device).requires_grad_(False),
        training.dynamics,
        _replay_buffer(episodes, store_latents, training),
        [episodes.get().first(1)],
        device=device,
        export_preset=lambda folder, average, counters: None,
    )


def _replay_buffer(
    episodes: _SyntheticStream, store: Callable[[Episode], Tensor], training: TrainingConfig
) -> ReplayBuffer:
    replay_buffer = ReplayBuffer([WeightedStream(stream=episodes)], store, training.data)
    replay_buffer.fill(lambda have, want: None)
    return replay_buffer


class _SyntheticStream:
    """Episodes of noise, as many as fit into any pool, so that none is asked for later."""

    num_episodes: int | None = _NUM_EPISODES
    has_pose = True

    def __init__(self, preset: PresetConfig, config: DynamicsTraining) -> None:
        self._preset, self._config = preset, config
        self._num_frames = max(_MIN_EPISODE_FRAMES, config.sampled_frames(preset.model))
        self._random = np.random.default_rng(0)

    def skip(self, num_episodes: int) -> None:
        """All are alike."""

    def get(self) -> Episode:
        num_frames, scale = self._num_frames, self._config.pose_scale_units
        xy = self._random.uniform(-scale, scale, (num_frames, 2)) + self._config.pose_origin_units
        angle = self._random.uniform(-np.pi, np.pi, (num_frames, 1))
        return Episode(
            seed=0,
            frames=self._random.integers(0, 256, (num_frames, *self._preset.frame_shape), dtype=np.uint8),
            actions=self._random.random((num_frames, self._preset.action_spec.size), dtype=np.float32),
            pose=np.concatenate((xy, angle), 1).astype(np.float32),
        )
