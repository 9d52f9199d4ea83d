"""Attention that is bidirectional in time: within chunks of frames, as in the paper, or over a full window.

See `bidirectional` for the models that generate frame by frame with it. Letters as in `attention`.
Source: LSSVWM, supplement S2 (chunks of 5); Song et al. 2025, "History-guided video diffusion" (the window).
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldsim.models.sequence.attention import SPATIAL_BASE, FrameAttention, KVCache, SegmentedAttention, attend, rotate
from worldsim.models.sequence.mamba2 import log_mask
from worldsim.models.sequence.mixer import LayerState

PRESENT = "present"
"""Name in the state given to `ChunkAttention.step`: which frames of the chunk are present. Shapes: bool [B, P]."""


class ChunkAttention(SegmentedAttention):
    """A token attends to its own chunk (bidirectionally) and to the clean chunk before it.

    `step` takes a chunk, not a frame: x [B, P, N, D].
    """

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], chunk_frames: int) -> None:
        time_base = max(SPATIAL_BASE, 4.0 * chunk_frames)
        super().__init__(width, num_heads, grid, time_base, segment_frames=chunk_frames, num_before=1)

    def visible_context(self) -> Tensor:
        return torch.ones(self.segment_frames, 2 * self.segment_frames, dtype=torch.bool)

    def forward_noisy(self, x_BTND: Tensor, cache: KVCache) -> Tensor:
        query, key, value = (self._segments(x) for x in self.project_clip(x_BTND))
        key, value = (
            torch.cat((clean[:, :, :, : own.shape[3]], own), dim=3)
            for clean, own in ((cache.key, key), (cache.value, value))
        )
        return self._join(attend(query, key, value, self._mask(x_BTND, self.visible_context())), x_BTND)

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        query, key, value = self.project_plain(x_BND)
        present = torch.cat((state["valid"][:, None].expand(-1, self.segment_frames), state[PRESENT]), dim=1)
        cos, sin = self.rotation(2 * self.segment_frames, like=x_BND)
        own = slice(self.segment_frames, None)
        keys = rotate(torch.cat((state["key"], key), dim=1), cos, sin)
        values = torch.cat((state["value"], value), dim=1)
        query, keys, values = (
            x.flatten(1, 2).transpose(1, 2) for x in (rotate(query, cos[own], sin[own]), keys, values)
        )
        output_BKQE = attend(query, keys, values, _token_mask(present, self.num_tokens, x_BND.dtype))
        output = self.project_out(output_BKQE.transpose(1, 2).flatten(2).unflatten(1, x_BND.shape[1:3]))
        return output, {"key": key, "value": value, "valid": torch.ones_like(state["valid"])}

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: key, value [B, P, N, K, E], not rotated; valid [B] bool, False before the first chunk."""
        weight = self.project_in.weight
        key = weight.new_zeros(batch, self.segment_frames, self.num_tokens, self.num_heads, self.head_dim).detach()
        valid = torch.zeros(batch, dtype=torch.bool, device=weight.device)
        return {"key": key, "value": torch.zeros_like(key), "valid": valid}


class BidirectionalAttention(FrameAttention):
    """A token attends to all frames present in the window. It has no state."""

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], window_frames: int) -> None:
        super().__init__(width, num_heads, grid, max(SPATIAL_BASE, 2.0 * window_frames))

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, Tensor]:
        """The cache marks all frames as present."""
        present_BT = torch.ones(x_BTND.shape[:2], dtype=torch.bool, device=x_BTND.device)
        return self.forward_noisy(x_BTND, present_BT), present_BT

    def forward_noisy(self, x_BTND: Tensor, cache: Tensor) -> Tensor:
        """`cache`: which frames are present. Shapes: bool [B, T]."""
        query, key, value = (x.flatten(1, 2).transpose(1, 2) for x in self.project_clip(x_BTND))
        output_BKQE = attend(query, key, value, _token_mask(cache, self.num_tokens, x_BTND.dtype))
        output: Tensor = self.project_out(output_BKQE.transpose(1, 2).flatten(2).unflatten(1, x_BTND.shape[1:3]))
        return output

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """A window of one frame."""
        return self.forward_context(x_BND[:, None])[0][:, 0], {}

    def initial_state(self, batch: int) -> LayerState:
        return {}


def _token_mask(present_BF: Tensor, num_tokens: int, dtype: torch.dtype) -> Tensor:
    """Shapes: [B, 1, 1, M]."""
    return log_mask(present_BF.repeat_interleave(num_tokens, dim=1)[:, None, None], dtype)
