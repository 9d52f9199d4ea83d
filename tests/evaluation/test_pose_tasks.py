"""Tasks that put the camera where it was before: the context in reverse order, and a tour of views."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tests.evaluation.stubs import ScrollModel, StillModel, scroll_clips, stub_preset
from tests.worlds.test_memory_maze import PLAN
from worldsim.core.errors import ConfigError, UsageError
from worldsim.core.types import NO_ACTION, Pose, Step
from worldsim.evaluation.clips import Clips, PoseDepth
from worldsim.evaluation.config import EvalConfig
from worldsim.evaluation.evaluator import Evaluator
from worldsim.evaluation.policies import tour_policy
from worldsim.evaluation.scores import REVERSE_BINS, reverse_score
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.memory_maze.world import MemoryMazeWorld, pose_action, pose_from_action

FRAME = np.zeros((4, 4, 3), np.uint8)


def tour_poses(seed: int, num_views: int = 24) -> list[Pose]:
    policy = tour_policy(lambda: PLAN, num_views, lambda pose: pose_action(pose, 6))(seed)
    steps = (Step(index=t, action=NO_ACTION, frame=FRAME) for t in range(2 * num_views))
    return [pose_from_action(policy(step), 6) for step in steps]


def key(pose: Pose) -> tuple[float, float, int]:
    return round(pose.x, 3), round(pose.y, 3), round(pose.angle_rad / (math.pi / 2)) % 4


def test_a_tour_shows_four_headings_of_each_place_and_then_the_same_views_in_another_order() -> None:
    views = [key(pose) for pose in tour_poses(seed=3)]
    first, again = views[:24], views[24:]
    assert len(set(first)) == 24 and Counter(first) == Counter(again) and first != again
    places = Counter((x, y) for x, y, _ in first)
    assert set(places.values()) == {4} and len(places) == 6
    assert {PLAN.cell_at(x, y) for x, y in places} <= set(PLAN.cells)


def test_a_tour_follows_its_seed_and_its_length_is_checked() -> None:
    assert tour_poses(seed=3) == tour_poses(seed=3) != tour_poses(seed=4)
    with pytest.raises(UsageError, match="tour_views is 6"):
        EvalConfig(seeds=(900_000,), tour_views=6)


def test_only_a_world_with_poses_as_inputs_has_an_action_to_a_pose() -> None:
    pose = Pose(x=2.5, y=3.5, angle_rad=1.0)
    action = MemoryMazeWorld(MemoryMazeConfig(inputs="pose")).action_to(pose)
    assert pose_from_action(action, 9).x == pytest.approx(2.5)
    with pytest.raises(ConfigError, match="no action"):
        MemoryMazeWorld(MemoryMazeConfig()).action_to(pose)


def test_a_reversed_episode_comes_back_to_its_first_frame_with_the_same_inputs() -> None:
    clips = scroll_clips(num_frames=5)
    pose = np.arange(3 * 5 * 3, dtype=np.float64).reshape(3, 5, 3)
    depth = np.arange(3 * 5, dtype=np.float32).reshape(3, 5, 1, 1)
    clips = Clips(
        seeds=clips.seeds, frames=clips.frames, actions=clips.actions, pose_depth=PoseDepth(pose=pose, depth=depth)
    )
    both = clips.with_reverse()
    assert both.frames.shape[1] == 9 and both.pose_depth is not None
    for t in range(9):
        source = min(t, 8 - t)
        assert np.array_equal(both.frames[:, t], clips.frames[:, source])
        assert np.array_equal(both.actions[:, t], clips.actions[:, source])
        assert np.array_equal(both.pose_depth.pose[:, t], pose[:, source])
        assert np.array_equal(both.pose_depth.depth[:, t], depth[:, source])


def test_the_reverse_task_is_scored_by_distance_to_the_frame_that_is_repeated() -> None:
    clips = scroll_clips(num_frames=12).with_reverse()
    result = Evaluator(stub_preset(StillModel()), mean_image=clips.frames[0, 0]).compare(
        clips, num_context=12, recall=True
    )
    score = reverse_score(result)
    assert score.frames == 11 and len(score.by_distance) == REVERSE_BINS
    distances = [part.distance for part in score.by_distance]
    assert distances == sorted(set(distances)) and distances[-1] == 22
    assert all(part.psnr <= part.psnr_autoencoder for part in score.by_distance)
    sizes = np.diff([0, *distances]) / 2
    mean = float(np.average([part.psnr for part in score.by_distance], weights=sizes))
    assert mean == pytest.approx(score.psnr)
    recall = float(np.average([part.psnr_recall for part in score.by_distance], weights=sizes))
    assert recall == pytest.approx(score.psnr_recall)


def test_recall_reads_every_frame_from_the_state_after_the_context() -> None:
    """A model that rolls its last frame adds up the actions in a rollout; recall knows the frame's own action only."""
    clips = scroll_clips(num_frames=8)
    evaluator = Evaluator(stub_preset(ScrollModel()), mean_image=clips.frames[0, 0])
    result = evaluator.compare(clips, num_context=4, recall=True)
    assert result.recalled is not None
    last = evaluator.decode(evaluator.encode_frames(clips.frames[:, 3:4]))[:, 0]
    for t in range(4):
        for row, frame in enumerate(last):
            rolled = np.roll(frame, int(clips.actions[row, 4 + t, 0]), axis=1)
            assert np.array_equal(result.recalled[row, t], rolled)
    assert np.array_equal(result.generated[:, 0], result.recalled[:, 0])
    assert not np.array_equal(result.generated[:, 1], result.recalled[:, 1])
