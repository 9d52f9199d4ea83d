"""Frame <-> latent: conversion of frames (uint8) to tensors, and a small convolutional autoencoder.

Only here are frames converted. The latents have unit variance: they are whitened by running statistics. The
architecture follows TAESD: 3x3 convolutions and ReLU, no normalization layers. Pixels are folded into channels at every
size, so that no convolution runs at full size. Letters: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from worldsim.core.images import MAX_PSNR_DB
from worldsim.models.config import AutoencoderConfig

LATENT_BOUND = 4.0
"""Raw latents are squashed into (-bound, bound): no frame leaves the range that the decoder was trained on."""


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


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(x_BCHW + self.convs(x_BCHW))


class Autoencoder(nn.Module):
    """`encode` returns whitened latents, `decode` takes them."""

    latent_mean_C: Tensor
    latent_std_C: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        encoder: list[nn.Module] = []
        channels = 3
        for width in config.widths:
            encoder += [nn.PixelUnshuffle(2), nn.Conv2d(channels * 4, width, 3, padding=1), nn.ReLU()]
            encoder += [ResidualBlock(width) for _ in range(config.num_blocks)]
            channels = width
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(channels, config.latent_channels, 3, padding=1))

        decoder: list[nn.Module] = [nn.Conv2d(config.latent_channels, channels, 3, padding=1), nn.ReLU()]
        for width, wider in zip(reversed(config.widths), (*reversed(config.widths[:-1]), 3), strict=True):
            decoder += [ResidualBlock(width) for _ in range(config.num_blocks)]
            decoder += [nn.Conv2d(width, wider * 4, 3, padding=1), nn.PixelShuffle(2)]
            decoder += [nn.ReLU()] if wider != 3 else []
        self.decoder = nn.Sequential(*decoder)
        self.register_buffer("latent_mean_C", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std_C", torch.ones(config.latent_channels))

    def encode(self, frames_BCHW: Tensor) -> Tensor:
        """Shapes: [B, 3, H, W] in [-1, 1] -> [B, C, H / f, W / f], about unit variance, f = `config.downscale`."""
        raw_BCHW = self.encode_raw(frames_BCHW)
        return (raw_BCHW - self.latent_mean_C[:, None, None]) / self.latent_std_C[:, None, None]

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """Shapes: [B, C, H / f, W / f] -> [B, 3, H, W], roughly in [-1, 1]."""
        return self.decode_raw(latent_BCHW * self.latent_std_C[:, None, None] + self.latent_mean_C[:, None, None])

    def encode_raw(self, frames_BCHW: Tensor) -> Tensor:
        """`encode` without whitening, for training, while the statistics are still changing."""
        factor = self.config.downscale
        assert frames_BCHW.shape[-2] % factor == 0 and frames_BCHW.shape[-1] % factor == 0, tuple(frames_BCHW.shape)
        return LATENT_BOUND * torch.tanh(self.encoder(frames_BCHW) / LATENT_BOUND)

    def decode_raw(self, raw_BCHW: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(raw_BCHW)
        return decoded

    @torch.no_grad()
    def update_statistics(self, raw_BCHW: Tensor, momentum: float = 0.02) -> None:
        """Moves the whitening statistics towards those of this batch."""
        std_C, mean_C = torch.std_mean(raw_BCHW.float(), dim=(0, 2, 3))
        self.latent_mean_C.lerp_(mean_C, momentum)
        self.latent_std_C.lerp_(std_C.clamp_min(1e-3), momentum)
