"""A world known only from recordings, in a preset's config."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worldsim.core.errors import ConfigError
from worldsim.presets.card import model_card
from worldsim.presets.config import PresetConfig, config_json, preset_from_mapping, read_preset_toml
from worldsim.worlds.recorded import RecordedWorldConfig

WORLD = RecordedWorldConfig(buttons=("forward", "jump"), axes=("turn",), frame_height_px=48, frame_width_px=64)


def test_recorded_world_round_trips_through_a_preset(tiny_config: PresetConfig) -> None:
    config = replace(tiny_config, world=WORLD)
    assert preset_from_mapping(json.loads(config_json(config)), where="config.json") == config
    assert (config.action_spec.size, config.frame_shape) == (3, (48, 64, 3))
    with pytest.raises(ConfigError, match="no reference world"):
        config.ground_truth_config  # noqa: B018


def test_card_names_the_origin_and_claims_no_license(tiny_config: PresetConfig) -> None:
    card = model_card(replace(tiny_config, world=WORLD))
    assert "ViZDoom" not in card and "license: other" in card and "from recordings" in card
    assert "ViZDoom" in model_card(tiny_config)


def test_missing_keys_are_filled_in_and_given_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "preset.toml"
    path.write_text('name = "own"\ntitle = "Own"\n[world]\nkind = "recorded"\nframe_width_px = 64\n', encoding="utf-8")
    known = {"world": {"buttons": ["jump"], "frame_height_px": 48, "frame_width_px": 80}, "play": {"ticks_per_s": 9.0}}
    preset, _ = read_preset_toml(path, known)
    assert preset.action_spec.buttons == ("jump",)
    assert (preset.frame_shape, preset.play.ticks_per_s) == ((48, 64, 3), 9.0)
    with pytest.raises(ConfigError, match=r"world\.frame_height_px"):
        read_preset_toml(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "quake"}, r"world\.kind is 'quake'"),
        ({"kind": "recorded", "maps": [1]}, r"unknown key 'world\.maps'"),
        ({"kind": "recorded", "frame_height_px": 10**6, "frame_width_px": 64, "buttons": ["a"]}, "frame_height_px is"),
        ({"kind": "recorded", "frame_height_px": 48, "frame_width_px": 64}, "0 buttons and axes"),
        ({"kind": "recorded", "frame_height_px": 48, "frame_width_px": 64, "buttons": ["a b"]}, "named 'a b'"),
        ({"kind": "recorded", "frame_height_px": 48, "frame_width_px": 64, "buttons": ["a", "a"]}, "duplicate"),
    ],
)
def test_invalid_world_is_one_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset_from_mapping({"name": "own", "title": "Own", "world": values}, where="preset.toml")
