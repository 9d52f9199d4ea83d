"""Frame <-> latent: a small convolutional autoencoder with unit-variance latents.

The latents are whitened by running statistics. The architecture follows TAESD: 3x3 convolutions and ReLU, no
normalization layers. Pixels are folded into channels at every size, so that no convolution runs at full size.
Letters: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.config import AutoencoderConfig

LATENT_BOUND = 4.0
"""Raw latents are squashed into (-bound, bound): no frame leaves the range that the decoder was trained on."""

PATCH_PX = 8
"""Side of the patches whose spectra the loss compares."""


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


def reconstruction_loss(predicted_BCHW: Tensor, target_BCHW: Tensor, spectral_weight: float = 0.0) -> Tensor:
    """L1 at full, half and quarter size, L1 of differences of adjacent pixels, and the spectra of small patches.

    mean (x - y)^2 + sum_s mean|P_s x - P_s y| + mean|dx - dy| + w mean| |F x| - |F y| |: the coarse terms set colors
    early, the differences preserve edges. Where the position of texture cannot be known, these favor blur; the last
    term does not depend on phase and favors texture. No learned perceptual loss: it would need a download.
    """
    error_BCHW = predicted_BCHW - target_BCHW
    loss = error_BCHW.abs().mean() + error_BCHW.square().mean()
    coarse_BCHW = error_BCHW
    for _ in range(2):
        coarse_BCHW = F.avg_pool2d(coarse_BCHW, 2)
        loss = loss + coarse_BCHW.abs().mean()
    loss = loss + error_BCHW.diff(dim=-1).abs().mean() + error_BCHW.diff(dim=-2).abs().mean()
    if spectral_weight:
        spectra = [_patch_spectra(image) for image in (predicted_BCHW, target_BCHW)]
        loss = loss + spectral_weight * (spectra[0] - spectra[1]).abs().mean()
    return loss


def _patch_spectra(image_BCHW: Tensor) -> Tensor:
    """Magnitudes of the Fourier transform of every 8 x 8 patch. Shapes: [B, C, H / 8, W / 8, 8, 5]."""
    patches = image_BCHW.unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)
    transformed = torch.fft.rfft2(patches, norm="ortho")
    return (transformed.real.square() + transformed.imag.square() + 1e-6).sqrt()
