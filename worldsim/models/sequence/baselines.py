"""What the architectures of the comparison have in place of scans and local attention: an LSTM, attention to all past
frames, and attention that is bidirectional in time, within chunks of frames (as in the paper) or over a full window.

See `architectures`, and `bidirectional` for the models that generate frame by frame with bidirectional attention.
Letters as in `mixer` and `attention`; U hidden units of the LSTM.
Source: LSSVWM, supplement S2 (chunks of 5); Song et al. 2025, "History-guided video diffusion" (the window).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.fp32 import full_precision
from worldsim.models.sequence.attention import SPATIAL_BASE, FrameAttention, KVCache, SegmentedAttention, attend, rotate
from worldsim.models.sequence.mamba2 import log_mask
from worldsim.models.sequence.mixer import SCAN_STATE, BlockMixer, LayerState
from worldsim.models.state import GROWING_PREFIX

TIME_BASE = 10_000.0
"""The slowest pair of four rotates once in 6,000 frames."""
SEGMENT_TOKENS = 192
"""Approximate number of queries per matrix product; no scores are computed for later keys."""
KEY, VALUE = GROWING_PREFIX + "key", GROWING_PREFIX + "value"
PRESENT = "present"
"""Name in the state given to `ChunkAttention.step`: which frames of the chunk are present. Shapes: bool [B, P]."""


class BlockLSTM(BlockMixer):
    """With half as many hidden units as channels it has about as many parameters as a Mamba-2 layer."""

    def __init__(self, width: int, grid: tuple[int, int], block: tuple[int, int]) -> None:
        super().__init__(grid, block)
        self.lstm = nn.LSTM(width, width // 2, batch_first=True)
        self.project_out = nn.Linear(width // 2, width, bias=False)

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, Tensor]:
        """The cache is the state before every frame. Shapes: [G, T, 2, U]."""
        y_BTND, cache, _ = self.forward_context_from(x_BTND, self.initial_state(len(x_BTND)))
        return y_BTND, cache

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, Tensor, LayerState]:
        x_GTND = self._to_blocks(x_BTND)
        outputs, states = [], [state[SCAN_STATE].flatten(0, 1)]
        for x_GND in x_GTND.unbind(1):
            y_GNU, state_G2U = self._scan(x_GND, states[-1])
            outputs.append(y_GNU)
            states.append(state_G2U)
        after = {SCAN_STATE: states[-1].unflatten(0, state[SCAN_STATE].shape[:2])}
        return self._finish(torch.stack(outputs, 1)), torch.stack(states[:-1], 1), after

    def forward_noisy(self, x_BTND: Tensor, cache: Tensor) -> Tensor:
        x_GTND = self._to_blocks(x_BTND)
        y, _ = self._scan(x_GTND.flatten(0, 1), cache.flatten(0, 1))
        return self._finish(y.unflatten(0, x_GTND.shape[:2]))

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        y_GNU, state_G2U = self._scan(self._to_blocks(x_BND[:, None])[:, 0], state[SCAN_STATE].flatten(0, 1))
        return self._finish(y_GNU[:, None])[:, 0], {SCAN_STATE: state_G2U.unflatten(0, state[SCAN_STATE].shape[:2])}

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: scan_state [B, blocks, 2, U], hidden state and cell state."""
        weight = self.project_out.weight.detach()
        return {SCAN_STATE: weight.new_zeros(batch, self.num_blocks, 2, self.lstm.hidden_size)}

    @full_precision
    def _scan(self, x_GND: Tensor, state_G2U: Tensor) -> tuple[Tensor, Tensor]:
        hidden_GU, cell_GU = state_G2U.unbind(1)
        start = hidden_GU[None].contiguous(), cell_GU[None].contiguous()
        y_GNU, (hidden, cell) = self.lstm(x_GND.to(state_G2U.dtype), start)
        return y_GNU, torch.stack((hidden[0], cell[0]), 1)

    def _finish(self, y_GTNU: Tensor) -> Tensor:
        return self._from_blocks(self.project_out(y_GTNU))


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
        return self._attend(query, cache, x_BTND.shape[1]), cache

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, FullKVCache, LayerState]:
        first = state[KEY].shape[1]
        query, key, value = self.project_clip(x_BTND, first)
        after = {name: torch.cat((state[name], x.transpose(2, 3)), 1) for name, x in ((KEY, key), (VALUE, value))}
        keys, values = (_by_head(after[name].transpose(2, 3)) for name in (KEY, VALUE))
        cache = FullKVCache(key=keys, value=values, first=first)
        return self._attend(_by_head(query), cache, x_BTND.shape[1]), cache, after

    def forward_noisy(self, x_BTND: Tensor, cache: FullKVCache) -> Tensor:
        query, key, value = (_by_head(x) for x in self.project_clip(x_BTND, cache.first))
        return self._attend(query, cache, x_BTND.shape[1], (key, value))

    def _attend(
        self, query_BKQE: Tensor, cache: FullKVCache, num_frames: int, own: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """`own`: keys and values of the noisy stream, which a frame sees in place of its clean ones."""
        outputs, size = [], max(1, SEGMENT_TOKENS // self.num_tokens)
        for begin in range(0, num_frames, size):
            end = min(begin + size, num_frames)
            mask = self._mask(cache.first + begin, cache.first + end, query_BKQE, seen_after=1 if own is None else 0)
            seen, here = (cache.first + end) * self.num_tokens, slice(begin * self.num_tokens, end * self.num_tokens)
            parts = own and (self._by_frame(own[0][:, :, here]), self._by_frame(own[1][:, :, here]))
            part = query_BKQE[:, :, here]
            outputs.append(attend(part, cache.key[:, :, :seen], cache.value[:, :, :seen], mask, parts))
        return self.project_out(self._by_frame(torch.cat(outputs, dim=2).transpose(1, 2), 1).flatten(3))

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

    def _by_frame(self, x: Tensor, dim: int = 2) -> Tensor:
        return x.unflatten(dim, (-1, self.num_tokens))

    def _mask(self, begin: int, end: int, like: Tensor, *, seen_after: int) -> Tensor:
        """A frame attends to those before it, and to `seen_after` more. Shapes: [Q, M]."""
        query_P, key_F = torch.arange(begin, end), torch.arange(end)
        visible = (key_F < query_P[:, None] + seen_after).repeat_interleave(self.num_tokens, dim=1)
        return log_mask(visible.repeat_interleave(self.num_tokens, dim=0).to(like.device), like.dtype)


def _by_head(x_BTNKE: Tensor) -> Tensor:
    """Shapes: [B, T, N, K, E] -> [B, K, T * N, E], contiguous, so that slices need no copy."""
    return x_BTNKE.flatten(1, 2).transpose(1, 2).contiguous()


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
