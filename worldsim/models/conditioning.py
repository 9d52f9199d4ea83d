"""Norms, and the conditioning of layers on noise level, step size and action by adaptive layer norm (adaLN)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from worldsim.core.errors import ConfigError
from worldsim.models.pose import POSE_SIZE

HEADING_MULTIPLES = (2, 4)
"""Multiples of the heading among a pose's features; the pose itself has the heading."""


class ScalarEmbedding(nn.Module):
    """Embeds a number in [0, 1]: sines and cosines of octaves, then a linear layer. Shapes: [...] -> [..., D]."""

    NUM_OCTAVES = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * self.NUM_OCTAVES, width)

    def forward(self, value: Tensor) -> Tensor:
        octave = 2.0 ** torch.arange(self.NUM_OCTAVES, device=value.device, dtype=value.dtype)
        angle = value[..., None] * octave * (math.pi / 2)
        embedded: Tensor = self.project(torch.cat((angle.sin(), angle.cos()), dim=-1))
        return embedded


class ActionEmbedding(nn.Sequential):
    """An MLP over the action; with `pose_octaves`, over the action and features of the pose it begins with."""

    def __init__(self, action_size: int, width: int, pose_octaves: int = 0) -> None:
        """Raises: ConfigError for octaves of inputs that are no poses."""
        if pose_octaves and action_size < POSE_SIZE:
            raise ConfigError(
                f"pose_octaves = {pose_octaves} needs poses as inputs, and there are {action_size} inputs",
                hint="pose_octaves = 0",
            )
        inputs = action_size + (4 * pose_octaves + 2 * len(HEADING_MULTIPLES) if pose_octaves else 0)
        super().__init__(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
        self.pose_octaves = pose_octaves

    def forward(self, action: Tensor) -> Tensor:
        """Shapes: [..., A] -> [..., D]."""
        if self.pose_octaves:
            action = torch.cat((action, pose_features(action[..., :POSE_SIZE], self.pose_octaves)), dim=-1)
        embedded: Tensor = super().forward(action)  # type: ignore[no-untyped-call]  # missing from torch's stubs
        return embedded


def pose_features(pose: Tensor, num_octaves: int) -> Tensor:
    """Features that tell nearby poses apart: sin and cos of 2^k pi x and 2^k pi y for k below `num_octaves`, and of
    multiples of the heading. Shapes: pose (x, y, cos, sin) [..., 4] -> [..., 4 * num_octaves + 4].
    """
    octave = 2.0 ** torch.arange(num_octaves, device=pose.device, dtype=pose.dtype)
    position = (pose[..., :2, None] * octave * math.pi).flatten(-2)
    angle = torch.atan2(pose[..., 3], pose[..., 2])[..., None] * pose.new_tensor(HEADING_MULTIPLES)
    return torch.cat((position.sin(), position.cos(), angle.sin(), angle.cos()), dim=-1)


class Modulation(nn.Module):
    """Shift, scale and gate of each sublayer from a condition vector; initially shift 0, scale 0, gate 1.

    Shapes: condition [..., D'] -> `num` triples of [..., 1, D], to be applied to tokens [..., N, D].
    Source: Peebles and Xie 2023, adaLN. Their initial gate of 0 costs updates that a training of minutes lacks.
    """

    def __init__(self, condition_width: int, width: int, num: int, std: float = 0.0) -> None:
        """`std`: initial standard deviation of the weights. At 0 the condition has no effect at first."""
        super().__init__()
        self.num = num
        self.project = nn.Linear(condition_width, 3 * num * width)
        if std:
            nn.init.normal_(self.project.weight, std=std)
        else:
            nn.init.zeros_(self.project.weight)
        with torch.no_grad():
            self.project.bias.copy_(torch.tensor([0.0, 0.0, 1.0]).repeat(num).repeat_interleave(width))

    def forward(self, condition: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        parts = self.project(nn.functional.silu(condition))[..., None, :].chunk(3 * self.num, dim=-1)
        return [(parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]) for i in range(self.num)]


class RMSNorm(nn.RMSNorm):
    """torch's, with its weight in the type of the input: under autocast there is no fused kernel for two types."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then scale and shift."""
    return torch.addcmul(shift, nn.functional.layer_norm(x, x.shape[-1:]), 1 + scale)
