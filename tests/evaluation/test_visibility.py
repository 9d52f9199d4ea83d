"""Visibility masks of walls with known depth, and of a turn on the spot in the reference world."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.conftest import TINY_CONFIG
from worldsim.evaluation.clips import record_clips
from worldsim.evaluation.episodes import open_evaluation_world
from worldsim.evaluation.policies import spin_policy
from worldsim.evaluation.visibility import Camera, has_returned, visibility_masks

CAMERA = Camera(height_px=48, width_px=64, fov_deg=90.0, cell_units=192)
SHAPE = CAMERA.subsample(np.zeros((48, 64))).shape


def wall(depth: float) -> np.ndarray:  # type: ignore[type-arg]
    """A wall seen from the front that fills the image."""
    return np.full(SHAPE, depth, np.float32)


def shown(
    pose: tuple[float, float, float], depth: float, before: tuple[float, float, float], depth_before: float
) -> np.ndarray:  # type: ignore[type-arg]
    """Whether the previous frame showed the points of this one, [h, w]."""
    points = CAMERA.points(np.array(pose), wall(depth))
    return CAMERA.sees(points, np.array([before]), wall(depth_before)[None]).reshape(SHAPE)


def test_the_grid_covers_the_frame() -> None:
    assert SHAPE == (24, 32) and CAMERA.stride == 2
    assert CAMERA.upsample(np.zeros((3, *SHAPE), bool)).shape == (3, 48, 64)
    assert Camera(height_px=60, width_px=80, fov_deg=90.0, cell_units=1).stride == 2
    assert Camera(height_px=12, width_px=16, fov_deg=90.0, cell_units=1).stride == 1


def test_a_frame_shows_what_the_same_frame_showed() -> None:
    assert shown((5.0, 7.0, 0.3), 100.0, (5.0, 7.0, 0.3), 100.0).all()


def test_points_behind_the_camera_are_not_visible() -> None:
    assert not shown((0.0, 0.0, 0.0), 100.0, (0.0, 0.0, math.pi), 100.0).any()


def test_from_half_the_distance_the_middle_half_was_seen() -> None:
    seen = shown((0.0, 0.0, 0.0), 100.0, (50.0, 0.0, 0.0), 50.0)
    assert seen[6:18, 8:24].all()
    assert not seen[:6].any() and not seen[18:].any() and not seen[:, :8].any() and not seen[:, 24:].any()


def test_a_nearer_surface_occludes_what_is_behind_it() -> None:
    assert not shown((0.0, 0.0, 0.0), 300.0, (0.0, 0.0, 0.0), 100.0).any()
    assert not shown((0.0, 0.0, 0.0), 100.0, (0.0, 0.0, 0.0), 300.0).any(), "nor was it visible before"


@pytest.mark.parametrize(
    ("point", "row", "column"),
    [((100.0, 47.0, -1.0), 12, 8), ((100.0, -52.0, -1.0), 12, 24), ((100.0, -1.0, 47.0), 4, 16)],
)
def test_left_is_left_and_up_is_up(point: tuple[float, float, float], row: int, column: int) -> None:
    """Half of the image width is 100 units at a distance of 100."""
    only_there = np.zeros((1, *SHAPE), np.float32)
    only_there[0, row, column] = 100.0
    assert CAMERA.sees(np.array(point)[:, None], np.zeros((1, 3)), only_there).all()


def test_a_turn_to_the_left_moves_things_to_the_right() -> None:
    turned = np.array([[0.0, 0.0, math.radians(30)]])
    only_right = np.zeros((1, *SHAPE), np.float32)
    only_right[0, :, 16:] = 100.0 * math.cos(math.radians(30))
    assert CAMERA.sees(np.array([[100.0], [0.0], [0.0]]), turned, only_right).all()


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ("vv....|", True),  # seen, out of view for 4 frames, in view now
        ("vv...|", False),  # not gone for long enough
        ("v....v|", False),  # came back within the context: a true frame shows it
        ("v....v|..", False),
        ("v....|v.", True),  # came back just after the context
        ("......|", False),  # never seen
        ("......|v....", False),  # not in the context: nothing to remember
        ("v.....|....", True),
        ("vvvvvv|vv", False),  # never left
    ],
)
def test_a_place_returns_when_it_left_the_view_and_came_back(sequence: str, expected: bool) -> None:
    """v in view, . out of it, | the end of the context; the place is in view in the frame after the last."""
    context, generated = sequence.split("|")
    shown_SN = np.array([[c == "v"] for c in context + generated])
    assert has_returned(shown_SN, len(context), gone_frames=4).tolist() == [expected]


def test_in_a_second_turn_nothing_is_new_and_nearly_everything_returned() -> None:
    with open_evaluation_world(TINY_CONFIG) as truth:
        clips = record_clips(truth.world, spin_policy, (900_000,), 73, read_depth=truth.read_depth)
        camera = truth.camera
    assert clips.pose_depth is not None
    pose, depth = clips.pose_depth.pose[0], clips.pose_depth.depth[0]
    turned = visibility_masks(camera, pose, depth, num_context=37, gone_frames=8)
    assert turned.returned.shape == (36, 48, 64)
    assert turned.never_seen.mean() < 0.03
    assert turned.returned.mean() > 0.8
    start = visibility_masks(camera, pose[:19], depth[:19], num_context=1, gone_frames=8)
    assert not start.returned.any(), "half a turn brings nothing back"
    assert start.never_seen[0].mean() < 0.35 and start.never_seen[-1].mean() > 0.98
