"""The camera that keys move: closed paths and turns, edges, heading inputs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from worldsim.actions.pose_control import key_spec, pose_step
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.world import pose_action, pose_from_action
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.recorded import RecordedWorldConfig

DOOM = DoomConfig(maps=(1,), inputs="pose", turn_deg=15.0)
MAZE = MemoryMazeConfig(inputs="pose")
RECORDED = RecordedWorldConfig(axes=("x", "y", "cos", "sin", "height"), frame_height_px=48, frame_width_px=64)
SPECS = [config.action_spec for config in (DOOM, MAZE, RECORDED)]
OPPOSITE = {"forward": "back", "back": "forward", "left": "right", "right": "left"}


def at(spec: ActionSpec, x: float, y: float, angle_deg: float) -> Action:
    """A pose with all heading inputs, by turning from a pose that looks along x."""
    angle_rad = math.radians(angle_deg)
    headings = {
        name: function(octave * angle_rad)
        for octave, suffix in ((1, ""), (2, "2"), (4, "4"))
        for function, name in ((math.cos, f"cos{suffix}"), (math.sin, f"sin{suffix}"))
    }
    return Action.of(x=x, y=y, **{name: value for name, value in headings.items() if name in spec.axes})


def assert_near(found: Action, expected: Action, spec: ActionSpec, by: float = 2e-6) -> None:
    for name in spec.axes:
        assert found.axis(name) == pytest.approx(expected.axis(name), abs=by), name


def pose_steps(spec: ActionSpec, actions: Iterable[Action], newest: Action) -> list[Action]:
    """`pose_step` for a sequence of actions, starting at pose `newest`."""
    found: list[Action] = []
    for action in actions:
        newest = pose_step(spec, action, newest)
        found.append(newest)
    return found


def mirrored(action: Action) -> Action:
    """The opposite keys, in reverse order."""
    turn = -action.axis("turn")
    return Action.of(*(OPPOSITE[name] for name in action.buttons), turn=turn)


@pytest.mark.parametrize("spec", SPECS)
def test_opposite_keys_return_to_the_start(spec: ActionSpec) -> None:
    rng = random.Random(1)
    start = at(spec, 0.1, -0.2, 70)
    keys = ["forward", "back", "left", "right"]
    out = [Action.of(*rng.sample(keys, rng.randint(0, 2)), turn=rng.choice((-1, 0, 0.3, 1))) for _ in range(12)]
    there = pose_steps(spec, out, start)
    assert math.dist((there[-1].axis("x"), there[-1].axis("y")), (0.1, -0.2)) > 0.05, "did not move"
    assert_near(pose_steps(spec, map(mirrored, reversed(out)), there[-1])[-1], start, spec)


@pytest.mark.parametrize("spec", SPECS)
def test_four_quarter_turns_close_and_moving_does_not_turn(spec: ActionSpec) -> None:
    assert spec.pose_control is not None
    start, quarter = at(spec, 0.3, 0.4, 20), math.radians(90) / spec.pose_control.turn_rad
    whole, part = divmod(quarter, 1)
    turns = [*[Action.of(turn=1.0)] * int(whole), Action.of(turn=part)]
    poses = pose_steps(spec, turns * 4, start)
    for number, angle_deg in enumerate((110, 200, 290, 380), start=1):
        assert_near(poses[number * len(turns) - 1], at(spec, 0.3, 0.4, angle_deg), spec)
    moved = pose_step(spec, Action.of("left"), start)
    assert {n: v for n, v in moved.axes if n not in "xy"} == pytest.approx(
        {n: v for n, v in start.axes if n not in "xy"}, abs=1e-7
    )


@pytest.mark.parametrize(
    ("keys", "x", "y"),
    [
        (("forward",), 0, 1),
        (("back",), 0, -1),
        (("left",), -1, 0),
        (("right",), 1, 0),
        (("forward", "right"), math.sqrt(0.5), math.sqrt(0.5)),
        (("forward", "back"), 0, 0),
    ],
)
def test_every_direction_moves_one_step_in_camera_frame(keys: tuple[str, ...], x: float, y: float) -> None:
    spec = MAZE.action_spec
    assert spec.pose_control is not None
    step = spec.pose_control.step_length
    assert_near(pose_step(spec, Action.of(*keys), at(spec, 0, 0, 90)), at(spec, x * step, y * step, 90), spec)


def test_fractional_turn_turns_left_in_proportion() -> None:
    spec = DOOM.action_spec
    assert_near(pose_step(spec, Action.of(turn=0.4), at(spec, 0, 0, 10)), at(spec, 0, 0, 16), spec)


def test_motion_slides_along_the_edge_and_stays_in_range() -> None:
    spec = MAZE.action_spec
    poses = pose_steps(spec, [Action.of("forward")] * 200, at(spec, 0.9, 0.0, 30))
    assert (poses[-1].axis("x"), poses[-1].axis("y")) == (1.0, 1.0)
    assert poses[5].axis("x") == 1.0 and 0 < poses[4].axis("y") < poses[5].axis("y") < 1.0


@pytest.mark.parametrize("spec", SPECS)
def test_standing_still_repeats_the_action_bit_for_bit(spec: ActionSpec) -> None:
    pose = pose_steps(spec, [Action.of("forward", turn=0.7), Action.of("left")], at(spec, 0.1, 0.2, 33))[-1]
    assert pose_step(spec, NO_ACTION, pose) == pose
    stored = spec.decode(spec.encode(pose))
    assert stored == pose
    assert pose_step(spec, Action.of("back", turn=-1.0), stored) == pose_step(spec, Action.of("back", turn=-1.0), pose)


@pytest.mark.parametrize("spec", SPECS)
def test_pose_actions_pass_through_and_missing_pose_starts_at_center(spec: ActionSpec) -> None:
    pose = at(spec, 0.5, 0.5, 45)
    assert pose_step(spec, pose, at(spec, 0, 0, 0)) is pose
    assert_near(pose_step(spec, NO_ACTION, NO_ACTION), at(spec, 0, 0, 0), spec)


def test_worlds_without_pose_control_get_actions_unchanged() -> None:
    spec = DoomConfig(maps=(1,)).action_spec
    action = Action.of("forward", turn=0.5)
    assert key_spec(spec) is spec and pose_step(spec, action, NO_ACTION) is action


def test_doom_heading_inputs_agree_and_decode_to_the_same_pose() -> None:
    spec = DOOM.action_spec
    start = Pose(x=300.0, y=200.0, angle_rad=1.0)
    action = pose_steps(spec, [Action.of("forward", turn=1.0)] * 9, at(spec, 0, 0, 0))[-1]
    pose = pose_from_action(action, start, extent_units=DOOM.extent_units)
    assert_near(pose_action(pose, start, extent_units=DOOM.extent_units), action, spec, by=1e-5)
    assert math.degrees(pose.angle_rad - start.angle_rad) % 360 == pytest.approx(9 * 15, abs=1e-3)


def test_free_camera_speed_equals_walking_speed() -> None:
    doom, maze = DOOM.action_spec.pose_control, MAZE.action_spec.pose_control
    assert doom is not None and maze is not None
    assert doom.step_length * DOOM.extent_units == pytest.approx(16.6), "map units per tick of two tics"
    assert (maze.step_length * 9 / 2, math.degrees(maze.turn_rad)) == pytest.approx((0.25, 18.4)), "cells and degrees"
