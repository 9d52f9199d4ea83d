"""Noise levels, and the noise itself.

The path is rectified flow: z_tau = tau * z + (1 - tau) * noise, so tau 0 is noise and tau 1 is clean. A context frame's
`level` is 1 - tau. Letters: B batch, T frames, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SEED_STRIDE = 0x9E3779B97F4A7C15
"""An odd constant near 2^64 / golden ratio: spreads adjacent seeds over the full range."""


def frame_noise(seed: int, frame_index: int, shape: tuple[int, ...], device: str | torch.device = "cpu") -> Tensor:
    """The noise of frame `frame_index` of a session: a pure function of its arguments.

    Sampled on the CPU, so that every device plays the same session. Shapes: returns `shape`, float32.
    """
    mixed = (seed * _SEED_STRIDE + frame_index * 0xBF58476D1CE4E5B9) & 0x7FFF_FFFF_FFFF_FFFF
    generator = torch.Generator().manual_seed(mixed)
    return torch.randn(shape, generator=generator).to(device)


def mix_noise(clean_BTCHW: Tensor, noise_BTCHW: Tensor, tau_BT: Tensor) -> Tensor:
    """z_tau = tau z + (1 - tau) noise. Shapes: tau has the leading dimensions of the latents."""
    tau = tau_BT[..., None, None, None]
    return tau * clean_BTCHW + (1 - tau) * noise_BTCHW


def context_levels(
    batch: int, num_frames: int, *, max_level: float, prefix_prob: float, generator: torch.Generator
) -> Tensor:
    """Noise level of each context frame: independent per frame (diffusion forcing), with long clean prefixes.

    With probability `prefix_prob`, a row has a clean prefix of random length, longer than half of the clip (LSSVWM,
    section 4.2). All other levels are uniform in [0, max_level]: frames fed back at play are never quite clean, and a
    model trained with labeled noise drifts more slowly (GameNGen). Shapes: returns [B, T].
    """
    level_BT = torch.rand(batch, num_frames, generator=generator) * max_level
    prefix_B1 = torch.randint(num_frames // 2 + 1, num_frames + 1, (batch, 1), generator=generator)
    has_prefix_B1 = torch.rand(batch, 1, generator=generator) < prefix_prob
    in_prefix_BT = torch.arange(num_frames)[None] < prefix_B1
    return level_BT.masked_fill(has_prefix_B1 & in_prefix_BT, 0.0)
