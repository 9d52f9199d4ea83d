"""Memory Maze on MuJoCo: the package's own images, deterministic by seed. Needs the extra `memory-maze`."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldsim.actions.pose_control import pose_step
from worldsim.core.errors import ConfigError
from worldsim.core.types import NO_ACTION, Action, Step
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.memory_maze.engine import choose_graphics
from worldsim.worlds.memory_maze.world import MemoryMazeWorld

pytest.importorskip("mujoco")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIX = [NO_ACTION, Action.of("forward"), *(Action.of(turn=turn) for turn in (1.0, -1.0))]
SIX += [Action.of("forward", turn=turn) for turn in (1.0, -1.0)]
WALK = [SIX[(7 * i) % 11 % 6] for i in range(40)]


@pytest.fixture(scope="module")
def world() -> Iterator[MemoryMazeWorld]:
    with MemoryMazeWorld(MemoryMazeConfig()) as world:
        yield world


def play(world: MemoryMazeWorld, seed: int) -> list[Step]:
    return [world.reset(seed), *(world.step(action) for action in WALK)]


def digest(steps: list[Step]) -> str:
    return hashlib.sha256(b"".join(step.frame.tobytes() for step in steps)).hexdigest()


def test_images_poses_and_layout_equal_the_packages_bit_for_bit(world: MemoryMazeWorld) -> None:
    choose_graphics()
    from memory_maze import tasks

    env = tasks.memory_maze_9x9(global_observables=True, seed=3)
    theirs = [env.reset(), *(env.step(SIX.index(action)) for action in WALK)]
    ours, truths = [world.reset(3)], [world.ground_truth]
    for action in WALK:
        ours.append(world.step(action))
        truths.append(world.ground_truth)
    for step, ground_truth, time_step in zip(ours, truths, theirs, strict=True):
        seen: dict[str, Any] = time_step.observation
        np.testing.assert_array_equal(step.frame, seen["image"])
        assert step.pose is not None
        assert (step.pose.x, step.pose.y) == tuple(seen["agent_pos"])
        for name, value in ground_truth.items():
            np.testing.assert_array_equal(value, time_step.reward or 0 if name == "reward" else seen[name], name)
        ahead = (math.cos(step.pose.angle_rad), math.sin(step.pose.angle_rad))
        assert ahead == pytest.approx(tuple(seen["agent_dir"]), abs=1e-6)
    np.testing.assert_array_equal(world.layout.free, seen["maze_layout"].astype(bool))
    assert [(x + 0.5, y + 0.5) for x, y in world.layout.targets] == [tuple(place) for place in seen["targets_pos"]]
    env.close()


def test_frames_depend_only_on_the_seed(world: MemoryMazeWorld) -> None:
    first = digest(play(world, 5))
    assert digest(play(world, 5)) == first, "kept"
    assert digest(play(world, 6)) != first
    assert digest(play(world, 5)) == first, "rebuilt"


def test_frames_are_the_same_in_another_process_without_a_display(world: MemoryMazeWorld) -> None:
    program = (
        "import tests.worlds.test_memory_maze_engine as t\n"
        "with t.MemoryMazeWorld(t.MemoryMazeConfig()) as world:\n    print(t.digest(t.play(world, 5)))\n"
    )
    variables = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env=variables,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest(play(world, 5))
    assert result.stderr == ""


@pytest.mark.parametrize("cells", [5, 7])
def test_small_and_fixed_mazes_start_at_different_places_in_the_same_maze(cells: int) -> None:
    with MemoryMazeWorld(MemoryMazeConfig(cells=cells, maps=(4,), control_hz=10)) as world:
        first = world.reset(1)
        free = world.layout.free.copy()
        others = [world.reset(seed) for seed in range(2, 8)]
        assert free.shape == (cells, cells) and (world.layout.free == free).all()
        assert len({step.pose for step in (first, *others)}) > 4
        np.testing.assert_array_equal(world.reset(1).frame, first.frame)
        for _ in range(200):  # passes the only target of the smallest maze
            step = world.step(Action.of("forward", turn=float(np.sign(math.sin(world._index)))))
        assert step.pose is not None and 0 < step.pose.x < cells


def test_turn_rate_matches_the_config_and_plus_one_is_left(world: MemoryMazeWorld) -> None:
    world.reset(3)
    world.step(Action.of(turn=1.0))
    angles = [world.step(Action.of(turn=1.0)).pose for _ in range(5)]
    turned = [math.degrees((b.angle_rad - a.angle_rad) % math.tau) for a, b in itertools.pairwise(angles) if a and b]
    assert turned == pytest.approx([world.config.turn_deg] * 4, abs=0.2)


def test_pose_input_shows_the_view_from_that_pose() -> None:
    with MemoryMazeWorld(MemoryMazeConfig(inputs="pose", target_border=False)) as world:
        seen = play(world, 3)
        assert {name for name, _ in seen[0].action.axes} <= {"x", "y", "cos", "sin"} and not seen[9].action.buttons
        world.reset(3)
        for step in (seen[20], seen[5], seen[39]):
            again = world.step(step.action)
            off, far_off = (np.abs(again.frame.astype(int) - s.frame).mean() for s in (step, seen[30]))
            assert off < 2 and off < far_off / 5, "the ball at rest is slightly higher than rolling"
            assert again.pose is not None and step.pose is not None
            assert (again.pose.x, again.pose.y) == pytest.approx((step.pose.x, step.pose.y), abs=1e-6)
        with pytest.raises(ConfigError):
            world.step(Action.of("jump"))
        walked = world.step(Action.of("forward"))
        moved_step = world.step(pose_step(world.action_spec, Action.of("forward", turn=1.0), walked.action))
        assert moved_step.pose is not None and walked.pose is not None
        turned = math.degrees((moved_step.pose.angle_rad - walked.pose.angle_rad) % math.tau)
        assert turned == pytest.approx(18.4, abs=0.01)
        angle_rad = walked.pose.angle_rad + math.radians(9.2)
        moved = moved_step.pose.x - walked.pose.x, moved_step.pose.y - walked.pose.y
        assert moved == pytest.approx((math.cos(angle_rad) / 4, math.sin(angle_rad) / 4), abs=1e-5), (
            "a quarter of a cell"
        )


def test_depth_is_the_distance_ahead(world: MemoryMazeWorld) -> None:
    step = world.reset(3)
    for _ in range(12):
        step = world.step(Action.of("forward"))
    assert step.pose is not None and world.depth.shape == (64, 64)
    ahead = float(world.depth[28:30, 31:33].mean())
    reach = next(
        far
        for far in np.arange(0, 12, 0.02)
        if not _is_free(
            world, step.pose.x + far * math.cos(step.pose.angle_rad), step.pose.y + far * math.sin(step.pose.angle_rad)
        )
    )
    assert ahead == pytest.approx(reach, abs=0.35), "the camera is slightly ahead of the center of the ball"


def _is_free(world: MemoryMazeWorld, x: float, y: float) -> bool:
    cells = world.config.cells
    return 0 <= x < cells and 0 <= y < cells and bool(world.layout.free[int(y), int(x)])
