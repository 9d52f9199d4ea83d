"""What an update takes: all of its work counted once, and a prediction that follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import mapped
from worldsim.models.config import FixedMapConfig, SpatialMapConfig
from worldsim.presets.config import PresetConfig
from worldsim.training.config import ComputeConfig, DynamicsTraining, TrainingConfig
from worldsim.training.distributed import DistributedContext
from worldsim.training.throughput import (
    FlopCount,
    Throughput,
    count_flops,
    measure_training,
    num_progress_steps,
    predict_scaling,
)

TRAINING = TrainingConfig(dynamics=DynamicsTraining(clip_frames=4, batch_clips=4, shortcut_share=0.25))


def work(config: PresetConfig, training: TrainingConfig) -> FlopCount:
    return count_flops(config, training, "dynamics", device="cpu")


def dynamics(**values: Any) -> TrainingConfig:
    return replace(TRAINING, dynamics=replace(TRAINING.dynamics, **values))


@pytest.fixture(scope="module")
def plain(tiny_config: PresetConfig) -> FlopCount:
    return work(tiny_config, TRAINING)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_updates_are_counted_timed_and_weighted(tiny_config: PresetConfig, device: str) -> None:
    heard = list[int]()
    training = dynamics(carry_clips=2, rollout_share=0.5)
    result = measure_training(
        tiny_config,
        training,
        "dynamics",
        distributed=DistributedContext(device=device),
        updates=2,
        on_progress=lambda: heard.append(1),
    )
    assert len(heard) == num_progress_steps(training, "dynamics", 2) == 1 + 2 * (1 + 2)
    assert (result.frames_per_update, result.processes) == (16, 1)
    assert result.dtype == ("float32" if device == "cpu" else "bfloat16")
    assert result.update_ms > 0 and result.parameters > 1000
    assert result.peak_bytes >= 0, "none where what earlier tests left free is enough"


def test_the_autoencoder_is_a_stage_too(tiny_config: PresetConfig) -> None:
    training = replace(TRAINING, autoencoder=replace(TRAINING.autoencoder, batch_frames=3))
    result = measure_training(
        tiny_config, training, "autoencoder", distributed=DistributedContext(device="cpu"), updates=1
    )
    assert result.frames_per_update == 3
    assert 1.5 < result.work.backward / result.work.forward < 2, "two for one, but for the pictures' own gradient"


def test_flops_scale_with_the_batch_and_its_parts(tiny_config: PresetConfig, plain: FlopCount) -> None:
    twice = work(tiny_config, dynamics(batch_clips=8))
    assert twice.needed == 2 * plain.needed
    assert work(tiny_config, replace(TRAINING, compute=ComputeConfig(accumulate=2))).needed == 2 * plain.needed
    flows_alone = work(tiny_config, dynamics(shortcut_share=0.0))
    assert flows_alone.needed < plain.needed, "a larger step is learned from two smaller ones"


def test_recomputed_activations_do_not_count_as_progress(tiny_config: PresetConfig, plain: FlopCount) -> None:
    forgetting = work(tiny_config, replace(TRAINING, compute=ComputeConfig(forget_activations=True)))
    assert plain.again == 0 < forgetting.again < plain.forward
    assert forgetting.needed == plain.needed
    assert forgetting.backward_share > plain.backward_share


def test_products_may_be_rounded_on_a_cpu_too(tiny_config: PresetConfig, plain: FlopCount) -> None:
    """Latents are drawn as they are stored, in float16, with which autocast on a CPU does nothing."""
    rounded = work(tiny_config, replace(TRAINING, compute=ComputeConfig(precision="bfloat16")))
    assert rounded.needed == plain.needed


def test_self_rollouts_are_weighted_by_their_frequency(tiny_config: PresetConfig, plain: FlopCount) -> None:
    half, always = (work(tiny_config, dynamics(rollout_share=share)) for share in (0.5, 1.0))
    assert always.forward > 1.1 * plain.forward
    assert half.needed == pytest.approx((plain.needed + always.needed) / 2)


def test_the_fixed_map_adds_flops(tiny_config: PresetConfig, plain: FlopCount) -> None:
    place = mapped(tiny_config, FixedMapConfig(width=16))
    assert work(place, dynamics(place_frames=8, walk_poses=32, walk_ticks=2)).needed > plain.needed


def test_a_recipe_whose_spatial_map_needs_the_longest_clips_is_measured(tiny_config: PresetConfig) -> None:
    plan = mapped(tiny_config, SpatialMapConfig(width=8))
    training = dynamics(pose_target="relative", plan_clips=1, plan_frames=90, walk_ticks=1, walk_growth_updates=1)
    result = measure_training(plan, training, "dynamics", distributed=DistributedContext(device="cpu"), updates=1)
    assert result.work.forward > result.work.backward > 0, "what is recalled for a clip has no gradient"


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
