"""Where was a true frame seen from? An estimated pose, drawn to where the map looks more like that frame.

Owns: the fit, and what it does to a belief. Does not own: the map that is asked, which frames may correct (those of the
model never: they were drawn from the estimated pose, and hold no news of it).
Source: Gauss-Newton with a prior, as in iterated extended Kalman filters (Thrun et al. 2005, "Probabilistic Robotics",
section 3.3). Letters: B batch, P pose size, C H W of the latent, L its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from worldsim.models.pose import move_by, unit_heading

MapReader: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Poses [N, P], those of a batch row together -> what is recalled there [N, C, H, W], and how much each of its numbers
tells (one over a variance; any shape that goes with it)."""

FINITE_DIFFERENCE_STEP = 0.01
"""Scaled units, and radians, over which the slope of recall is measured."""
MAX_STEP = 0.1
"""A step goes no further, of scaled units and of radians: recall is a line only near by."""


def fit_pose(
    look: MapReader, start_BP: Tensor, latent_BCHW: Tensor, *, precision: tuple[float, float, float], num_steps: int
) -> Tensor:
    """Gauss-Newton steps on the misfit, held to the start by `precision`, one over the variances of x, y and heading.

    Shapes: returns [B, P].
    """
    probe_33 = FINITE_DIFFERENCE_STEP * torch.eye(3, dtype=start_BP.dtype, device=start_BP.device)
    belief_33 = torch.diag(start_BP.new_tensor(precision))
    pose_BP, moved_B3 = start_BP, torch.zeros_like(start_BP[:, :3])
    for _ in range(num_steps):
        beside = [pose_BP, *(move_by(pose_BP, step.expand(len(pose_BP), 3)) for step in probe_33)]
        recalled, weight = look(torch.stack(beside, 1).flatten(0, 1))
        recalled_B4L = recalled.flatten(1).unflatten(0, (-1, 4))
        weight_BL = weight.expand_as(recalled).flatten(1).unflatten(0, (-1, 4))[:, 0]
        here_BL = recalled_B4L[:, 0]
        slope_B3L = (recalled_B4L[:, 1:] - here_BL[:, None]) / FINITE_DIFFERENCE_STEP
        told_B3L = slope_B3L * weight_BL[:, None]
        error_BL1 = (latent_BCHW.flatten(1) - here_BL)[..., None]
        normal_B33 = told_B3L @ slope_B3L.transpose(1, 2) + belief_33
        pull_B31 = told_B3L @ error_BL1 - belief_33 @ moved_B3[..., None]
        step_B3 = torch.linalg.solve(normal_B33, pull_B31)[..., 0]
        moved_B3 = moved_B3 + step_B3.clamp(-MAX_STEP, MAX_STEP)
        pose_BP = move_by(start_BP, moved_B3)
    return pose_BP


def shift_previous(previous_BP: Tensor, pose_BP: Tensor, corrected_BP: Tensor) -> Tensor:
    """The pose before, where the pose was corrected: the jump is no speed."""
    return unit_heading(previous_BP + corrected_BP - pose_BP)
