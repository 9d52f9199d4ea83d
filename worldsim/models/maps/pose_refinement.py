"""Gauss-Newton refinement of the estimated pose, so that the map's rendering matches a true frame.

Only true frames may correct a pose: generated ones were rendered at the estimated pose and carry no information about
it.
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
"""Poses [N, P], those of a batch row adjacent -> the rendering [N, C, H, W], and the precision of its values (one over
the variance; any shape that broadcasts with it)."""

FINITE_DIFFERENCE_STEP = 0.01
"""Step of the finite differences, in scaled units and in radians."""
MAX_STEP = 0.1
"""Largest step, in scaled units and in radians: the linearization holds only locally."""


def fit_pose(
    look: MapReader, start_BP: Tensor, latent_BCHW: Tensor, *, precision: tuple[float, float, float], num_steps: int
) -> Tensor:
    """Gauss-Newton steps on the rendering error, with a prior at the start: `precision` of x, y and heading.

    Shapes: returns [B, P].
    """
    probe_33 = FINITE_DIFFERENCE_STEP * torch.eye(3, dtype=start_BP.dtype, device=start_BP.device)
    prior_33 = torch.diag(start_BP.new_tensor(precision))
    pose_BP, moved_B3 = start_BP, torch.zeros_like(start_BP[:, :3])
    for _ in range(num_steps):
        nearby = [pose_BP, *(move_by(pose_BP, step.expand(len(pose_BP), 3)) for step in probe_33)]
        rendered, weight = look(torch.stack(nearby, 1).flatten(0, 1))
        rendered_B4L = rendered.flatten(1).unflatten(0, (-1, 4))
        weight_BL = weight.expand_as(rendered).flatten(1).unflatten(0, (-1, 4))[:, 0]
        here_BL = rendered_B4L[:, 0]
        slope_B3L = (rendered_B4L[:, 1:] - here_BL[:, None]) / FINITE_DIFFERENCE_STEP
        weighted_B3L = slope_B3L * weight_BL[:, None]
        error_BL1 = (latent_BCHW.flatten(1) - here_BL)[..., None]
        normal_B33 = weighted_B3L @ slope_B3L.transpose(1, 2) + prior_33
        gradient_B31 = weighted_B3L @ error_BL1 - prior_33 @ moved_B3[..., None]
        step_B3 = torch.linalg.solve(normal_B33, gradient_B31)[..., 0]
        moved_B3 = moved_B3 + step_B3.clamp(-MAX_STEP, MAX_STEP)
        pose_BP = move_by(start_BP, moved_B3)
    return pose_BP


def shift_previous(previous_BP: Tensor, pose_BP: Tensor, corrected_BP: Tensor) -> Tensor:
    """The previous pose, shifted by a correction of the pose, so that the correction does not count as speed."""
    return unit_heading(previous_BP + corrected_BP - pose_BP)
