"""preset.toml and config.json: two spellings of one config, both strict."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import mapped
from worldsim.core.errors import ConfigError, PresetError
from worldsim.models.config import (
    AutoencoderConfig,
    FixedMapConfig,
    Mamba2Config,
    MapModelConfig,
    SharedDenoiserConfig,
    SpatialMapConfig,
)
from worldsim.presets.config import PlayConfig, PresetConfig, config_json, read_config_json, read_preset_toml

TOML = """
name = "hall"
title = "A hall"

[world]
maps = [3, 4]

[model]
num_layers = 2

[play]
num_steps = 2

[training]
anything = ["the", "trainer", "wants"]
"""


def test_a_preset_toml_gives_the_config_and_hands_on_the_training_table(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    path.write_text(TOML, encoding="utf-8")
    config, training = read_preset_toml(path)
    assert (config.name, config.world.maps, config.model.num_layers, config.play.num_steps) == ("hall", (3, 4), 2, 2)
    assert training == {"anything": ["the", "trainer", "wants"]}


def test_an_unknown_key_names_the_file_the_key_and_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    path.write_text(TOML.replace("num_steps", "num_stepz"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"preset\.toml: unknown key 'play.num_stepz'") as caught:
        read_preset_toml(path)
    assert caught.value.hint == "did you mean 'num_steps'?"


def test_config_json_gives_back_the_config_it_was_written_from(tiny_config: PresetConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(config_json(tiny_config), encoding="utf-8")
    assert read_config_json(path)[0] == tiny_config


def test_a_newer_schema_is_refused_before_its_keys_are_judged(tiny_config: PresetConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"schema_version": 99, "name": "x", "of_the_future": 1}), encoding="utf-8")
    with pytest.raises(PresetError, match="schema version 99; this worldsim reads versions up to 2") as caught:
        read_config_json(path)
    assert "update yours" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[1]", "\x00"])
def test_a_damaged_config_json_is_one_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_config_json(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 40_000, "nested too deeply"),
        ('{"name": "a", "name": "b"}', "duplicate key 'name'"),
        ('{"name": "a", "title": "b", "play": {"ticks_per_s": NaN}}', "NaN is not valid JSON"),
        ('{"name": "a", "title": "b", "play": {"ticks_per_s": 1e999}}', "expected a finite number"),
        ('{"name": "a", "title": "b", "play": {"ticks_per_s": 1' + "0" * 400 + "}}", "does not fit in 64 bits"),
        ('{"name": "a", "title": "b", "play": {"num_steps": 1' + "0" * 5000 + "}}", "is not valid JSON"),
        ('{"name": "../../home", "title": "b"}', "name is '../../home'"),
        ('{"name": "a", "title": "\\u001b[2J"}', "expected one line of printable text"),
        ('{"name": "a", "title": "\\ud800"}', "expected one line of printable text"),
        ('{"name": "a", "title": "' + "b" * 1000 + '"}', "title has 1000 characters"),
        ('{"name": "a", "' + "b" * 100_000 + '": 1}', "unknown key"),
        ('{"name": "a", "title": "b", "schema_version": "1"}', "schema_version is '1'"),
        ('{"name": "a", "title": "b", "schema_version": 0}', "schema_version is 0"),
        ('{"name": "a", "title": "b"}' + " " * 2**18, "is larger than"),
    ],
)
def test_a_hostile_config_json_is_one_short_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config_json(path)
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.message.isprintable() and len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("model", {"width": 10**9}),
        ("model", {"num_layers": 10**6}),
        ("attention", {"window_frames": 10**6}),
        ("scan", {"state_dim": 10**6}),
        ("model", {"mlp_ratio": 1e9}),
        ("model", {"num_heads": 0}),
        ("scan", {"blocks": ()}),
        ("scan", {"blocks": ((-1, 1),)}),
        ("scan", {"blocks": ((7, 5),)}),
        ("denoiser", {"width": 56}),
        ("map", {"width": 10**6}),
        ("map", {"view_deg": 180.0}),
        ("autoencoder", {"widths": (4,) * 9}),
        ("autoencoder", {"latent_channels": 10**6}),
        ("play", {"context_frames": 10**9}),
        ("play", {"cpu_threads": 10**9}),
    ],
)
def test_sizes_that_no_computer_plays_are_refused(part: str, values: dict[str, Any], tiny_config: PresetConfig) -> None:
    config = mapped(tiny_config, SpatialMapConfig())

    def changed() -> PresetConfig:
        if part in ("scan", "attention", "denoiser", "map"):
            model = replace(config.model, **{part: replace(getattr(config.model, part), **values)})
            return replace(config, model=model)
        return replace(config, **{part: replace(getattr(config, part), **values)})

    with pytest.raises(ConfigError):
        changed()


def test_a_scan_block_that_would_not_fit_in_memory_is_refused(tiny_config: PresetConfig) -> None:
    world = replace(tiny_config.world, frame_width_px=400, frame_height_px=300)
    model = replace(tiny_config.model, patch=1, scan=Mamba2Config(blocks=((0, 0),)))
    with pytest.raises(ConfigError, match="200x150 tokens is too large"):
        replace(tiny_config, world=world, autoencoder=AutoencoderConfig(widths=(4,)), model=model)


def test_a_frame_that_does_not_divide_into_tokens_is_refused(tiny_config: PresetConfig) -> None:
    with pytest.raises(ConfigError, match="64x48 does not divide into tokens of 64 pixels"):
        replace(tiny_config, autoencoder=AutoencoderConfig(widths=(4, 4, 4, 4, 4)))


def test_the_latent_grid_follows_from_frame_and_autoencoder(tiny_config: PresetConfig) -> None:
    assert tiny_config.frame_shape == (48, 64, 3)
    assert tiny_config.latent_shape == (4, 6, 8)


@pytest.mark.parametrize(
    "values", [{"ticks_per_s": 0}, {"num_steps": 0}, {"context_frames": 0}, {"context_noise": 1.0}]
)
def test_play_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        PlayConfig(**values)  # type: ignore[arg-type]  # one value at a time


def test_reading_a_config_and_finding_a_preset_load_no_torch() -> None:
    code = "import sys, worldsim.presets.config, worldsim.presets.resolve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_frames_between_keyframes_need_poses_as_inputs(tiny_config: PresetConfig) -> None:
    with pytest.raises(ConfigError, match="the world's inputs are not poses"):
        replace(tiny_config, play=replace(tiny_config.play, keyframe_interval=3))


def test_a_given_pose_needs_a_world_that_gives_it(tiny_config: PresetConfig) -> None:
    model = MapModelConfig(map=SpatialMapConfig(pose="given"))
    given = replace(tiny_config, world=replace(tiny_config.world, inputs="pose"), model=model)
    assert given.has_given_pose
    with pytest.raises(ConfigError, match="inputs are not poses"):
        replace(tiny_config, model=model)


SEQUENCE_WITH_MAP_KEY = {"kind": "sequence", "map": {"kind": "fixed"}}


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ({"kind": "map", "width": 48}, "unknown key 'model.width'", ""),
        ({"kind": "map", "scan": {"kind": "mamba2"}}, "unknown key 'model.scan'", ""),
        (SEQUENCE_WITH_MAP_KEY, "unknown key 'model.map'", ""),
        ({"kind": "sequence", "scan": {"kind": "lstm", "state_dim": 4}}, "unknown key 'model.scan.state_dim'", ""),
        ({"kind": "sequence", "scan": {"blokcs": []}}, "unknown key 'model.scan.blokcs'", "did you mean 'blocks'?"),
        (
            {"kind": "sequence", "attention": {"kind": "full", "window_frames": 4}},
            "'model.attention.window_frames'",
            "",
        ),
        ({"kind": "sequence", "denoiser": {"kind": "shared", "width": 4}}, "'model.denoiser.width'", ""),
        ({"kind": "mapped", "denoiser": {"kind": "shared", "width": 4}}, "'model.denoiser.width'", ""),
        ({"kind": "mapped", "pose": "none"}, "unknown key 'model.pose'", ""),
        ({"kind": "map", "map": {"kind": "fixed", "pose": "given"}}, "unknown key 'model.map.pose'", ""),
        ({"kind": "maps"}, "model.kind is 'maps'", "one of 'sequence', 'map', 'mapped'"),
        ({"kind": "map", "map": {"kind": "spatial", "poes": "given"}}, "'model.map.poes'", "did you mean 'pose'?"),
    ],
)
def test_a_key_without_meaning_for_the_kind_of_model_is_refused(
    model: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    text = json.dumps({"schema_version": 2, "name": "a", "title": "b", "model": model})
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config_json(path)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_kind_of_model_round_trips(tiny_config: PresetConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    maps = FixedMapConfig(width=8), SpatialMapConfig(view_deg=80.0)
    configs = [replace(tiny_config, model=MapModelConfig(map=m)) for m in maps]
    configs += [mapped(tiny_config, m) for m in maps]
    configs.append(replace(tiny_config, model=replace(tiny_config.model, denoiser=SharedDenoiserConfig())))
    for config in configs:
        path.write_text(config_json(config), encoding="utf-8")
        assert read_config_json(path)[0] == config
