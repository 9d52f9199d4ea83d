"""The separate denoiser: from the noisy latent, clean past latents and the trunk's tokens to the clean latent.

Convolutions move visible content; attention over the cells and the trunk's tokens add what was not visible. Letters as
in `sequence_model`; F channels of the denoiser.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import Modulation
from worldsim.models.config import LayersConfig, SeparateDenoiserConfig


class DenoiserBlock(nn.Module):
    """Modulated convolutions, then attention over all cells of the frame."""

    def __init__(self, channels: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.modulation = Modulation(condition_width, channels, 2)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.project_in = nn.Linear(channels, 3 * channels, bias=False)
        self.project_out = nn.Linear(channels, channels, bias=False)

    def forward(self, x_BFHW: Tensor, condition_BD: Tensor) -> Tensor:
        conv, attention = self.modulation(condition_BD)
        convolved_BFHW = self.conv_out(F.silu(self.conv_in(_modulate(x_BFHW, conv))))
        x_BFHW = torch.addcmul(x_BFHW, _channels(conv[2]), convolved_BFHW)
        tokens_BNF = _modulate(x_BFHW, attention).flatten(2).transpose(1, 2)
        qkv = self.project_in(tokens_BNF).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        (query, key), value = F.rms_norm(qkv[:2], qkv.shape[-1:]).unbind(0), qkv[2]
        mixed_BKNE = F.scaled_dot_product_attention(query, key, value)
        mixed_BNF = self.project_out(mixed_BKNE.transpose(1, 2).flatten(2))
        return torch.addcmul(x_BFHW, _channels(attention[2]), mixed_BNF.transpose(1, 2).unflatten(2, x_BFHW.shape[2:]))


class Denoiser(nn.Module):
    """Predicts the clean latent from the noisy one, the clean past latents and the layers' tokens."""

    def __init__(
        self,
        layers: LayersConfig,
        config: SeparateDenoiserConfig,
        latent_shape: tuple[int, int, int],
        num_rendered: int = 0,
    ) -> None:
        """`num_rendered`: channels that are read beside the noisy latent and the past ones."""
        super().__init__()
        channels, height, width = latent_shape
        inner = config.width
        self.patch, self.grid = layers.patch, (height // layers.patch, width // layers.patch)
        self.from_latents = nn.Conv2d(channels * (1 + config.num_past) + num_rendered, inner, 3, padding=1)
        self.from_trunk = nn.Linear(layers.width, inner * layers.patch**2)
        heads = max(1, inner // 32)
        self.blocks = nn.ModuleList([DenoiserBlock(inner, layers.width, heads) for _ in range(config.num_blocks)])
        self.modulation = Modulation(layers.width, inner, 1)
        self.to_latent = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, latents_BCHW: Tensor, trunk_BND: Tensor, condition_BD: Tensor) -> Tensor:
        """Shapes: latents [B, C * (1 + num_past) + num_rendered, H, W], the noisy one first; trunk [B, N, D]; returns
        [B, C, H, W].
        """
        folded = self.from_trunk(trunk_BND).transpose(1, 2).unflatten(2, self.grid)
        x_BFHW = self.from_latents(latents_BCHW) + F.pixel_shuffle(folded, self.patch)
        for block in self.blocks:
            x_BFHW = block(x_BFHW, condition_BD)
        (final,) = self.modulation(condition_BD)
        predicted: Tensor = self.to_latent(F.silu(_modulate(x_BFHW, final)))
        return predicted


def _channels(gate_B1F: Tensor) -> Tensor:
    return gate_B1F.transpose(1, 2)[..., None]


def _modulate(x_BFHW: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Group norm over the frame without weights, then scale and shift."""
    normed_BFHW = F.group_norm(x_BFHW, x_BFHW.shape[1] // 16)
    return torch.addcmul(_channels(parts[0]), normed_BFHW, 1 + _channels(parts[1]))
