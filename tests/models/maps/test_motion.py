"""Motion without input: rest is stable and motion decays, for any weights."""

from __future__ import annotations

import torch
from torch import Tensor

from worldsim.models.maps.pose_tracking import TRANSLATION_SCALE, Motion

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
