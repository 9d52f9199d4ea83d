"""The cost of an update, with all work counted once, and the scaling prediction that follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import mapped
from worldsim.models.config import FixedMapConfig, SpatialMapConfig
from worldsim.presets.config import PresetConfig
from worldsim.training.config import (
    ComputeConfig,
    FixedMapTraining,
    SequenceTraining,
    SpatialMapTraining,
    TrainingConfig,
)
from worldsim.training.distributed import DistributedContext
from worldsim.training.throughput import (
    FlopCount,
    Throughput,
    count_flops,
    measure_training,
    num_progress_steps,
    predict_scaling,
)

TRAINING = TrainingConfig(sequence=SequenceTraining(clip_frames=4, batch_clips=4, shortcut_fraction=0.25))


def work(config: PresetConfig, training: TrainingConfig) -> FlopCount:
    return count_flops(config, training, "dynamics", device="cpu")


def sequence(**values: Any) -> TrainingConfig:
    return replace(TRAINING, sequence=replace(TRAINING.sequence, **values))


@pytest.fixture(scope="module")
def plain(tiny_config: PresetConfig) -> FlopCount:
    return work(tiny_config, TRAINING)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_updates_are_counted_timed_and_weighted(tiny_config: PresetConfig, device: str) -> None:
    calls = list[int]()
    training = sequence(tbptt_clips=2, self_rollout_prob=0.5)
    result = measure_training(
        tiny_config,
        training,
        "dynamics",
        distributed=DistributedContext(device=device),
        updates=2,
        on_progress=lambda: calls.append(1),
    )
    assert len(calls) == num_progress_steps(tiny_config, training, "dynamics", 2) == 1 + 2 * (1 + 2)
    assert (result.frames_per_update, result.processes) == (16, 1)
    assert result.dtype == ("float32" if device == "cpu" else "bfloat16")
    assert result.update_ms > 0 and result.parameters > 1000
    assert result.peak_bytes >= 0, "0 if memory freed by earlier tests suffices"


def test_the_autoencoder_is_a_stage_too(tiny_config: PresetConfig) -> None:
    training = replace(TRAINING, autoencoder=replace(TRAINING.autoencoder, batch_frames=3))
    result = measure_training(
        tiny_config, training, "autoencoder", distributed=DistributedContext(device="cpu"), updates=1
    )
    assert result.frames_per_update == 3
    # Twice the forward pass, except for the gradient of the images.
    assert 1.5 < result.work.backward / result.work.forward < 2


def test_flops_scale_with_the_batch_and_its_parts(tiny_config: PresetConfig, plain: FlopCount) -> None:
    twice = work(tiny_config, sequence(batch_clips=8))
    assert twice.needed == 2 * plain.needed
    assert (
        work(tiny_config, replace(TRAINING, compute=ComputeConfig(gradient_accumulation_steps=2))).needed
        == 2 * plain.needed
    )
    only_flow = work(tiny_config, sequence(shortcut_fraction=0.0))
    assert only_flow.needed < plain.needed, "a larger step is learned from two smaller steps"


def test_recomputed_activations_do_not_count_as_progress(tiny_config: PresetConfig, plain: FlopCount) -> None:
    recomputed = work(tiny_config, replace(TRAINING, compute=ComputeConfig(activation_checkpointing=True)))
    assert plain.again == 0 < recomputed.again < plain.forward
    assert recomputed.needed == plain.needed
    assert recomputed.backward_share > plain.backward_share


def test_products_may_be_rounded_on_a_cpu_too(tiny_config: PresetConfig, plain: FlopCount) -> None:
    """Latents are sampled in float16, as stored; autocast on a CPU cannot handle them."""
    rounded = work(tiny_config, replace(TRAINING, compute=ComputeConfig(precision="bfloat16")))
    assert rounded.needed == plain.needed


def test_self_rollouts_are_weighted_by_their_frequency(tiny_config: PresetConfig, plain: FlopCount) -> None:
    half, always = (work(tiny_config, sequence(self_rollout_prob=prob)) for prob in (0.5, 1.0))
    assert always.forward > 1.1 * plain.forward
    assert half.needed == pytest.approx((plain.needed + always.needed) / 2)


def test_reading_a_fixed_map_adds_flops(tiny_config: PresetConfig, plain: FlopCount) -> None:
    assert work(mapped(tiny_config, FixedMapConfig(width=16)), TRAINING).needed > plain.needed


def test_a_stage_that_trains_a_fixed_map_is_measured(tiny_config: PresetConfig) -> None:
    preset = mapped(tiny_config, FixedMapConfig(width=16))
    config = FixedMapTraining(batch_frames=8, motion_batch_poses=32, motion_max_ticks=2)
    map_work = count_flops(preset, replace(TRAINING, map=config), "map", device="cpu")
    assert map_work.backward > map_work.forward > 0


def test_a_stage_whose_spatial_map_needs_the_longest_clips_is_measured(tiny_config: PresetConfig) -> None:
    preset = mapped(tiny_config, SpatialMapConfig(width=8))
    config = SpatialMapTraining(batch_clips=1, clip_frames=90, motion_max_ticks=1, motion_curriculum_steps=1)
    training = replace(TRAINING, map=config)
    result = measure_training(preset, training, "map", distributed=DistributedContext(device="cpu"), updates=1)
    assert result.frames_per_update == 90 and result.work.forward > 0 < result.work.backward


def throughput(**values: Any) -> Throughput:
    example = Throughput(
        parameters=1000,
        frames_per_update=50,
        update_ms=100.0,
        work=FlopCount(forward=1, backward=2, again=1),
        peak_bytes=1,
        updates=1,
        warm_up_updates=1,
        accumulate=1,
        dtype="float32",
        clock="wall",
        processes=1,
    )
    return replace(example, **values)


def test_a_fast_link_is_hidden_behind_the_backward_pass() -> None:
    alone, eight = (predict_scaling(throughput(), n, frames=3.6e6, link_bytes_per_s=1e9) for n in (1, 8))
    assert (alone.frames_per_s, alone.hours, alone.efficiency) == pytest.approx((500, 2, 1))
    assert (eight.frames_per_s, eight.hours, eight.efficiency) == pytest.approx((4000, 0.25, 1))


def test_a_slow_link_costs_what_outlasts_the_backward_pass() -> None:
    """Two devices send 4000 bytes each, in 0.2 s; the backward pass has three quarters of 0.1 s."""
    two = predict_scaling(throughput(), 2, frames=1, link_bytes_per_s=20_000)
    assert two.efficiency == pytest.approx(0.1 / (0.1 + 0.2 - 0.075))
    assert two.frames_per_s == pytest.approx(2 * 50 / 0.225)
    halves = predict_scaling(throughput(accumulate=2), 2, frames=1, link_bytes_per_s=20_000)
    assert halves.efficiency == pytest.approx(0.1 / (0.1 + 0.2 - 0.0375)), "only behind the last batch"
    assert predict_scaling(throughput(), 64, frames=1, link_bytes_per_s=20_000).efficiency < two.efficiency
