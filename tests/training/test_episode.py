"""An episode knows how far the walls are, or says that it does not."""

from __future__ import annotations

import numpy as np

from worldsim.training.workers import Episode, middle_row_depth

FRAMES = np.zeros((6, 4, 8, 3), np.uint8)
FLOATS = np.zeros((6, 3), np.float32)


def test_an_episode_without_depth_has_a_depth_profile_of_nan_that_takes_no_memory() -> None:
    episode = Episode(seed=0, frames=FRAMES, actions=FLOATS, pose=FLOATS)
    assert not episode.has_depth_profile and np.isnan(episode.depth_profile).all()
    assert episode.depth_profile.shape == (6, 8) and episode.depth_profile.strides == (0, 0)
    first = episode.first(2)
    assert first.depth_profile.shape == (2, 8) and not first.has_depth_profile


def test_the_beginning_of_an_episode_has_the_depth_profile_of_its_frames() -> None:
    depth_profile = np.arange(48, dtype=np.float32).reshape(6, 8)
    episode = Episode(seed=0, frames=FRAMES, actions=FLOATS, pose=FLOATS, depth_profile=depth_profile)
    assert episode.has_depth_profile
    np.testing.assert_array_equal(episode.first(2).depth_profile, depth_profile[:2])


def test_the_depth_profile_is_the_mean_of_the_two_middle_rows() -> None:
    depth = np.float32([[90, 91], [1, 2], [3, 6], [80, 81]])
    np.testing.assert_array_equal(middle_row_depth(depth), np.float32([2, 4]))
