"""Motion without input: rest is stable and motion decays, for any weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldsim.models.maps.pose_tracking import TRANSLATION_SCALE, Motion, stop_at_walls

ACTIONS = 3


def motion(bias: float) -> Motion:
    """One that always creeps: what a network learns is never quite zero."""
    torch.manual_seed(0)
    made = Motion(2, ACTIONS, 16).double()
    with torch.no_grad():
        made.linear.weight.mul_(0.0)
        made.linear.weight[:, :3] = 0.5 * torch.eye(3)  # half of the speed is left after a tick
        made.linear.bias.fill_(bias)
    return made


@torch.no_grad()
def walk(made: Motion, speed: float, num_ticks: int) -> tuple[Tensor, Tensor]:
    """Nothing is done. Returns the last two poses."""
    previous = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    now = previous + torch.tensor([[speed * TRANSLATION_SCALE, 0.0, 0.0, 0.0]], dtype=torch.float64)
    nothing, around = torch.zeros(1, ACTIONS, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    for _ in range(num_ticks):
        previous, now = now, made.step(now, previous, nothing, around)
    return previous, now


def test_without_input_a_pose_at_rest_never_changes() -> None:
    _, now = walk(motion(bias=0.01), 0.0, 1000)
    assert torch.equal(now, torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64))


def test_motion_decays_to_rest_without_input() -> None:
    made = motion(bias=0.01)
    _, after_one = walk(made, 1.0, 1)
    assert (after_one[0, 0] / TRANSLATION_SCALE - 1.51).abs() < 1e-6, "as learned, while it moves"
    before, after = walk(made, 1.0, 200)
    assert torch.allclose(before, after, atol=1e-9)


def test_a_key_moves_from_rest() -> None:
    made = motion(bias=0.0)
    with torch.no_grad():
        made.linear.weight[0, 3] = 1.0
    rest = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    pressed, around = torch.eye(1, ACTIONS, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    with torch.no_grad():
        assert (made.step(rest, rest, pressed, around)[0, 0] - TRANSLATION_SCALE).abs() < 1e-9


def pose(x: float, y: float, angle: float = 0.0) -> Tensor:
    return torch.tensor([[x, y, math.cos(angle), math.sin(angle)]])


def wall_to_the_east(position_BK2: Tensor) -> Tensor:
    return (position_BK2[..., 0] > 1.0).float()


def test_a_wall_stops_the_motion_into_it_but_not_along_it() -> None:
    stopped = stop_at_walls(wall_to_the_east, pose(0.95, 0.0), pose(1.05, 0.0, 0.3))
    assert torch.equal(stopped[:, :2], pose(0.95, 0.0)[:, :2])
    assert torch.equal(stopped[:, 2:], pose(0.0, 0.0, 0.3)[:, 2:]), "turning is free"
    slid = stop_at_walls(wall_to_the_east, pose(0.95, 0.0), pose(1.05, 0.08))
    assert torch.equal(slid[:, :2], pose(0.95, 0.08)[:, :2])


def test_free_motion_is_unchanged_and_a_wall_can_be_left() -> None:
    free = pose(0.5, 0.1, 1.0)
    assert torch.equal(stop_at_walls(wall_to_the_east, pose(0.4, 0.0), free), free)
    assert torch.equal(stop_at_walls(wall_to_the_east, pose(1.1, 0.0), pose(0.95, 0.0)), pose(0.95, 0.0))


def test_each_row_is_stopped_on_its_own() -> None:
    here, there = torch.cat((pose(0.95, 0.0), pose(0.0, 0.0))), torch.cat((pose(1.05, 0.0), pose(0.1, 0.0)))
    stopped = stop_at_walls(wall_to_the_east, here, there)
    assert torch.equal(stopped, torch.cat((pose(0.95, 0.0), pose(0.1, 0.0))))


def test_a_camera_with_a_radius_keeps_its_distance_and_can_leave() -> None:
    near = stop_at_walls(wall_to_the_east, pose(0.85, 0.0), pose(0.95, 0.05), radius=0.1)
    assert torch.equal(near, pose(0.85, 0.05)), "it slides"
    assert torch.equal(stop_at_walls(wall_to_the_east, pose(0.7, 0.0), pose(0.8, 0.0), radius=0.1), pose(0.8, 0.0))
    back = pose(0.9, 0.0)
    assert torch.equal(stop_at_walls(wall_to_the_east, pose(0.97, 0.0), back, radius=0.1), back)
