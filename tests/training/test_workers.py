"""Episodes of the true world: depth changes nothing but that the horizon is known. Needs vizdoom."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.training.config import DataConfig
from worldsim.training.episode import Episode, at_the_horizon
from worldsim.training.workers import EpisodeStream, play_episodes
from worldsim.worlds.doom.config import DoomConfig
from worldsim.worlds.doom.world import DoomWorld
from worldsim.worlds.memory_maze.config import MemoryMazeConfig
from worldsim.worlds.registry import TrueWorldConfig
from worldsim.worlds.trajectories import walk

WORLD = DoomConfig(maps=(1,), grid=(2, 2), landmarks=0)
DATA = DataConfig(episode_frames=12, script="explore")


def assert_same_but_for_the_horizon(plain: Episode, deep: Episode) -> None:
    for name in ("frames", "actions", "pose"):
        np.testing.assert_array_equal(getattr(deep, name), getattr(plain, name), err_msg=name)
    assert not plain.has_horizon
    assert deep.horizon.shape == plain.horizon.shape and np.isfinite(deep.horizon).all()
    assert np.ptp(deep.horizon, axis=0).min() > 0, "it changes as one walks"


def test_a_worker_with_depth_plays_the_same_episodes_and_knows_their_horizon() -> None:
    with EpisodeStream(WORLD, DATA, seed=3, with_depth=True) as stream:
        deep = [stream.get() for _ in range(2)]
    plain = play_episodes(WORLD, [episode.seed for episode in deep], 12, "explore")
    for one, other in zip(plain, deep, strict=True):
        assert_same_but_for_the_horizon(one, other)


def test_the_horizon_of_a_frame_is_the_depth_seen_with_it() -> None:
    (episode,) = play_episodes(WORLD, [5], 12, "explore", with_depth=True)
    with DoomWorld(WORLD, with_depth=True) as world:
        for num_frames in (1, 7, 12):
            walk(world, 5, num_frames, "explore")
            np.testing.assert_array_equal(episode.horizon[num_frames - 1], at_the_horizon(world.depth))


@pytest.mark.slow
def test_depth_changes_nothing_in_memory_maze_either() -> None:
    pytest.importorskip("mujoco")
    config: TrueWorldConfig = MemoryMazeConfig()
    (plain,), (deep,) = (play_episodes(config, [5], 40, "explore", with_depth=flag) for flag in (False, True))
    assert_same_but_for_the_horizon(plain, deep)
