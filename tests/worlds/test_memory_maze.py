"""Memory Maze without its package: configs, layouts, poses as inputs, policies."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from worldsim.core.config import from_mapping, to_mapping
from worldsim.core.errors import ConfigError, MissingPackageError, WorldError
from worldsim.core.install import install_hint
from worldsim.core.types import NO_ACTION, Action, Pose
from worldsim.presets.card import model_card
from worldsim.presets.config import PresetConfig, preset_from_mapping
from worldsim.worlds import check_installed, open_world
from worldsim.worlds.memory_maze import engine
from worldsim.worlds.memory_maze.config import TARGETS, MemoryMazeConfig
from worldsim.worlds.memory_maze.layout import MemoryMazeLayout
from worldsim.worlds.memory_maze.policies import MemoryMazePolicy
from worldsim.worlds.memory_maze.world import (
    MemoryMazeWorld,
    maze_and_start,
    pose_action,
    pose_from_action,
    quantize_action,
)
from worldsim.worlds.scripted_policy import POLICY_NAMES

CONFIG = MemoryMazeConfig()
ROWS = ["111110", "100010", "101111", "111001", "001101", "111111"]  # south first
PLAN = MemoryMazeLayout(seed=0, free=np.array([[letter == "1" for letter in row] for row in ROWS]), targets=((0, 0),))


def walk(name: str, num_ticks: int, seed: int = 0) -> Iterator[tuple[Pose, Action]]:
    """Moves a point at the speed of the ball, without inertia, stopped by walls."""
    policy = MemoryMazePolicy(name, PLAN, CONFIG, random.Random(seed))
    pose = Pose(x=0.5, y=0.5, angle_rad=0.0)
    for _ in range(num_ticks):
        action = policy.act(pose)
        yield pose, action
        angle = pose.angle_rad + math.radians(action.axis("turn") * CONFIG.turn_deg)
        far = 0.25 if "forward" in action.buttons else 0.0
        x, y = pose.x + far * math.cos(angle), pose.y + far * math.sin(angle)
        is_free = 0 <= x < 6 and 0 <= y < 6 and PLAN.free[int(y), int(x)]
        pose = Pose(x=x if is_free else pose.x, y=y if is_free else pose.y, angle_rad=angle % math.tau)


def test_config_round_trips_through_a_mapping(tiny_config: PresetConfig) -> None:
    config = MemoryMazeConfig(cells=5, maps=(3, 4), control_hz=10, inputs="pose")
    assert from_mapping(MemoryMazeConfig, to_mapping(config)) == config
    table = {**to_mapping(tiny_config), "world": {"kind": "memory_maze", "frame_height_px": 64, "frame_width_px": 64}}
    preset = preset_from_mapping(table, where="preset.toml")
    assert preset.ground_truth_config == CONFIG and isinstance(open_world(preset.ground_truth_config), MemoryMazeWorld)
    assert "labmaze" in model_card(preset) and "ViZDoom" not in model_card(preset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cells": 8}, "cells is 8"),
        ({"control_hz": 7.0}, "control_hz is 7"),
        ({"control_hz": 0.0}, "control_hz is 0"),
        ({"frame_height_px": 1000}, "frame_height_px is 1000"),
        ({"maps": (1, 1)}, "maps are"),
        ({"inputs": "mouse"}, "inputs is 'mouse'"),
    ],
)
def test_invalid_config_is_rejected(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(MemoryMazeConfig, values)


def test_inputs_are_keys_or_poses_and_turns_are_in_degrees() -> None:
    assert (CONFIG.action_spec.buttons, CONFIG.action_spec.axes) == (("forward",), ("turn",))
    assert dict(CONFIG.action_spec.axis_units)["turn"] == "18.4 deg per tick"
    assert MemoryMazeConfig(control_hz=8).turn_deg == CONFIG.turn_deg / 2
    assert MemoryMazeConfig(inputs="pose").action_spec.axes == ("x", "y", "cos", "sin")
    assert MemoryMazeConfig(frame_width_px=128).fov_deg == pytest.approx(118.4, abs=0.1)
    assert CONFIG.fov_deg == pytest.approx(80)


def test_pose_round_trips_through_an_action() -> None:
    for pose in (Pose(x=0.1, y=8.9, angle_rad=6.2), Pose(x=4.5, y=4.5, angle_rad=0.0)):
        action = pose_action(pose, 9)
        again = pose_from_action(action, 9)
        assert (again.x, again.y, again.angle_rad) == pytest.approx((pose.x, pose.y, pose.angle_rad))
    assert pose_action(Pose(x=0.0, y=9.0, angle_rad=0.0), 9) == Action.of(x=-1.0, y=1.0, cos=1.0)


def test_turns_are_quantized() -> None:
    assert quantize_action(Action.of("forward", turn=0.6)) == Action.of("forward", turn=1.0)
    assert quantize_action(Action.of(turn=-0.5)) == Action.of(turn=-1.0)
    assert quantize_action(Action.of(turn=0.49)) == NO_ACTION


def test_seed_is_the_packages_own_or_selects_a_map_and_a_start() -> None:
    assert maze_and_start(CONFIG, 7) == (7, None)
    fixed = MemoryMazeConfig(maps=(5, 6))
    picked = [maze_and_start(fixed, seed) for seed in range(20)]
    assert {maze for maze, _ in picked} == {5, 6} and len({start for _, start in picked}) == 20
    assert maze_and_start(fixed, 3) == picked[3]


def test_paths_avoid_walls_and_points_on_a_wall_have_a_cell() -> None:
    path = PLAN.path((0, 0), (5, 5))
    assert all(math.dist(a, b) == 1 for a, b in itertools.pairwise(path)) and set(path) <= set(PLAN.cells)
    assert len(path) == 11
    assert PLAN.cell_at(1.02, 1.1) == (0, 1) and PLAN.cell_at(2.5, 2.5) == (2, 2)


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_policies_use_only_the_six_actions_and_are_deterministic_by_seed(name: str) -> None:
    actions = [action for _, action in walk(name, 300)]
    assert all(quantize_action(action) == action for action in actions)
    assert actions == [action for _, action in walk(name, 300)]
    if name != "spin":
        assert sum("forward" in action.buttons for action in actions) > 60


def test_explore_visits_every_cell_and_spin_stays_in_place() -> None:
    seen = {PLAN.cell_at(pose.x, pose.y) for pose, _ in walk("explore", 700)}
    assert seen == set(PLAN.cells)
    assert {(pose.x, pose.y) for pose, _ in walk("spin", 100)} == {(0.5, 0.5)}


def test_return_comes_back_through_the_same_cells() -> None:
    for seed in range(4):
        cells = [cell for cell, _ in itertools.groupby(PLAN.cell_at(p.x, p.y) for p, _ in walk("return", 300, seed))]
        segment = cells[: cells.index((0, 0), 1) + 1]
        assert len(segment) > 4 and segment == segment[::-1]


def test_unknown_policy_suggests_the_closest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        MemoryMazePolicy("retrun", PLAN, CONFIG, random.Random(0))
    assert "return" in caught.value.hint


def test_missing_package_is_an_error_with_an_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.MUJOCO_GL, "egl")
    monkeypatch.setitem(sys.modules, "memory_maze", None)
    monkeypatch.setitem(sys.modules, "dm_control", None)
    for attempt in (lambda: MemoryMazeWorld(CONFIG).reset(0), lambda: check_installed(CONFIG)):
        with pytest.raises(MissingPackageError) as caught:
            attempt()
        assert caught.value.hint == install_hint("memory-maze")
    with pytest.raises(WorldError) as stepped:
        MemoryMazeWorld(CONFIG).step(NO_ACTION)
    assert "reset" in stepped.value.hint


@pytest.mark.parametrize(("egl", "osmesa", "choice"), [(True, None, "egl"), (False, "libOSMesa.so", "osmesa")])
def test_rendering_needs_no_display_and_the_backend_is_logged_once(
    egl: bool,
    osmesa: str | None,
    choice: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(engine.MUJOCO_GL, "")
    monkeypatch.setattr(engine, "_egl_works", lambda: egl)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: osmesa)
    caplog.set_level("INFO", logger="worldsim")
    assert engine.choose_graphics() == engine.choose_graphics() == choice
    (message,) = caplog.messages
    assert f"renders with {choice}" in message


def test_missing_backends_are_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.MUJOCO_GL, "")
    monkeypatch.setattr(engine, "_egl_works", lambda: False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(WorldError) as caught:
        engine.choose_graphics()
    assert "libegl1" in caught.value.hint


def test_every_maze_size_is_valid() -> None:
    for cells in TARGETS:
        assert MemoryMazeConfig(cells=cells).frame_shape == (64, 64, 3)
