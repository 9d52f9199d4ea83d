"""Conversion between frames (uint8) and tensors; the only place where it is done."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worldsim.core.images import MAX_PSNR_DB


def to_tensor(frames: npt.NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """Shapes: uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [-1, 1]."""
    assert frames.dtype == np.uint8 and frames.shape[-1] == 3, f"{frames.dtype} {frames.shape}"
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    return pixels.movedim(-1, -3).float().div_(127.5).sub_(1.0)


def to_frames(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """Shapes: float [..., 3, H, W] in [-1, 1] -> uint8 [..., H, W, 3]; values outside are clipped."""
    assert pixels.shape[-3] == 3, f"{tuple(pixels.shape)}"
    scaled = pixels.detach().float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.movedim(-3, -1).cpu().numpy())


def psnr(predicted_BCHW: Tensor, target_BCHW: Tensor) -> float:
    """Mean PSNR in dB of pixels in [-1, 1], predictions clipped: `core.images.psnr` for tensors on any device."""
    mse_B = (predicted_BCHW.detach().clamp(-1, 1) - target_BCHW).square().mean(dim=(1, 2, 3))
    return float((10 * torch.log10(4 / mse_B.clamp_min(4 * 10 ** (-MAX_PSNR_DB / 10)))).mean())
