"""An episode knows how far the walls are, or says that it does not."""

from __future__ import annotations

import numpy as np

from worldsim.training.episode import Episode, at_the_horizon

FRAMES = np.zeros((6, 4, 8, 3), np.uint8)
FLOATS = np.zeros((6, 3), np.float32)


def test_an_episode_without_depth_has_a_horizon_of_nan_that_takes_no_memory() -> None:
    episode = Episode(seed=0, frames=FRAMES, actions=FLOATS, pose=FLOATS)
    assert not episode.has_horizon and np.isnan(episode.horizon).all()
    assert episode.horizon.shape == (6, 8) and episode.horizon.strides == (0, 0)
    first = episode.first(2)
    assert first.horizon.shape == (2, 8) and not first.has_horizon


def test_the_beginning_of_an_episode_has_the_horizon_of_its_frames() -> None:
    horizon = np.arange(48, dtype=np.float32).reshape(6, 8)
    episode = Episode(seed=0, frames=FRAMES, actions=FLOATS, pose=FLOATS, horizon=horizon)
    assert episode.has_horizon
    np.testing.assert_array_equal(episode.first(2).horizon, horizon[:2])


def test_the_horizon_is_the_mean_of_the_two_middle_rows() -> None:
    depth = np.float32([[90, 91], [1, 2], [3, 6], [80, 81]])
    np.testing.assert_array_equal(at_the_horizon(depth), np.float32([2, 4]))
