"""Conditioning of layers on noise level, step size and action by adaptive layer norm (adaLN)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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


class Modulation(nn.Module):
    """Shift, scale and gate of each sublayer from a condition vector; initially shift 0, scale 0, gate 1.

    Shapes: condition [..., D'] -> `num` triples of [..., 1, D], to be applied to tokens [..., N, D].
    Source: Peebles and Xie 2023, adaLN. Their initial gate of 0 costs updates that a training of minutes lacks.
    """

    def __init__(self, condition_width: int, width: int, num: int) -> None:
        super().__init__()
        self.num = num
        self.project = nn.Linear(condition_width, 3 * num * width)
        nn.init.zeros_(self.project.weight)
        with torch.no_grad():
            self.project.bias.copy_(torch.tensor([0.0, 0.0, 1.0]).repeat(num).repeat_interleave(width))

    def forward(self, condition: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        parts = self.project(nn.functional.silu(condition))[..., None, :].chunk(3 * self.num, dim=-1)
        return [(parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]) for i in range(self.num)]


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then scale and shift."""
    return torch.addcmul(shift, nn.functional.layer_norm(x, x.shape[-1:]), 1 + scale)
