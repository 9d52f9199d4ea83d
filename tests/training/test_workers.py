"""Episodes of the reference world: depth only adds the depth profile. Needs vizdoom."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.training.config import DataConfig
from worldsim.training.workers import Episode, WorldStream, middle_row_depth, record_episodes
from worldsim.worlds import GroundTruthConfig
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.world import DoomWorld
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.trajectories import collect_trajectory

WORLD = DoomConfig(maps=(1,), grid=(2, 2), landmarks=0)
DATA = DataConfig(episode_frames=12, policy="explore")


def assert_same_but_for_the_depth_profile(plain: Episode, deep: Episode) -> None:
    for name in ("frames", "actions", "pose"):
        np.testing.assert_array_equal(getattr(deep, name), getattr(plain, name), err_msg=name)
    assert not plain.has_depth_profile
    assert deep.depth_profile.shape == plain.depth_profile.shape and np.isfinite(deep.depth_profile).all()
    assert np.ptp(deep.depth_profile, axis=0).min() > 0, "it changes along the path"


def test_a_worker_with_depth_plays_the_same_episodes_with_their_depth_profile() -> None:
    with WorldStream(WORLD, DATA, seed=3, with_depth=True) as stream:
        deep = [stream.get() for _ in range(2)]
    plain = record_episodes(WORLD, [episode.seed for episode in deep], 12, "explore")
    for one, other in zip(plain, deep, strict=True):
        assert_same_but_for_the_depth_profile(one, other)


def test_the_depth_profile_of_a_frame_is_the_depth_seen_with_it() -> None:
    (episode,) = record_episodes(WORLD, [5], 12, "explore", with_depth=True)
    with DoomWorld(WORLD, with_depth=True) as world:
        for num_frames in (1, 7, 12):
            collect_trajectory(world, 5, num_frames, "explore")
            np.testing.assert_array_equal(episode.depth_profile[num_frames - 1], middle_row_depth(world.depth))


@pytest.mark.slow
def test_depth_changes_nothing_in_memory_maze() -> None:
    pytest.importorskip("mujoco")
    config: GroundTruthConfig = MemoryMazeConfig()
    (plain,), (deep,) = (record_episodes(config, [5], 40, "explore", with_depth=flag) for flag in (False, True))
    assert_same_but_for_the_depth_profile(plain, deep)
