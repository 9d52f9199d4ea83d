"""Frame-local attention: a token sees its own frame (both ways) and a fixed number of frames before it.

Owns: the layer, its rotary positions, its ring of keys and values at play time. Same three verbs as `mixer`.
Keys are stored before rotation: only differences of positions matter, so at play the slot in the window serves as time.
Letters as in `mixer`; W frames of the window, M keys.
Source: LSSVWM, section 4.1 (its chunks that look ahead are left out: here no frame sees a later one).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.mixer import LayerState


@dataclass(frozen=True, kw_only=True)
class AttentionMemo:
    """Keys (rotated) and values of the clean stream. Shapes: [B, T, K, N, E]."""

    key: Tensor
    value: Tensor


class FrameLocalAttention(nn.Module):
    frequencies: Tensor

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], window_frames: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.grid, self.window = num_heads, width // num_heads, grid, window_frames
        self.project_in = nn.Linear(width, 3 * width, bias=False)
        self.project_out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(self.head_dim, eps=1e-6)
        self.key_norm = nn.RMSNorm(self.head_dim, eps=1e-6)
        pairs = self.head_dim // 6
        self.register_buffer("frequencies", 16.0 ** (-torch.arange(pairs) / pairs), persistent=False)

    def write(self, x_BTND: Tensor) -> tuple[Tensor, AttentionMemo]:
        query, key, value = self._project(x_BTND)
        time_T = torch.arange(x_BTND.shape[1], device=x_BTND.device)
        query, key = self._rotate(query, time_T), self._rotate(key, time_T)
        output = self._attend(query, self._windows(key), self._windows(value), self._visible(x_BTND))
        return output, AttentionMemo(key=key, value=value)

    def read(self, x_BTND: Tensor, memo: AttentionMemo) -> Tensor:
        """The noisy frame sees itself and the clean frames before it; the last slot of the window is its own."""
        query, key, value = self._project(x_BTND)
        time_T = torch.arange(x_BTND.shape[1], device=x_BTND.device)
        query, key = self._rotate(query, time_T), self._rotate(key, time_T)
        keys = torch.cat((self._windows(memo.key)[:, :, :, : -self._num_tokens], key), dim=3)
        values = torch.cat((self._windows(memo.value)[:, :, :, : -self._num_tokens], value), dim=3)
        return self._attend(query, keys, values, self._visible(x_BTND))

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        query, key, value = self._project(x_BND[:, None])
        keys = torch.cat((state["key"], key), dim=1)
        values = torch.cat((state["value"], value), dim=1)
        valid = torch.cat((state["valid"], state["valid"].new_ones(x_BND.shape[0], 1)), dim=1)
        slot_W = torch.arange(self.window, device=x_BND.device)
        rotated_query, rotated_keys = self._rotate(query, slot_W[-1:]), self._rotate(keys, slot_W)
        output_BTND = self._attend(
            rotated_query,
            rotated_keys.transpose(1, 2).flatten(2, 3)[:, None],
            values.transpose(1, 2).flatten(2, 3)[:, None],
            valid.repeat_interleave(self._num_tokens, dim=1)[:, None, None, None],
        )
        return output_BTND[:, 0], {"key": keys[:, 1:], "value": values[:, 1:], "valid": valid[:, 1:]}

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: key, value [B, W - 1, K, N, E]; valid [B, W - 1] bool, False where no frame is yet."""
        weight = self.project_in.weight
        ring = weight.new_zeros(batch, self.window - 1, self.num_heads, self._num_tokens, self.head_dim).detach()
        valid = torch.zeros(batch, self.window - 1, dtype=torch.bool, device=weight.device)
        return {"key": ring, "value": torch.zeros_like(ring), "valid": valid}

    @property
    def _num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def _project(self, x_BTND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes: three times [B, T, K, N, E]."""
        qkv = self.project_in(x_BTND).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        return self.query_norm(query), self.key_norm(key), value

    def _rotate(self, x_BTKNE: Tensor, time_T: Tensor) -> Tensor:
        """Rotary positions over (time, row, column), a third of the head each."""
        rows, columns = self.grid
        token_N = torch.arange(rows * columns, device=x_BTKNE.device)
        frequency = self.frequencies.to(x_BTKNE.dtype)
        shape = (len(time_T), rows * columns, len(frequency))
        angle_TNF = torch.cat(
            [
                (time_T[:, None, None] * frequency).expand(shape),
                ((token_N // columns)[:, None] * frequency).expand(shape),
                ((token_N % columns)[:, None] * frequency).expand(shape),
            ],
            dim=-1,
        )
        cos, sin = angle_TNF.cos()[:, None], angle_TNF.sin()[:, None]
        left, right = x_BTKNE.chunk(2, dim=-1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)

    def _windows(self, x_BTKNE: Tensor) -> Tensor:
        """Every frame with the W - 1 frames before it. Shapes: [B, T, K, W * N, E], oldest first."""
        padded = F.pad(x_BTKNE, (0, 0, 0, 0, 0, 0, self.window - 1, 0))
        num_frames = x_BTKNE.shape[1]
        return torch.cat([padded[:, offset : offset + num_frames] for offset in range(self.window)], dim=3)

    def _visible(self, x_BTND: Tensor) -> Tensor:
        """False for slots before the first frame. Shapes: [T, 1, 1, W * N]."""
        frame_T = torch.arange(x_BTND.shape[1], device=x_BTND.device)
        offset_W = torch.arange(1 - self.window, 1, device=x_BTND.device)
        visible_TW = frame_T[:, None] + offset_W >= 0
        return visible_TW.repeat_interleave(self._num_tokens, dim=1)[:, None, None]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        """Softmax written out: on a CPU its backward pass is faster than that of the fused kernel."""
        scores_BTKNM = (query @ key.transpose(-1, -2)) * self.head_dim**-0.5
        scores_BTKNM = scores_BTKNM.masked_fill(~visible, float("-inf"))
        output_BTKNE = scores_BTKNM.softmax(dim=-1) @ value
        return self.project_out(output_BTKNE.transpose(2, 3).flatten(3))
