"""Attention to all past frames: the full-context transformer that the paper compares with.

At play its keys and values grow with every frame, so the state has no fixed size. Letters as in `attention`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.sequence.attention import FrameAttention, attend, rotate
from worldsim.models.sequence.mamba2 import log_mask
from worldsim.models.sequence.mixer import LayerState
from worldsim.models.state import GROWING_PREFIX

TIME_BASE = 10_000.0
"""The slowest pair of four rotates once in 6,000 frames."""
SEGMENT_TOKENS = 192
"""Approximate number of queries per matrix product; no scores are computed for later keys."""

KEY, VALUE = GROWING_PREFIX + "key", GROWING_PREFIX + "value"


@dataclass(frozen=True, kw_only=True)
class FullKVCache:
    """Keys (rotated) and values of the clean stream, including `first` frames before the clip.

    Shapes: [B, K, (first + T) * N, E].
    """

    key: Tensor
    value: Tensor
    first: int = 0


class FullAttention(FrameAttention):
    """A token attends to its own frame (bidirectionally) and to all frames before it.

    Keys are stored rotated: a frame's position in time is the number of frames before it, and never changes.
    """

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__(width, num_heads, grid, TIME_BASE)

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, FullKVCache]:
        query, key, value = (_by_head(x) for x in self.project_clip(x_BTND))
        cache = FullKVCache(key=key, value=value)
        return self._attend_clean(query, cache, x_BTND), cache

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, FullKVCache, LayerState]:
        first = state[KEY].shape[1]
        query, key, value = self.project_clip(x_BTND, first)
        after = {name: torch.cat((state[name], x.transpose(2, 3)), 1) for name, x in ((KEY, key), (VALUE, value))}
        keys, values = (_by_head(after[name].transpose(2, 3)) for name in (KEY, VALUE))
        cache = FullKVCache(key=keys, value=values, first=first)
        return self._attend_clean(_by_head(query), cache, x_BTND), cache, after

    def _attend_clean(self, query_BKQE: Tensor, cache: FullKVCache, x_BTND: Tensor) -> Tensor:
        outputs = []
        for begin, end in self._segments(x_BTND.shape[1]):
            mask = self._mask(cache.first + begin, cache.first + end, x_BTND, seen_after=1)
            here = slice(None, (cache.first + end) * self.num_tokens)
            part = self._frames(query_BKQE, begin, end)
            outputs.append(attend(part, cache.key[:, :, here], cache.value[:, :, here], mask))
        return self._join(outputs)

    def forward_noisy(self, x_BTND: Tensor, cache: FullKVCache) -> Tensor:
        query, key, value = (_by_head(x) for x in self.project_clip(x_BTND, cache.first))
        outputs = []
        for begin, end in self._segments(x_BTND.shape[1]):
            mask = self._mask(cache.first + begin, cache.first + end, x_BTND, seen_after=0)
            here = slice(None, (cache.first + end) * self.num_tokens)
            own_key, own_value = (self._frames(x, begin, end).unflatten(2, (-1, self.num_tokens)) for x in (key, value))
            part = self._frames(query, begin, end)
            outputs.append(attend(part, cache.key[:, :, here], cache.value[:, :, here], mask, (own_key, own_value)))
        return self._join(outputs)

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        query, key, value = self.project_frame(x_BND)
        cos_N1E, sin_N1E = (x[0] for x in self.rotation(1, like=x_BND, first=state[KEY].shape[1]))
        cos, sin = cos_N1E.transpose(0, 1), sin_N1E.transpose(0, 1)
        keys = torch.cat((state[KEY], rotate(key, cos, sin)[:, None]), dim=1)
        values = torch.cat((state[VALUE], value[:, None]), dim=1)
        output_BKNE = F.scaled_dot_product_attention(
            rotate(query, cos, sin),
            keys.transpose(1, 2).flatten(2, 3),
            values.transpose(1, 2).flatten(2, 3),
            scale=1.0,
        )
        return self.project_out(output_BKNE.transpose(1, 2).flatten(2)), {KEY: keys, VALUE: values}

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: key, value [B, frames so far, K, N, E]."""
        shape = (batch, 0, self.num_heads, self.num_tokens, self.head_dim)
        empty = self.project_in.weight.new_zeros(shape).detach()
        return {KEY: empty, VALUE: torch.zeros_like(empty)}

    def _segments(self, num_frames: int) -> list[tuple[int, int]]:
        """(first frame, end) of each."""
        size = max(1, SEGMENT_TOKENS // self.num_tokens)
        return [(begin, min(begin + size, num_frames)) for begin in range(0, num_frames, size)]

    def _frames(self, x_BKQE: Tensor, begin: int, end: int) -> Tensor:
        return x_BKQE[:, :, begin * self.num_tokens : end * self.num_tokens]

    def _mask(self, begin: int, end: int, like: Tensor, *, seen_after: int) -> Tensor:
        """A frame attends to those before it, and to `seen_after` more. Shapes: [Q, M]."""
        query_P, key_F = torch.arange(begin, end), torch.arange(end)
        visible = (key_F < query_P[:, None] + seen_after).repeat_interleave(self.num_tokens, dim=1)
        return log_mask(visible.repeat_interleave(self.num_tokens, dim=0).to(like.device), like.dtype)

    def _join(self, outputs: list[Tensor]) -> Tensor:
        y_BTNKE = torch.cat(outputs, dim=2).transpose(1, 2).unflatten(1, (-1, self.num_tokens))
        return self.project_out(y_BTNKE.flatten(3))


def _by_head(x_BTNKE: Tensor) -> Tensor:
    """Shapes: [B, T, N, K, E] -> [B, K, T * N, E], contiguous, so that slices need no copy."""
    return x_BTNKE.flatten(1, 2).transpose(1, 2).contiguous()
