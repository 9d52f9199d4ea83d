"""Refinement of the estimated pose by a true frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldsim.models.maps.pose_tracking import MapReader, fit_pose, shift_previous
from worldsim.models.pose import heading_rad, move_by

SHAPE = (4, 3, 6)


def look_at(waves: Tensor, weight: float) -> MapReader:
    """A smooth world: waves of place and heading, another in every number of the latent."""

    def look(pose_NP: Tensor) -> tuple[Tensor, Tensor]:
        place = torch.cat((pose_NP[:, :2], heading_rad(pose_NP)[:, None]), -1)
        return torch.sin(place @ waves).unflatten(1, SHAPE), pose_NP.new_tensor(weight)

    return look


def poses(num: int) -> Tensor:
    angle, place = torch.linspace(-3, 3, num, dtype=torch.float64), torch.rand(num, 2, dtype=torch.float64)
    return torch.cat((place, angle.cos()[:, None], angle.sin()[:, None]), -1)


def test_refinement_recovers_the_pose_of_a_frame() -> None:
    torch.manual_seed(0)
    look, true = look_at(torch.randn(3, math.prod(SHAPE), dtype=torch.float64), 10.0), poses(5)
    off = move_by(true, torch.tensor([0.04, -0.03, 0.05], dtype=torch.float64).expand(5, 3))
    for num_steps, most in ((1, 0.01), (3, 0.001)):
        fitted = fit_pose(look, off, look(true)[0], precision=(1.0, 1.0, 1.0), num_steps=num_steps)
        assert (fitted - true).abs().max() < most
    held = fit_pose(look, off, look(true)[0], precision=(1e9, 1e9, 1e9), num_steps=3)
    assert (held - off).abs().max() < 1e-4, "who is sure is not moved"


def test_a_rendering_without_information_does_not_move_the_pose() -> None:
    torch.manual_seed(0)
    look, true = look_at(torch.randn(3, math.prod(SHAPE), dtype=torch.float64), 0.0), poses(3)
    fitted = fit_pose(look, true, torch.randn(3, *SHAPE, dtype=torch.float64), precision=(1.0, 1.0, 1.0), num_steps=2)
    assert torch.allclose(fitted, true)


def test_a_correction_does_not_count_as_speed() -> None:
    now = poses(3)
    before = move_by(now, torch.tensor([-0.02, 0.01, 0.0], dtype=torch.float64).expand(3, 3))
    corrected = move_by(now, torch.tensor([0.3, 0.2, 0.0], dtype=torch.float64).expand(3, 3))
    moved = shift_previous(before, now, corrected)
    assert torch.allclose((corrected - moved)[:, :2], (now - before)[:, :2])
