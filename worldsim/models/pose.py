"""Poses as the networks see them: (x, y, cos, sin), x and y scaled so that a fixed map lies in [-1, 1].

Letters: B batch, P pose size (4).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

POSE_SIZE = 4
POSITION_OCTAVES = 6
ANGLE_HARMONICS = (1, 2, 3, 4, 6, 8, 12, 16)
FEATURE_SIZE = 2 + 4 * POSITION_OCTAVES + 2 * len(ANGLE_HARMONICS)


def unit_heading(pose_BP: Tensor) -> Tensor:
    """The same pose with a heading of length one."""
    return torch.cat((pose_BP[..., :2], F.normalize(pose_BP[..., 2:], dim=-1)), -1)


def heading_rad(pose_BP: Tensor) -> Tensor:
    """Shapes: [..., P] -> [...]; from -pi to pi."""
    return torch.atan2(pose_BP[..., 3], pose_BP[..., 2])


def pose_features(pose_BP: Tensor) -> Tensor:
    """Octaves of the position and harmonics of the heading. Shapes: [B, P] -> [B, FEATURE_SIZE]."""
    xy_B2, angle_B1 = pose_BP[..., :2], heading_rad(pose_BP)[..., None]
    octaves = [xy_B2 * (math.pi / 2 * 2.0**k) for k in range(POSITION_OCTAVES)]
    waves = torch.cat([*octaves, *(angle_B1 * k for k in ANGLE_HARMONICS)], -1)
    return torch.cat((xy_B2, waves.sin(), waves.cos()), -1)


def move_by(pose_BP: Tensor, step_B3: Tensor) -> Tensor:
    """A pose moved by (dx, dy) in the map's frame and turned by an angle. Shapes: step [B, 3]."""
    return torch.cat((pose_BP[..., :2] + step_B3[..., :2], rotate(pose_BP[..., 2:], step_B3[..., 2])), -1)


def rotate(vector_B2: Tensor, angle_B: Tensor) -> Tensor:
    """Counter-clockwise. Shapes: vector [..., 2], angle [...]."""
    (x, y), cos, sin = vector_B2.unbind(-1), angle_B.cos(), angle_B.sin()
    return torch.stack((x * cos - y * sin, y * cos + x * sin), -1)


def turn_between(before_BP: Tensor, after_BP: Tensor) -> Tensor:
    """The angle from one heading to the other. Shapes: [..., P] twice -> [...]; from -pi to pi."""
    (cos, sin), (after_cos, after_sin) = before_BP[..., 2:].unbind(-1), after_BP[..., 2:].unbind(-1)
    return torch.atan2(after_sin * cos - after_cos * sin, after_cos * cos + after_sin * sin)
