"""Presets of every schema version that was ever shipped load, and play as they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.presets.stored import FRAME_FILE, missing_versions, second_frame, stored_preset
from worldsim.core.errors import ConfigError
from worldsim.presets import config as preset_config
from worldsim.presets.config import SCHEMA_VERSION, config_json, preset_from_mapping, read_preset_toml
from worldsim.presets.migrations import (
    CONFIG_MIGRATIONS,
    STATE_RENAMES,
    WEIGHT_RENAMES,
    migrate_config,
    migrate_name,
)
from worldsim.presets.store import load_preset, verify

LEVELS = 3
"""Other machines round differently; more than this many of 255 levels is another meaning of the weights."""


def test_every_schema_version_has_a_stored_preset_and_a_way_to_the_next() -> None:
    assert missing_versions(SCHEMA_VERSION) == []
    assert missing_versions(SCHEMA_VERSION + 1) == [SCHEMA_VERSION + 1], "a new version is missed until it is stored"
    assert sorted(CONFIG_MIGRATIONS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_stored_preset_of_every_version_loads_and_plays_as_it_did(version: int) -> None:
    folder = stored_preset(version)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 200_000
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["schema_version"] == version
    assert verify(folder).hashes[:1] == ("config",)
    played, expected = second_frame(folder).astype(int), np.load(folder / FRAME_FILE).astype(int)
    assert np.abs(played - expected).max() <= LEVELS, "the weights mean something else: that is a new schema version"


def test_steps_are_taken_in_order_and_the_mapping_as_stored_stays() -> None:
    data = {"schema_version": 1, "path": []}
    steps = {step: lambda m, step=step: {**m, "path": [*m["path"], step]} for step in (1, 2, 3)}
    assert migrate_config(data, 1, 3, steps) == {"schema_version": 3, "path": [1, 2]}
    assert migrate_config(data, 3, 3, steps) == {"schema_version": 3, "path": []}
    assert data == {"schema_version": 1, "path": []}


def test_a_preset_of_an_older_schema_is_migrated_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(mapping: dict[str, Any]) -> dict[str, Any]:
        return {**mapping, "title": mapping["title"].upper()}

    monkeypatch.setattr(preset_config, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(CONFIG_MIGRATIONS, SCHEMA_VERSION, rename)
    config = load_preset(stored_preset(SCHEMA_VERSION)).config
    assert config.title == "AN UNTRAINED PRESET FOR TESTS"
    assert config.schema_version == SCHEMA_VERSION + 1


LAYERS = {"width": 48, "num_layers": 2, "patch": 1, "num_heads": 4, "mlp_ratio": 2.0}
MAMBA2 = {"kind": "mamba2", "blocks": [[1, 1]], "state_dim": 16}
LOCAL = {"kind": "local", "window_frames": 4}
SEPARATE = {"kind": "separate"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"kind": "sequence", "scan": {"kind": "mamba2"}, "attention": LOCAL, "denoiser": SEPARATE}),
        (
            {**LAYERS, "blocks": [[1, 1]], "state_dim": 16, "num_past": 3, "denoiser_width": 32, "denoiser_blocks": 1},
            {
                "kind": "sequence",
                **LAYERS,
                "scan": MAMBA2,
                "denoiser": {"kind": "separate", "width": 32, "num_blocks": 1, "num_past": 3},
            },
        ),
        ({"form": "single", "denoiser_width": 32, "num_past": 3}, {"kind": "sequence", "denoiser": {"kind": "shared"}}),
        ({"mixer": "none", "state_dim": 3, "blocks": []}, {"scan": {"kind": "none"}}),
        ({"mixer": "lstm", "state_dim": 3, "blocks": [[0, 0]]}, {"scan": {"kind": "lstm", "blocks": [[0, 0]]}}),
        ({"mixer": "gated_deltanet", "state_dim": 3}, {"scan": {"kind": "gated_deltanet", "state_dim": 3}}),
        ({"attention": "full", "window_frames": 9}, {"attention": {"kind": "full"}}),
        ({"attention": "none"}, {"attention": {"kind": "none"}}),
        (
            {"form": "single", "attention": "chunk", "window_frames": 5},
            {"attention": {"kind": "chunk", "chunk_frames": 5}},
        ),
        (
            {"form": "single", "mixer": "none", "attention": "joint", "window_frames": 20},
            {"attention": {"kind": "bidirectional", "window_frames": 20}},
        ),
        ({"pose": "head"}, {"pose": "estimated"}),
        ({"pose": "none"}, {"pose": "none"}),
        ({"pose": "place"}, {"kind": "mapped", "map": {"kind": "fixed", "width": 1024, "view_deg": 90.0}}),
        (
            {"pose": "plan", "place_width": 192, "place_view_deg": 80.0},
            {"map": {"kind": "spatial", "width": 192, "view_deg": 80.0, "pose": "estimated"}},
        ),
        (
            {"pose": "given", "place_width": 12},
            {"kind": "mapped", "map": {"kind": "spatial", "width": 12, "view_deg": 90.0, "pose": "given"}},
        ),
    ],
)
def test_a_model_of_schema_1_gets_the_keys_of_schema_2(old: dict[str, Any], new: dict[str, Any]) -> None:
    data = {"schema_version": 1, "name": "a", "title": "b", "model": old}
    migrated = migrate_config(data, 1, 2)["model"]
    assert {key: migrated[key] for key in new} == new
    assert "pose" not in migrated or migrated["kind"] == "sequence", "a map has the pose, not the model"
    if old.get("pose") != "given":  # which needs inputs that are poses
        assert preset_from_mapping({**data, "world": {"kind": "doom"}}, where="test").schema_version == 2


def test_an_unknown_key_and_a_wrong_value_of_schema_1_are_refused() -> None:
    for model in ({"widht": 3}, {"form": "two"}, {"pose": "somewhere"}, {"mixer": ["mamba2"]}, {"attention": {}}, [1]):
        with pytest.raises(ConfigError, match="model"):
            preset_from_mapping({"schema_version": 1, "name": "a", "title": "b", "model": model}, where="test")


def test_a_recipe_of_schema_1_is_recognized_without_a_version(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    text = 'name = "a"\ntitle = "b"\n[model]\nwidth = 24\nnum_heads = 2\n'
    path.write_text(text + 'form = "single"\nwindow_frames = 2\npose = "none"\n', encoding="utf-8")
    old, _ = read_preset_toml(path)
    new = text + 'attention = { window_frames = 2 }\ndenoiser = { kind = "shared" }\npose = "none"\n'
    path.write_text(new, encoding="utf-8")
    assert config_json(old) == config_json(read_preset_toml(path)[0])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.place.field.walls.tables.1", "model.map.field.walls.levels.1"),
        ("model.place.field.column_WF", "model.map.field.column_WF"),
        ("model.place.field.net.blocks.0.1.weight", "model.map.field.decoder.blocks.0.1.weight"),
        ("model.place.localise_net.project_in.bias", "model.map.pose_estimator.project_in.bias"),
        ("model.place.motion.floor.tables.2", "model.map.motion.position_grid.levels.2"),
        ("model.place.motion.free.weight", "model.map.motion.linear.weight"),
        ("model.place.motion.walls.project_out.bias", "model.map.motion.collision.project_out.bias"),
        ("model.place.plan.write_in.weight", "model.map.grid.write_in.weight"),
        ("model.layers.0.scan.dt_bias_K", "model.layers.0.scan.dt_bias_K"),
        ("autoencoder.place.plan.x", "autoencoder.place.plan.x"),
    ],
)
def test_weights_of_schema_1_get_their_present_names(old: str, new: str) -> None:
    assert migrate_name(old, 1, 2, WEIGHT_RENAMES) == new
    assert migrate_name(new, 2, 2, WEIGHT_RENAMES) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("place.pose", "map.pose"),
        ("place.previous", "map.previous_pose"),
        ("place.known", "map.is_localized"),
        ("place.evidence", "map.occupied"),
        ("place.wall_2", "map.wall_2"),
        ("layers.11.ssm", "layers.11.scan_state"),
        ("layers.0.key", "layers.0.key"),
        ("past", "past_latents"),
        ("past_level", "past_noise_level"),
        ("ring.level", "ring.level"),
        ("counters", "counters"),
    ],
)
def test_state_tensors_of_schema_1_get_their_present_names(old: str, new: str) -> None:
    assert migrate_name(old, 1, 2, STATE_RENAMES) == new
