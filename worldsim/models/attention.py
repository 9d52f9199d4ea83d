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

from worldsim.models.mixer import LayerState, TimeMixer
from worldsim.models.ssd import log_mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns pairs (e, e + E / 2) of a head. Shapes: x [..., N, E]; cos and sin broadcast against it."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


@dataclass(frozen=True, kw_only=True)
class AttentionMemo:
    """Keys (rotated) and values of the clean stream. Shapes: [B, T, K, N, E]."""

    key: Tensor
    value: Tensor


class FrameLocalAttention(TimeMixer):
    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], window_frames: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.grid, self.window = num_heads, width // num_heads, grid, window_frames
        self.project_in = nn.Linear(width, 3 * width, bias=False)
        self.project_out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.RMSNorm(self.head_dim, eps=1e-6)
        self.key_norm = nn.RMSNorm(self.head_dim, eps=1e-6)
        self._window_rotation: tuple[Tensor, Tensor] | None = None

    def write(self, x_BTND: Tensor) -> tuple[Tensor, AttentionMemo]:
        query, key, value = self._project_clip(x_BTND)
        output = self._attend(query, self._windows(key), self._windows(value), self._visible(x_BTND))
        return output, AttentionMemo(key=key, value=value)

    def read(self, x_BTND: Tensor, memo: AttentionMemo) -> Tensor:
        """The noisy frame sees itself and the clean frames before it; the last slot of the window is its own."""
        query, key, value = self._project_clip(x_BTND)
        keys = torch.cat((self._windows(memo.key)[:, :, :, : -self._num_tokens], key), dim=3)
        values = torch.cat((self._windows(memo.value)[:, :, :, : -self._num_tokens], value), dim=3)
        return self._attend(query, keys, values, self._visible(x_BTND))

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        query, key, value = self._project(x_BND[:, None])
        keys = torch.cat((state["key"], key), dim=1)
        values = torch.cat((state["value"], value), dim=1)
        valid = torch.cat((state["valid"], state["valid"].new_ones(x_BND.shape[0], 1)), dim=1)
        cos, sin = self._rotation_of_window(x_BND)
        output_BKNE = F.scaled_dot_product_attention(
            rotate(query, cos[-1:], sin[-1:])[:, 0],
            rotate(keys, cos, sin).transpose(1, 2).flatten(2, 3),
            values.transpose(1, 2).flatten(2, 3),
            attn_mask=valid.repeat_interleave(self._num_tokens, dim=1)[:, None, None],
        )
        new_state = {"key": keys[:, 1:], "value": values[:, 1:], "valid": valid[:, 1:]}
        return self.project_out(output_BKNE.transpose(1, 2).flatten(2)), new_state

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

    def _project_clip(self, x_BTND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_project`, with query and key rotated to their places in the clip."""
        query, key, value = self._project(x_BTND)
        cos, sin = self._rotation(x_BTND.shape[1], like=x_BTND)
        return rotate(query, cos, sin), rotate(key, cos, sin), value

    def _rotation_of_window(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Made once and kept: at play the slots of the window never change."""
        kept = self._window_rotation
        if kept is None or kept[0].device != like.device or kept[0].dtype != like.dtype:
            with torch.inference_mode(False):
                kept = self._window_rotation = self._rotation(self.window, like=like)
        return kept

    def _rotation(self, num_frames: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary positions over (time, row, column), a third of the head each. Shapes: twice [T, 1, N, E].

        See `rotate`: the two halves of a head turn together; the sine of the first half carries its sign.
        """
        rows, columns = self.grid
        pairs = self.head_dim // 6
        time_T, token_N = torch.arange(num_frames, dtype=torch.float64), torch.arange(rows * columns)
        frequency = 16.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        shape = (num_frames, rows * columns, pairs)
        angle_TNF = torch.cat(
            [
                (time_T[:, None, None] * frequency).expand(shape),
                ((token_N // columns)[:, None] * frequency).expand(shape),
                ((token_N % columns)[:, None] * frequency).expand(shape),
            ],
            dim=-1,
        )
        cos, sin = angle_TNF.cos()[:, None], angle_TNF.sin()[:, None]
        return torch.cat((cos, cos), dim=-1).to(like), torch.cat((-sin, sin), dim=-1).to(like)

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
        scores_BTKNM = (query @ key.transpose(-1, -2)) * self.head_dim**-0.5 + log_mask(visible, query.dtype)
        output_BTKNE = scores_BTKNM.softmax(dim=-1) @ value
        return self.project_out(output_BTKNE.transpose(2, 3).flatten(3))
