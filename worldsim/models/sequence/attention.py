"""Attention between frames: projections and rotary positions, and frame-local attention with its KV ring at play.

See `baselines` for attention to all past frames, to chunks and to windows. Same interface as the scans of `mixer`.
Keys are stored before rotation: only differences of positions matter, so at play the slot in the window serves as time.
Letters as in `mixer`; W frames of the window, M keys, P frames of a segment of the clip, Q its tokens.
Source: LSSVWM, section 4.1 (without its chunks, which look ahead: here no frame attends to a later one).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import RMSNorm
from worldsim.models.sequence.mamba2 import log_mask
from worldsim.models.sequence.mixer import LayerState, TimeMixer

SPATIAL_BASE = 16.0
"""Base of the rotary positions over rows and columns: the slowest pair rotates once in about a hundred of them."""
LONG_WINDOW_FRAMES = 8
"""Above this the clip is cut into finer segments: fewer masked scores, more copies of keys."""


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (e, e + E / 2) of a head. Shapes: x [..., E]; cos and sin broadcast against it."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, own: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Attention without the fused kernel: on a CPU its backward pass is faster.

    Shapes: query [..., Q, E], already scaled; key and value [..., M, E]; mask 0 or minus infinity, broadcasts against
    [..., Q, M]. `own`: additional keys and values [..., P, N, E], each visible to its own frame only.
    """
    scores_QM = (query @ key.transpose(-1, -2)).add_(mask)
    if own is None:
        return scores_QM.softmax(dim=-1) @ value
    own_key, own_value = own
    by_frame = query.unflatten(-2, own_key.shape[-3:-1])
    own_scores_QN = (by_frame @ own_key.transpose(-1, -2)).flatten(-3, -2)
    weights = torch.cat((scores_QM, own_scores_QN), dim=-1).softmax(dim=-1)
    past_QM, own_QN = weights.split((key.shape[-2], own_key.shape[-2]), dim=-1)
    return past_QM @ value + (own_QN.unflatten(-2, own_key.shape[-3:-1]) @ own_value).flatten(-3, -2)


class FrameAttention(TimeMixer):
    """Projections and rotary positions; `time_base` sets the slowest rotation over time."""

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], time_base: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.grid, self.time_base = num_heads, width // num_heads, grid, time_base
        self.project_in = nn.Linear(width, 3 * width, bias=False)
        self.project_out = nn.Linear(width, width, bias=False)
        self.query_norm = RMSNorm(self.head_dim, eps=1e-6)
        self.key_norm = RMSNorm(self.head_dim, eps=1e-6)

    @property
    def num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def project_clip(self, x_BTND: Tensor, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Query (scaled) and key, rotated to their positions in a clip that starts at `first`, and value.

        Shapes: [B, T, N, K, E].
        """
        qkv = self.project_in(x_BTND).unflatten(-1, (3, self.num_heads, self.head_dim))
        cos, sin = (x[..., None, :] for x in self.rotation(x_BTND.shape[1], x_BTND, first))
        normed = F.rms_norm(qkv[..., :2, :, :], (self.head_dim,), eps=1e-6)
        weight_21E = torch.stack((self.query_norm.weight * self.head_dim**-0.5, self.key_norm.weight))[:, None]
        query, key = rotate(normed * weight_21E, cos, sin).unbind(-3)
        return query, key, qkv[..., 2, :, :]

    def project_frame(self, x_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (scaled), key and value of one frame, not rotated. Shapes: [B, K, N, E]."""
        query, key, value = (x.transpose(1, 2) for x in self.project_plain(x_BND))
        return query, key, value

    def project_plain(self, x_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (scaled), key and value, not rotated. Shapes: [..., N, K, E]."""
        qkv = self.project_in(x_ND).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = qkv.unbind(-3)
        return self.query_norm(query) * self.head_dim**-0.5, self.key_norm(key), value

    def rotation(self, num_frames: int, like: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Rotary positions over (time, row, column), a third of the head each. Shapes: twice [T, N, 1, E].

        See `rotate`: the two halves of a head rotate together; the sine of the first half carries the sign.
        """
        rows, columns = self.grid
        pairs = self.head_dim // 6
        time_T = torch.arange(first, first + num_frames, dtype=torch.float64)
        token_N = torch.arange(rows * columns)
        slowness = torch.arange(pairs, dtype=torch.float64) / pairs
        spatial = SPATIAL_BASE**-slowness
        shape = (num_frames, rows * columns, pairs)
        angle_TNF = torch.cat(
            [
                (time_T[:, None, None] * self.time_base**-slowness).expand(shape),
                ((token_N // columns)[:, None] * spatial).expand(shape),
                ((token_N % columns)[:, None] * spatial).expand(shape),
            ],
            dim=-1,
        )
        cos, sin = angle_TNF.cos()[:, :, None], angle_TNF.sin()[:, :, None]
        return torch.cat((cos, cos), dim=-1).to(like), torch.cat((-sin, sin), dim=-1).to(like)


@dataclass(frozen=True, kw_only=True)
class KVCache:
    """Keys (rotated) and values of the clean stream for each segment. Shapes: [B, segments, K, M, E]."""

    key: Tensor
    value: Tensor
    before: Tensor | None = None
    """Which of the frames before the clip are present (None: none). Shapes: bool [B, num_before * P]."""


class SegmentedAttention(FrameAttention):
    """Attention in segments of P frames: each attends to itself and to the `num_before` segments before it."""

    def __init__(
        self, width: int, num_heads: int, grid: tuple[int, int], time_base: float, segment_frames: int, num_before: int
    ) -> None:
        super().__init__(width, num_heads, grid, time_base)
        self.segment_frames, self.num_before = segment_frames, num_before

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, KVCache]:
        query, key, value = (self._segments(x) for x in self.project_clip(x_BTND))
        cache = KVCache(key=self._with_previous(key), value=self._with_previous(value))
        mask = self._mask(x_BTND, self.visible_context())
        return self._join(attend(query, cache.key, cache.value, mask), x_BTND), cache

    @abstractmethod
    def visible_context(self) -> Tensor:
        """The frames that each frame of a segment attends to. Shapes: bool [P, (num_before + 1) * P]."""

    def _segments(self, x_BTNKE: Tensor) -> Tensor:
        """Shapes: [B, T, N, K, E] -> [B, segments, K, Q, E]; the last segment is padded with zeros."""
        missing = -x_BTNKE.shape[1] % self.segment_frames
        if missing:
            x_BTNKE = F.pad(x_BTNKE, (0, 0, 0, 0, 0, 0, 0, missing))
        return x_BTNKE.unflatten(1, (-1, self.segment_frames)).flatten(2, 3).transpose(2, 3)

    def _with_previous(self, x_BRKQE: Tensor, before_BRKQE: Tensor | None = None) -> Tensor:
        """Every segment joined with those before it, oldest first. Shapes: [B, segments, K, M, E]."""
        num_parts = x_BRKQE.shape[1]
        if before_BRKQE is None:
            padded = F.pad(x_BRKQE, (0, 0, 0, 0, 0, 0, self.num_before, 0))
        else:
            padded = torch.cat((before_BRKQE, x_BRKQE), 1)
        return torch.cat([padded[:, offset : offset + num_parts] for offset in range(self.num_before + 1)], dim=3)

    def _mask(self, x_BTND: Tensor, sees_PF: Tensor, before_BF: Tensor | None = None) -> Tensor:
        """The additive mask of `visible` frames, by token. Frames before the clip are visible where `before` marks them
        as present. Shapes: [B or 1, segments, 1, Q, M].
        """
        num_frames, missing = x_BTND.shape[1], -x_BTND.shape[1] % self.segment_frames
        if before_BF is None:
            before_BF = torch.zeros(1, self.num_before * self.segment_frames, dtype=torch.bool)
        present_BF = F.pad(F.pad(before_BF, (0, num_frames), value=True), (0, missing), value=False)
        seen_BRF = present_BF.unfold(1, sees_PF.shape[1], self.segment_frames)
        is_padding_RP = torch.arange(num_frames + missing).unflatten(0, (-1, self.segment_frames)) >= num_frames
        visible = sees_PF.to(seen_BRF.device) & seen_BRF[:, :, None]
        visible = visible | is_padding_RP[..., None].to(visible.device)  # a query without any key gives NaN
        visible = visible.repeat_interleave(self.num_tokens, dim=-1)
        return log_mask(visible.repeat_interleave(self.num_tokens, dim=-2)[:, :, None].to(x_BTND.device), x_BTND.dtype)

    def _join(self, y_BRKQE: Tensor, x_BTND: Tensor) -> Tensor:
        y_BTND = y_BRKQE.transpose(2, 3).flatten(3).flatten(1, 2).unflatten(1, (-1, self.num_tokens))
        return self.project_out(y_BTND[:, : x_BTND.shape[1]])


class FrameLocalAttention(SegmentedAttention):
    """A token attends to its own frame (bidirectionally) and to the W - 1 frames before it."""

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], window_frames: int) -> None:
        num_before = 1 if window_frames <= LONG_WINDOW_FRAMES else 2
        segment_frames = max(1, -(-(window_frames - 1) // num_before))
        super().__init__(width, num_heads, grid, max(SPATIAL_BASE, 2.0 * window_frames), segment_frames, num_before)
        self.window = window_frames
        self._cached_rotation: tuple[Tensor, Tensor] | None = None

    def visible_context(self) -> Tensor:
        back_PF = self._frames_back()
        return (back_PF >= 0) & (back_PF < self.window)

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, KVCache, LayerState]:
        query, key, value = (self._segments(x) for x in self.project_clip(x_BTND))
        cache = self._cache_from(state, key, value)
        output_BRKQE = attend(query, cache.key, cache.value, self._mask(x_BTND, self.visible_context(), cache.before))
        return self._join(output_BRKQE, x_BTND), cache, self._ring_after(x_BTND, state)

    def forward_noisy(self, x_BTND: Tensor, cache: KVCache) -> Tensor:
        """A noisy frame attends to itself and to the clean frames before it."""
        query, key, value = (self._segments(x) for x in self.project_clip(x_BTND))
        back_PF = self._frames_back()
        mask = self._mask(x_BTND, (back_PF >= 1) & (back_PF < self.window), cache.before)
        own = key.unflatten(3, (-1, self.num_tokens)), value.unflatten(3, (-1, self.num_tokens))
        return self._join(attend(query, cache.key, cache.value, mask, own), x_BTND)

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        query, key, value = self.project_frame(x_BND)
        keys = torch.cat((state["key"], key[:, None]), dim=1)
        values = torch.cat((state["value"], value[:, None]), dim=1)
        valid = torch.cat((state["valid"], state["valid"].new_ones(x_BND.shape[0], 1)), dim=1)
        cos, sin = self._rotation_of_window(x_BND)
        output_BKNE = F.scaled_dot_product_attention(
            rotate(query, cos[-1], sin[-1]),
            rotate(keys, cos, sin).transpose(1, 2).flatten(2, 3),
            values.transpose(1, 2).flatten(2, 3),
            attn_mask=valid.repeat_interleave(self.num_tokens, dim=1)[:, None, None],
            scale=1.0,
        )
        new_state = {"key": keys[:, 1:], "value": values[:, 1:], "valid": valid[:, 1:]}
        return self.project_out(output_BKNE.transpose(1, 2).flatten(2)), new_state

    def forward_queries(self, x_BTND: Tensor, state: LayerState) -> Tensor:
        num_frames, tokens = x_BTND.shape[1], self.num_tokens
        query, key, value = (x.permute(0, 3, 1, 2, 4) for x in self.project_plain(x_BTND))  # [B, K, T, N, E]
        cos, sin = self._rotation_of_window(x_BTND)
        ring = rotate(state["key"], cos[:-1], sin[:-1]).transpose(1, 2).flatten(2, 3)
        y_BKQE = attend(
            rotate(query, cos[-1], sin[-1]).flatten(2, 3),
            ring,
            state["value"].transpose(1, 2).flatten(2, 3),
            log_mask(state["valid"].repeat_interleave(tokens, dim=1)[:, None, None], x_BTND.dtype),
            (rotate(key, cos[-1], sin[-1]), value),
        )
        return self.project_out(y_BKQE.unflatten(2, (num_frames, tokens)).permute(0, 2, 3, 1, 4).flatten(3))

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: key, value [B, W - 1, K, N, E]; valid [B, W - 1] bool, False for slots without a frame."""
        weight = self.project_in.weight
        ring = weight.new_zeros(batch, self.window - 1, self.num_heads, self.num_tokens, self.head_dim).detach()
        valid = torch.zeros(batch, self.window - 1, dtype=torch.bool, device=weight.device)
        return {"key": ring, "value": torch.zeros_like(ring), "valid": valid}

    def _cache_from(self, state: LayerState, key_BRKQE: Tensor, value_BRKQE: Tensor) -> KVCache:
        """The cache with the ring as the segments before the clip."""
        num_frames = self.num_before * self.segment_frames
        cos, sin = self.rotation(num_frames, key_BRKQE, -num_frames)
        unused = num_frames - state["valid"].shape[1]
        ring_key, ring_value = (
            F.pad(state[name], (0, 0, 0, 0, 0, 0, unused, 0)).transpose(2, 3) for name in ("key", "value")
        )
        return KVCache(
            key=self._with_previous(key_BRKQE, self._segments(rotate(ring_key, cos, sin))),
            value=self._with_previous(value_BRKQE, self._segments(ring_value)),
            before=F.pad(state["valid"], (unused, 0)),
        )

    def _ring_after(self, x_BTND: Tensor, state: LayerState) -> LayerState:
        """The state that `step` would leave after all frames."""
        kept = self.window - 1
        last_BTND = x_BTND[:, max(0, x_BTND.shape[1] - kept) :]
        _, key, value = (x.transpose(2, 3) for x in self.project_plain(last_BTND))
        new = {"key": key, "value": value, "valid": state["valid"].new_ones(last_BTND.shape[:2])}
        joined = {name: torch.cat((state[name], part), 1) for name, part in new.items()}
        return {name: ring[:, ring.shape[1] - kept :] for name, ring in joined.items()}

    def _frames_back(self) -> Tensor:
        """Distance in frames from a query frame back to a key frame. Shapes: [P, (num_before + 1) * P]."""
        own_P = torch.arange(self.segment_frames) + self.num_before * self.segment_frames
        return own_P[:, None] - torch.arange((self.num_before + 1) * self.segment_frames)

    def _rotation_of_window(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Computed once and cached: at play the slots of the window never change. Shapes: twice [W, 1, N, E]."""
        kept = self._cached_rotation
        if kept is None or kept[0].device != like.device or kept[0].dtype != like.dtype:
            with torch.inference_mode(False):
                cos, sin = self.rotation(self.window, like=like)
                kept = self._cached_rotation = cos.transpose(1, 2), sin.transpose(1, 2)
        return kept
