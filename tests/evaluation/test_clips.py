"""Recorded episodes and the policies that play them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.conftest import TINY_CONFIG
from worldsim.core.images import psnr
from worldsim.core.types import NO_ACTION, Action, ActionSpec, Pose, Step
from worldsim.evaluation.clips import mean_image, record_clips
from worldsim.evaluation.episodes import open_evaluation_world
from worldsim.evaluation.policies import (
    ReturnPolicy,
    StepPolicy,
    explore_policy,
    idle_after,
    nearest_loop,
    random_keys,
    random_keys_after,
    random_keys_policy,
    return_policy,
    spin_policy,
    spin_ticks,
)
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.layout import generate_maze
from worldsim.worlds.doom.world import DoomWorld
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.memory_maze.world import MemoryMazeWorld

TURN_DEG, UNITS_PER_TICK = 10.0, 16.0


class OpenField:
    """A plane without walls. The frame shows the reset seed, the tick and the turn that led to it."""

    action_spec = ActionSpec(buttons=("forward",), axes=("turn",))
    frame_shape = (2, 2, 3)

    def reset(self, seed: int) -> Step:
        self._seed, self._index, self._pose = seed % 256, 0, Pose(x=0.0, y=0.0, angle_rad=0.0)
        return self._observe(NO_ACTION)

    def step(self, action: Action) -> Step:
        angle_rad = self._pose.angle_rad + math.radians(TURN_DEG) * action.axis("turn")
        speed = UNITS_PER_TICK * ("forward" in action.buttons)
        x, y = self._pose.x + speed * math.cos(angle_rad), self._pose.y + speed * math.sin(angle_rad)
        self._pose = Pose(x=x, y=y, angle_rad=angle_rad)
        self._index += 1
        return self._observe(action)

    def close(self) -> None:
        pass

    def _observe(self, action: Action) -> Step:
        frame = np.empty(self.frame_shape, np.uint8)
        frame[:] = (self._seed, self._index, round(100 + 100 * action.axis("turn")))
        return Step(index=self._index, action=action, frame=frame, pose=self._pose)


def test_action_t_led_to_frame_t_and_the_first_is_no_input() -> None:
    turns = [0.0, 0.5, -0.5, 1.0]
    clips = record_clips(OpenField(), lambda seed: lambda step: Action.of(turn=turns[step.index + 1]), (3, 4), 4)
    assert clips.seeds == (3, 4)
    assert clips.frames[:, :, 0, 0, 0].tolist() == [[3] * 4, [4] * 4]
    assert clips.frames[0, :, 0, 0, 1].tolist() == [0, 1, 2, 3]
    assert clips.actions[0].tolist() == [[0.0, turn] for turn in turns]
    assert clips.frames[0, :, 0, 0, 2].tolist() == [100, 150, 50, 200]


def test_recording_reports_progress_for_every_frame() -> None:
    progress: list[int] = []
    record_clips(OpenField(), spin_policy, (1, 2, 3), 5, progress.append)
    assert sum(progress) == 15


def test_the_return_path_ends_where_the_outbound_path_began() -> None:
    field = OpenField()
    walk = iter(
        [Action.of("forward", turn=turn) for turn in [0, 0, 1, 1, 1, 0, 0, 0, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    )
    policy = ReturnPolicy(lambda step: next(walk), 20, TURN_DEG, 30.0)
    step = field.reset(0)
    farthest = 0.0
    poses = []
    for _ in range(1, 60):
        step = field.step(policy(step))
        assert step.pose is not None
        poses.append(step.pose)
        farthest = max(farthest, math.hypot(step.pose.x, step.pose.y))
    assert farthest > 200
    assert min(math.hypot(pose.x, pose.y) for pose in poses[40:]) < 40


def test_the_outbound_policy_is_not_called_on_the_return_path() -> None:
    asked: list[int] = []

    def lead(step: Step) -> Action:
        asked.append(step.index)
        return Action.of("forward")

    record_clips(OpenField(), lambda seed: ReturnPolicy(lead, 10, TURN_DEG, 30.0), (0,), 40)
    assert asked == list(range(9)), "frames 1 to 9 are outbound, frame 10 is the first of the return"


def test_spins_go_both_ways_and_a_full_turn_is_36_ticks_of_10_degrees() -> None:
    assert spin_ticks(10.0) == 36
    clips = record_clips(OpenField(), spin_policy, (900_000, 900_001), 3)
    assert clips.actions[:, 1, 1].tolist() == [1.0, -1.0]


def test_the_mean_image_is_the_mean_over_all_episodes() -> None:
    frames = np.zeros((2, 8, 2, 2, 3), np.uint8)
    frames[0] = 100
    frames[1] = 201
    assert (mean_image(frames) == 150).all()  # 150.5 rounds to even


def test_pose_and_depth_are_kept_beside_the_frames() -> None:
    field = OpenField()
    clips = record_clips(field, spin_policy, (0, 1), 4, read_depth=lambda: np.full((1, 2), field._index, np.float32))
    assert clips.pose_depth is not None
    assert clips.pose_depth.pose[0, :, 2] == pytest.approx(np.radians([0, 10, 20, 30]))
    assert clips.pose_depth.depth[1, :, 0, 1].tolist() == [0, 1, 2, 3]
    first = clips.first(2)
    assert (
        first.pose_depth is not None
        and first.pose_depth.pose.shape == (2, 2, 3)
        and first.pose_depth.depth.shape == (2, 2, 1, 2)
    )


def test_random_keys_and_idling_begin_where_the_lead_policy_ends() -> None:
    spec = ActionSpec(buttons=("forward",), axes=("turn",))
    lead = Action.of("forward", turn=0.5)
    frames = [Step(index=i, action=NO_ACTION, frame=np.zeros((1, 1, 3), np.uint8)) for i in range(6)]
    still = idle_after(lambda step: lead, 3)
    assert [still(step) for step in frames] == [lead, lead] + [NO_ACTION] * 4
    keys = random_keys_after(lambda step: lead, 3, spec, 7)
    expected = random_keys(spec, 7)
    assert [keys(step) for step in frames] == [lead, lead] + [next(expected) for _ in range(4)]


def test_random_keys_hold_every_input_and_follow_from_the_seed() -> None:
    spec = ActionSpec(buttons=("forward", "back"), axes=("turn",))
    keys = random_keys(spec, 1)
    actions = [next(keys) for _ in range(600)]
    assert {frozenset(a.buttons) for a in actions} == {frozenset(), frozenset({"forward"}), frozenset({"back"})}
    assert {a.axis("turn") for a in actions} == {-1.0, 0.0, 1.0}
    changes = sum(a != b for a, b in itertools.pairwise(actions))
    assert 600 / 14 * 0.5 < changes < 600 / 6
    again = random_keys_policy(spec)(1)
    step = Step(index=5, action=NO_ACTION, frame=np.zeros((1, 1, 3), np.uint8))
    assert [again(step) for _ in range(20)] == actions[:20]
    other = random_keys_policy(spec)(2)
    assert [other(step) for _ in range(20)] != actions[:20]


def test_a_loop_is_a_closed_path_without_repeated_cells_and_a_tree_has_none() -> None:
    for seed in range(5):
        maze = generate_maze(DoomConfig(), seed)
        loop = nearest_loop(maze, (0, 0))
        assert loop and len(loop) == len(set(loop)) >= 4
        assert all(b in maze.neighbors(a) for a, b in itertools.pairwise([*loop, loop[0]]))
        assert len(maze.path((0, 0), loop[0])) == min(len(maze.path((0, 0), cell)) for cell in loop)
    assert nearest_loop(generate_maze(DoomConfig(openness=0.0), 0), (0, 0)) is None


def test_in_the_reference_world_the_return_path_and_a_loop_revisit_the_same_rooms() -> None:
    places: list[tuple[float, float]] = []

    def watched(policy: StepPolicy) -> StepPolicy:
        def act(step: Step) -> Action:
            assert step.pose is not None
            places.append((step.pose.x, step.pose.y))
            return policy(step)

        return act

    with DoomWorld(DoomConfig(maps=(1,))) as world:
        record_clips(world, lambda seed: watched(return_policy(world, 128)(seed)), (900_003,), 128)
    out, back = np.array(places[:63]), np.array(places[82:])
    distance = np.sqrt(((back[:, None] - out[None]) ** 2).sum(-1)).min(axis=1)
    assert distance.mean() < 40, f"strayed {distance.mean():.0f} units on average"
    assert np.ptp(back, axis=0).max() > 100, "it never moved"

    places.clear()
    with open_evaluation_world(TINY_CONFIG) as truth:
        seeds = truth.seeds_with_loop((900_000, 900_001))
        lap = truth.loop_policy()
        record_clips(truth.world, lambda seed: watched(lap(seed)), seeds[:1], 320)
    first, second = np.array(places[40:160]), np.array(places[160:])
    distance = np.sqrt(((second[:, None] - first[None]) ** 2).sum(-1)).min(axis=1)
    assert seeds == (900_000, 900_001)
    assert np.ptp(first, axis=0).min() > 100, "round something"
    assert distance.mean() < 40


def test_the_return_policy_works_with_a_gliding_ball() -> None:
    pytest.importorskip("memory_maze")
    places: list[tuple[float, float]] = []
    with MemoryMazeWorld(MemoryMazeConfig(maps=(1,), cells=7)) as world:

        def watched(step: Step) -> Action:
            assert step.pose is not None
            places.append((step.pose.x, step.pose.y))
            return policy(step)

        step = world.reset(900_000)
        policy = return_policy(world, 120)(900_000)
        for _ in range(119):
            step = world.step(watched(step))
    out, back = np.array(places[:59]), np.array(places[70:])
    distance = np.sqrt(((back[:, None] - out[None]) ** 2).sum(-1))
    assert distance.min(axis=1).mean() < 0.2, "cells"
    assert distance[-1].argmin() < 25, "the last frames are near the beginning"


def test_explore_policies_differ_by_seed() -> None:
    with DoomWorld(DoomConfig(maps=(1,))) as world:
        walks = record_clips(world, explore_policy(world), (900_000, 900_001), 12)
    assert (walks.actions[0] != walks.actions[1]).any()
    assert psnr(walks.frames[0, -1], walks.frames[1, -1]) < 40
