"""Layer 2: noise and training objectives as pure functions. A network is a callable (noisy, tau, step) -> clean latent.

The path is rectified flow: z_tau = tau * z + (1 - tau) * noise, so tau 0 is noise and tau 1 is clean. A context frame's
`level` is 1 - tau. Letters: B batch, T frames, C channels, H W rows and columns. tau and step_size are [B, T].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

DenoisingNetwork: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]

_SEED_STRIDE = 0x9E3779B97F4A7C15
"""An odd constant near 2^64 / golden ratio: spreads adjacent seeds over the full range."""
SMALLEST_STEP = 1 / 8
"""Step size that is learned from data; larger steps are learned from the network's own smaller ones."""


def frame_noise(seed: int, frame_index: int, shape: tuple[int, ...]) -> Tensor:
    """The noise of frame `frame_index` of a session: a pure function of its arguments.

    On the CPU, so that every device plays the same session. Shapes: returns `shape`, float32.
    """
    mixed = (seed * _SEED_STRIDE + frame_index * 0xBF58476D1CE4E5B9) & 0x7FFF_FFFF_FFFF_FFFF
    generator = torch.Generator().manual_seed(mixed)
    return torch.randn(shape, generator=generator)


def mix_noise(clean_BTCHW: Tensor, noise_BTCHW: Tensor, tau_BT: Tensor) -> Tensor:
    """z_tau = tau z + (1 - tau) noise. Shapes: tau has the leading dimensions of the latents."""
    tau = _broadcast(tau_BT)
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


def ramp_weight(tau_BT: Tensor, floor: float) -> Tensor:
    """(1 - floor) tau + floor: clean frames have more detail to learn. Dreamer 4 uses a floor of 0.1."""
    return (1 - floor) * tau_BT + floor


def flow_loss(predicted_BTCHW: Tensor, clean_BTCHW: Tensor, tau_BT: Tensor, mask_BT: Tensor, *, floor: float) -> Tensor:
    """mean over unmasked frames of w(tau) ||f(z_tau) - z||^2 (per element).

    Source: Dreamer 4 (Hafner et al. 2025), x-prediction with ramp weight.
    """
    error_BT = (predicted_BTCHW - clean_BTCHW).square().mean(dim=(-3, -2, -1))
    return _masked_mean(ramp_weight(tau_BT, floor) * error_BT, mask_BT)


def shortcut_loss(
    student: DenoisingNetwork,
    teacher: DenoisingNetwork,
    clean_BTCHW: Tensor,
    noise_BTCHW: Tensor,
    tau_BT: Tensor,
    step_BT: Tensor,
    mask_BT: Tensor,
    *,
    floor: float,
) -> Tensor:
    """One step of size d has to match two steps of size d / 2 of the teacher.

    v1 = (f(z, tau, d/2) - z) / (1 - tau);  z' = z + v1 d/2;  v2 = (f(z', tau + d/2, d/2) - z') / (1 - tau - d/2)
    loss = w(tau) (1 - tau)^2 || (f(z, tau, d) - z) / (1 - tau) - (v1 + v2) / 2 ||^2
    Requires tau + d <= 1. Source: Frans et al. 2024 (shortcut models), Dreamer 4 for clean prediction.
    """
    noisy = mix_noise(clean_BTCHW, noise_BTCHW, tau_BT)
    tau, half = _broadcast(tau_BT), _broadcast(step_BT / 2)
    with torch.no_grad():
        first = (teacher(noisy, tau_BT, step_BT / 2) - noisy) / (1 - tau)
        midway = noisy + first * half
        second = (teacher(midway, tau_BT + step_BT / 2, step_BT / 2) - midway) / (1 - tau - half)
        landing = noisy + (first + second) / 2 * (1 - tau)
    error_BT = (student(noisy, tau_BT, step_BT) - landing).square().mean(dim=(-3, -2, -1))
    return _masked_mean(ramp_weight(tau_BT, floor) * error_BT, mask_BT)


def sample_flow_steps(
    batch: int, num_frames: int, generator: torch.Generator, *, one_step_prob: float = 0.0
) -> tuple[Tensor, Tensor]:
    """(tau, step size) for `flow_loss`: tau on the grid of the smallest step, uniform in [0, 1), and that step.

    A fraction `one_step_prob` of the frames is learned in one step from pure noise instead, (0, 1): the prediction is
    then the mean over possible frames, which suits one-step play where little is uncertain. Shapes: [B, T] each.
    """
    num_steps = round(1 / SMALLEST_STEP)
    tau_BT = torch.randint(0, num_steps, (batch, num_frames), generator=generator) * SMALLEST_STEP
    in_one_BT = torch.rand(batch, num_frames, generator=generator) < one_step_prob
    return tau_BT.masked_fill(in_one_BT, 0.0), torch.full_like(tau_BT, SMALLEST_STEP).masked_fill(in_one_BT, 1.0)


def sample_shortcut_steps(batch: int, num_frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(tau, step size) for `shortcut_loss`: d in {1/4, 1/2, 1}, tau a multiple of d below 1. Shapes: [B, T] each."""
    exponent = torch.randint(0, 3, (batch, num_frames), generator=generator)
    step_BT = 0.5 ** exponent.float()
    slot_BT = (torch.rand(batch, num_frames, generator=generator) / step_BT).floor()
    return slot_BT * step_BT, step_BT


def _broadcast(value_BT: Tensor) -> Tensor:
    return value_BT[..., None, None, None]


def _masked_mean(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return (value_BT * mask_BT).sum() / mask_BT.sum().clamp_min(1)
