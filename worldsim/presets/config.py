"""The configuration of a preset: world, networks, play settings, schema version. Torch-free.

It has two forms: `preset.toml`, which people edit, and `config.json`, which is stored beside the weights. The
`[training]` table of preset.toml is returned unparsed; see `presets.store` for weights and folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worldsim.core.config import (
    check_ranges,
    from_mapping,
    parse_json,
    read_text,
    read_toml,
    short_repr,
    to_mapping,
)
from worldsim.core.errors import ConfigError, PresetError
from worldsim.core.types import PLANAR_POSE_AXES, ActionSpec
from worldsim.models.config import AutoencoderConfig, LayersConfig, ModelConfig, SequenceModelConfig
from worldsim.presets.migrations import is_schema_1_recipe, migrate_config
from worldsim.worlds import GroundTruthConfig
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.recorded import RecordedWorldConfig

SCHEMA_VERSION = 2
"""Version of the folder's layout and of the meaning of its keys. A change of either increments it, and needs a step in
`presets.migrations` and a stored preset in the tests."""
MAX_SCAN_ELEMENTS = 2**24
"""Limit on heads times tokens of a frame times tokens of a block (of a chunk or window, where frames are denoised
together): the numbers that one scan layer holds while it computes a frame."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PlayConfig:
    """Settings of play."""

    ticks_per_s: float = 17.5
    """Model ticks per second of play."""
    num_steps: int = 1
    """Denoising steps per frame."""
    context_frames: int = 16
    """Frames of the start that the model reads before the first generated frame."""
    context_noise: float = 0.0
    """Noise level with which generated frames are labeled, from 0 (clean) to below 1. No effect in a map model."""
    keyframe_interval: int = 1
    """Every n-th generated frame is a keyframe, which is committed to the memory; the frames between are only shown.
    Where poses are the inputs, so a model that was trained on frames farther apart is played n times as smoothly: a
    tick moves the camera an n-th of the world's tick."""
    cpu_threads: int = 1
    """Threads of torch on a CPU. The matrix products of a small model are too small to parallelize: a second thread
    gains 5 % on an idle machine, and with other busy programs threads wait for each other, up to a second at a time."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            {
                "ticks_per_s": (0.1, 1000),
                "num_steps": (1, 128),
                "context_frames": (1, 1024),
                "keyframe_interval": (1, 64),
                "cpu_threads": (1, 1024),
            },
        )
        if not 0.0 <= self.context_noise < 1.0:
            raise ConfigError(f"context_noise is {self.context_noise}", hint="at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class PresetConfig:
    """Everything about a preset except its weights."""

    schema_version: int = SCHEMA_VERSION
    name: str
    """Short lower-case name, as given to `worldsim play`."""
    title: str
    """One line of description."""
    world: DoomConfig | RecordedWorldConfig | MemoryMazeConfig = field(default_factory=DoomConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    model: ModelConfig = field(default_factory=SequenceModelConfig)
    play: PlayConfig = field(default_factory=PlayConfig)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"name is {short_repr(self.name)}", hint="letters, digits, dot, dash, underline; at most 64"
            )
        if len(self.title) > 200:
            raise ConfigError(f"title has {len(self.title)} characters", hint="one line, at most 200")
        height_px, width_px, _ = self.frame_shape
        layers = self.model if isinstance(self.model, LayersConfig) else None
        cell_px = self.autoencoder.downscale * (layers.patch if layers else 1)
        if height_px % cell_px or width_px % cell_px:
            raise ConfigError(
                f"a frame of {width_px}x{height_px} does not divide into tokens of {cell_px} pixels",
                hint="autoencoder downscale times model.patch must divide both sides",
            )
        if layers:
            _check_blocks(layers, height_px // cell_px, width_px // cell_px)
        if self.play.keyframe_interval > 1 and self.world.action_spec.pose_control is None:
            raise ConfigError(
                f"play.keyframe_interval is {self.play.keyframe_interval}, and the world's inputs are not poses",
                hint="play.keyframe_interval = 1, or world.inputs = 'pose'",
            )
        if self.has_given_pose and self.action_spec.axes[: len(PLANAR_POSE_AXES)] != PLANAR_POSE_AXES:
            raise ConfigError(
                "model.map.pose is 'given', but the world's inputs are not poses",
                hint="world.inputs = 'pose', or model.map.pose = 'estimated'",
            )

    @property
    def has_given_pose(self) -> bool:
        """Whether the inputs are the camera's poses."""
        return self.model.map is not None and self.model.map.pose == "given"

    @property
    def ground_truth_config(self) -> GroundTruthConfig:
        """Raises ConfigError for a preset that was learned from recordings: there is no truth to ask."""
        if isinstance(self.world, RecordedWorldConfig):
            raise ConfigError(
                f"{self.name} was trained on recordings: it has no reference world",
                hint="worldsim rollout or play shows what it learned",
            )
        return self.world

    @property
    def action_spec(self) -> ActionSpec:
        """As of the world; where poses are the inputs, with the camera's steps of a tick of play."""
        spec = self.world.action_spec
        if spec.pose_control is None:
            return spec
        pose_control = replace(
            spec.pose_control,
            step_length=spec.pose_control.step_length / self.play.keyframe_interval,
            turn_rad=spec.pose_control.turn_rad / self.play.keyframe_interval,
            has_collisions=self.model.map is not None and self.model.map.solid_walls,
        )
        return replace(spec, pose_control=pose_control)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.world.frame_shape

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        height_px, width_px, _ = self.frame_shape
        cell_px = self.autoencoder.downscale
        return self.autoencoder.latent_channels, height_px // cell_px, width_px // cell_px


def _check_blocks(layers: LayersConfig, rows: int, columns: int) -> None:
    for high, wide in layers.scan_blocks:
        high, wide = high or rows, wide or columns
        if rows % high or columns % wide:
            raise ConfigError(
                f"a frame of {columns}x{rows} tokens does not divide into scan blocks of {wide}x{high}",
                hint="model.scan.blocks are (rows, columns) that divide both sides, 0 for the full side",
            )
        if layers.num_heads * rows * columns * high * wide * layers.frames_per_block**2 > MAX_SCAN_ELEMENTS:
            raise ConfigError(
                f"a scan block of {wide}x{high} tokens is too large",
                hint="smaller model.scan.blocks, or a larger model.patch",
            )


def read_preset_toml(path: Path, known: Mapping[str, Any] | None = None) -> tuple[PresetConfig, dict[str, Any]]:
    """The config in a preset.toml, and its unparsed `[training]` table (empty without one).

    `known`: tables of values for keys that are missing in the file. Raises: ConfigError for invalid TOML, unknown or
    missing keys, and invalid values.
    """
    data = read_toml(path)
    training = data.pop("training", {})
    if not isinstance(training, dict):
        raise ConfigError(f"{path}: training is {training!r}", hint="expected a table, [training]")
    for name, values in (known or {}).items():
        if isinstance(data.setdefault(name, {}), dict):
            data[name] = {**values, **data[name]}
    return preset_from_mapping(data, where=str(path)), training


def preset_from_mapping(data: Mapping[str, Any], *, where: str) -> PresetConfig:
    """Raises: PresetError for a newer schema, ConfigError (it begins with `where`) for anything else that is wrong."""
    version = data.get("schema_version", 1 if is_schema_1_recipe(data) else SCHEMA_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{where}: schema_version is {short_repr(version)}", hint=f"expected 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise PresetError(
            f"{where} has schema version {short_repr(version)}; this worldsim reads versions up to {SCHEMA_VERSION}",
            hint="it was made by a newer worldsim: update yours",
        )
    try:
        return from_mapping(PresetConfig, migrate_config(data, version, SCHEMA_VERSION))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None


def read_config_json(path: Path) -> tuple[PresetConfig, dict[str, Any]]:
    """The stored config, and the mapping as written, which its hash covers."""
    text = read_text(path)
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}", hint="download or save the preset again") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds a {type(data).__name__}", hint="expected an object")
    return preset_from_mapping(data, where=str(path)), data


def config_json(config: PresetConfig) -> str:
    """The text of config.json, with all values, including defaults."""
    return json.dumps(to_mapping(config), indent=2, ensure_ascii=False) + "\n"
