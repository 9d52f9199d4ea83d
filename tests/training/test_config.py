"""The [training] table: keys of earlier versions, tables that do not fit the model, and stages."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from worldsim.core.errors import ConfigError
from worldsim.models.config import (
    FixedMapConfig,
    MapModelConfig,
    MappedModelConfig,
    ModelConfig,
    SequenceModelConfig,
    SpatialMapConfig,
)
from worldsim.training.config import (
    FixedMapTraining,
    OptimizerConfig,
    SequenceTraining,
    SpatialMapTraining,
    Stage,
    TrainingConfig,
    check_stage,
    read_training,
    stages_of,
)

FIXED, SPATIAL = MapModelConfig(map=FixedMapConfig()), MapModelConfig(map=SpatialMapConfig())
OPTIMISER = {"learning_rate": 0.5, "warmup_updates": 1, "cooldown_share": 0.25, "gradient_clip": 2.0}
OPTIMIZER = OptimizerConfig(learning_rate=0.5, warmup_steps=1, decay_fraction=0.25, max_gradient_norm=2.0)
OLD: dict[str, Any] = {
    "seed": 7,
    "data": {"pool_episodes": 11, "start_episodes": 12, "reuse": 13.0, "script": "explore"},
    "compute": {"accumulate": 2, "shard": True, "forget_activations": True, "compile_layers": True},
    "autoencoder": {"texture_weight": 0.5, "optimiser": OPTIMISER},
    "decoder": {"texture_weight": 0.25, "encoded_stride": 5, "optimiser": OPTIMISER},
    "dynamics": {
        "clip_frames": 8,
        "batch_clips": 9,
        "carry_clips": 2,
        "max_context_level": 0.125,
        "prefix_share": 0.25,
        "tau_floor": 0.1,
        "one_step_share": 0.2,
        "shortcut_share": 0.3,
        "shortcut_after": 4,
        "rollout_share": 0.4,
        "rollout_context": 5,
        "pose_weight": 0.6,
        "pose_target": "relative",
        "pose_origin_units": [1.0, 2.0],
        "pose_scale_units": 3.0,
        "place_frames": 21,
        "plan_clips": 22,
        "plan_frames": 30,
        "plan_taught_updates": 23,
        "walk_poses": 24,
        "walk_ticks": 25,
        "walk_growth_updates": 26,
        "walk_only_updates": 27,
        "walk_position_noise": 0.5,
        "place_only_updates": 28,
        "optimiser": OPTIMISER,
    },
}
"""A recipe with every renamed key of schema 1."""
SEQUENCE = SequenceTraining(
    clip_frames=8,
    batch_clips=9,
    tbptt_clips=2,
    max_context_level=0.125,
    clean_prefix_prob=0.25,
    min_noise_weight=0.1,
    one_step_fraction=0.2,
    shortcut_fraction=0.3,
    shortcut_start_step=4,
    self_rollout_prob=0.4,
    self_rollout_context_frames=5,
    pose_loss_weight=0.6,
    pose_target="relative",
    pose_origin_units=(1.0, 2.0),
    pose_scale_units=3.0,
    optimizer=OPTIMIZER,
)
MOTION: dict[str, Any] = {
    "motion_max_ticks": 25,
    "motion_curriculum_steps": 26,
    "motion_position_noise": 0.5,
    "pose_origin_units": (1.0, 2.0),
    "pose_scale_units": 3.0,
    "optimizer": OPTIMIZER,
}
FIXED_MAP = FixedMapTraining(
    batch_frames=21, max_noise_level=0.125, motion_batch_poses=24, motion_warmup_steps=27, **MOTION
)
SPATIAL_MAP = SpatialMapTraining(batch_clips=22, clip_frames=30, teacher_forcing_steps=23, **MOTION)


@pytest.mark.parametrize(
    ("model", "tables"),
    [
        (SequenceModelConfig(), {"sequence": SEQUENCE}),
        (FIXED, {"map": FIXED_MAP}),
        (SPATIAL, {"map": SPATIAL_MAP}),
        (MappedModelConfig(map=SpatialMapConfig()), {"sequence": SEQUENCE, "map": SPATIAL_MAP}),
    ],
)
def test_keys_of_earlier_versions_are_read_with_a_warning_that_states_the_new_ones(
    model: ModelConfig, tables: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="worldsim"):
        training = read_training(OLD, model)
    expected = replace(TrainingConfig(), **tables)
    assert (training.seed, training.sequence) == (7, expected.sequence)
    assert "map" not in tables or training.map == expected.map
    data, compute = training.data, training.compute
    assert (data.buffer_episodes, data.min_buffer_episodes, data.replay_ratio, data.policy) == (11, 12, 13.0, "explore")
    assert compute.gradient_accumulation_steps == 2
    assert compute.fsdp and compute.activation_checkpointing and compute.compile
    assert (training.autoencoder.spectral_loss_weight, training.autoencoder.optimizer) == (0.5, OPTIMIZER)
    decoder = training.decoder
    assert (decoder.spectral_loss_weight, decoder.encoded_frame_stride, decoder.optimizer) == (0.25, 5, OPTIMIZER)
    assert "min_buffer_episodes" in caplog.text


def test_present_keys_are_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="worldsim"):
        training = read_training({"map": {"batch_clips": 2}}, SPATIAL)
    assert training.map == SpatialMapTraining(batch_clips=2)
    assert not caplog.records


@pytest.mark.parametrize(
    ("table", "model", "message"),
    [
        ({"map": {}}, SequenceModelConfig(), r"training\.map: model\.kind = 'sequence' has no map"),
        ({"sequence": {}}, FIXED, r"training\.sequence: model\.kind = 'map' has no sequence model"),
        ({"map": {"kind": "spatial"}}, FIXED, r"training\.map\.kind is 'spatial', model\.map\.kind is 'fixed'"),
        ({"map": {"clip_frames": 30}}, FIXED, r"unknown key 'training\.map\.clip_frames'"),
        ({"dynamics": {"clip_frame": 3}}, SequenceModelConfig(), r"unknown key 'training\.sequence\.clip_frame'"),
        ({"sequence": {"self_rollout_prob": 1.5}}, SequenceModelConfig(), "self_rollout_prob is 1.5"),
    ],
)
def test_tables_that_do_not_fit_the_model_are_rejected(table: dict[str, Any], model: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_training(table, model)


def test_every_kind_of_model_has_its_stages() -> None:
    assert stages_of(SequenceModelConfig()) == stages_of(FIXED) == ("autoencoder", "dynamics", "decoder")
    assert stages_of(MappedModelConfig()) == ("autoencoder", "map", "dynamics", "decoder")
    training = TrainingConfig()
    assert isinstance(training.recipe("dynamics", FIXED), FixedMapTraining)
    assert isinstance(training.recipe("dynamics", MappedModelConfig()), SequenceTraining)
    assert isinstance(training.recipe("map", MappedModelConfig()), FixedMapTraining)


@pytest.mark.parametrize(
    ("stage", "model", "message"),
    [
        ("map", SequenceModelConfig(), "model.kind = 'sequence' has no map"),
        ("map", FIXED, "model.kind = 'map' trains its map in stage dynamics"),
    ],
)
def test_a_stage_that_the_model_does_not_have_is_rejected_with_a_hint(
    stage: Stage, model: ModelConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_stage(stage, model)
    assert caught.value.hint == "--stage dynamics"


def test_the_batch_size_of_any_stage_can_be_replaced() -> None:
    training = TrainingConfig()
    assert training.with_batch_size("autoencoder", FIXED, 5).autoencoder.batch_frames == 5
    assert training.with_batch_size("dynamics", SequenceModelConfig(), 5).sequence.batch_clips == 5
    assert training.with_batch_size("dynamics", FIXED, 5).map == FixedMapTraining(batch_frames=5)
