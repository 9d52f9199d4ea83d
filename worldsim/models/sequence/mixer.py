"""Block-wise scans as layers over the tokens of a frame grid, with a state of fixed size. See `mamba2` for the scan.

Every time-mixing layer, attention too, has this interface:
    forward_context(x)              all frames of the clean stream; returns the output and a cache for `forward_noisy`
    forward_context_from(x, state)  the same, from a state; also returns the state after the frames
    forward_noisy(x, cache)         all frames of the noisy stream; frame t reads the clean frames before t, and itself
    step(x, state)                  one frame; returns the output and the new state. Drop the state to read, keep it to
                                    commit

Letters: B batch, T frames, N tokens per frame on an R x L grid (rows, columns), D width, K heads, E head dim, S state
dim, G blocks of all samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.sequence.gated_deltanet import delta_chunked, delta_chunked_read, delta_step
from worldsim.models.sequence.mamba2 import (
    ScanCache,
    ScanInput,
    merge_frames,
    ssd_chunked,
    ssd_chunked_read,
    ssd_step,
    zero_state,
)

LayerState: TypeAlias = dict[str, Tensor]

SCAN_STATE = "scan_state"
"""Name of every scan's state tensor in a LayerState."""

MAX_TIME_CONSTANT_FRAMES = 1000.0
"""Time constants are initialized log-uniformly between one frame and this many."""


class TimeMixer(nn.Module, ABC):
    """The part of a layer that mixes frames: a scan, or attention."""

    @abstractmethod
    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, Any]:
        """All frames of the clean stream. Returns: the output, and a cache for `forward_noisy`."""

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, Any, LayerState]:
        """`forward_context` from a state; also returns the state after the frames.

        Only for causal attention (`LayersConfig.supports_tbptt`).
        """
        raise NotImplementedError(type(self).__name__)

    @abstractmethod
    def forward_noisy(self, x_BTND: Tensor, cache: Any) -> Tensor:
        """All frames of the noisy stream: frame t reads itself and the clean frames before it."""

    @abstractmethod
    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """One frame. `state` may contain tensors of other mixers; only this one's are returned."""

    @abstractmethod
    def initial_state(self, batch: int) -> LayerState:
        """The state before the first frame."""


class BlockMixer(TimeMixer):
    """Scans block by block; `block` is (rows, columns) in tokens, (0, 0) is the full frame."""

    def __init__(self, grid: tuple[int, int], block: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.block = (block[0] or grid[0], block[1] or grid[1])
        assert grid[0] % self.block[0] == 0 and grid[1] % self.block[1] == 0, f"grid {grid}, block {block}"
        self.num_blocks = (grid[0] // self.block[0]) * (grid[1] // self.block[1])

    def _to_blocks(self, x_BTNC: Tensor) -> Tensor:
        """[B, T, R * L, C] -> [B * blocks, T, tokens of a block, C], row by row within the block."""
        batch, frames, _, channels = x_BTNC.shape
        (rows, columns), (high, wide) = self.grid, self.block
        x = x_BTNC.reshape(batch, frames, rows // high, high, columns // wide, wide, channels)
        return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, frames, high * wide, channels)

    def _from_blocks(self, x_GTNC: Tensor) -> Tensor:
        (rows, columns), (high, wide) = self.grid, self.block
        frames, channels = x_GTNC.shape[1], x_GTNC.shape[-1]
        x = x_GTNC.reshape(-1, rows // high, columns // wide, frames, high, wide, channels)
        return x.permute(0, 3, 1, 4, 2, 5, 6).reshape(-1, frames, rows * columns, channels)


class BlockMamba2(BlockMixer):
    """Mamba-2.

    No short convolution: the local attention after every scan has that role, and its cache is needed anyway.
    dt is divided by the tokens of a block, so that time constants are in frames for any block. `frames_per_block`
    frames are scanned as one: a noisy token also reads the noisy ones before it in those frames.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        state_dim: int,
        grid: tuple[int, int],
        block: tuple[int, int],
        frames_per_block: int = 1,
    ) -> None:
        super().__init__(grid, block)
        self.frames_per_block = frames_per_block
        self.num_heads, self.state_dim, self.head_dim = num_heads, state_dim, width // num_heads
        self.split = self._channels(width)
        self.project_in = nn.Linear(width, sum(self.split), bias=False)
        self.project_out = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        slowness_K = torch.logspace(0, math.log10(MAX_TIME_CONSTANT_FRAMES), num_heads)
        self.dt_bias_K = nn.Parameter(torch.log(torch.expm1(1 / slowness_K)))
        self.log_rate_K = nn.Parameter(torch.zeros(num_heads))
        self.skip_K = nn.Parameter(torch.ones(num_heads))

    def _channels(self, width: int) -> tuple[int, ...]:
        """Sizes of the input projection: gate, x, b, c, dt."""
        return width, width, self.state_dim, self.state_dim, self.num_heads

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, ScanCache]:
        gate, stream = self._project(x_BTND)
        y, cache = self._chunked(merge_frames(stream, self.frames_per_block), zero_state(stream))
        return self._finish(y, gate, stream), cache

    def forward_context_from(self, x_BTND: Tensor, state: LayerState) -> tuple[Tensor, ScanCache, LayerState]:
        gate, stream = self._project(x_BTND)
        y, cache = self._chunked(stream, state[SCAN_STATE].flatten(0, 1))
        return self._finish(y, gate, stream), cache, {SCAN_STATE: cache.end.unflatten(0, state[SCAN_STATE].shape[:2])}

    def forward_noisy(self, x_BTND: Tensor, cache: ScanCache) -> Tensor:
        gate, stream = self._project(x_BTND)
        return self._finish(self._chunked_read(cache, merge_frames(stream, self.frames_per_block)), gate, stream)

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """With `frames_per_block`, x is [B, frames, N, D]."""
        gate, stream = self._project(x_BND if x_BND.dim() == 4 else x_BND[:, None])
        y, scan_GKES = self._one_step(merge_frames(stream, self.frames_per_block), state[SCAN_STATE].flatten(0, 1))
        return self._finish(y, gate, stream).view_as(x_BND), {
            SCAN_STATE: scan_GKES.unflatten(0, state[SCAN_STATE].shape[:2])
        }

    def _chunked(self, stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, ScanCache]:
        return ssd_chunked(stream, state_GKES)

    def _chunked_read(self, cache: ScanCache, stream: ScanInput) -> Tensor:
        return ssd_chunked_read(cache, stream)

    def _one_step(self, stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
        return ssd_step(stream, state_GKES)

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: scan_state [B, blocks, K, E, S], float32."""
        shape = (batch, self.num_blocks, self.num_heads, self.head_dim, self.state_dim)
        return {SCAN_STATE: self.log_rate_K.new_zeros(shape, dtype=_scan_dtype(self.log_rate_K)).detach()}

    def _project(self, x_BTND: Tensor) -> tuple[Tensor, ScanInput]:
        """Gate [G, T, N, D] and stream, block by block."""
        gate, stream, _ = self._split(x_BTND)
        return gate, stream

    def _split(self, x_BTND: Tensor) -> tuple[Tensor, ScanInput, list[Tensor]]:
        """Gate, stream, and any further parts of the input projection."""
        gate, x, b, c, dt, *rest = self._to_blocks(self.project_in(x_BTND)).split(self.split, dim=-1)
        wide = _scan_dtype(self.log_rate_K)
        num_tokens = self.block[0] * self.block[1]
        dt = F.softplus(dt.to(wide) + self.dt_bias_K) / num_tokens
        stream = ScanInput(
            x=x.to(wide).unflatten(-1, (self.num_heads, self.head_dim)),
            dt=dt,
            a=-dt * self.log_rate_K.exp(),
            b=F.normalize(b.to(wide), dim=-1),
            c=c.to(wide),
        )
        return gate, stream, rest

    def _finish(self, y: Tensor, gate_GTND: Tensor, stream: ScanInput) -> Tensor:
        y = y.reshape(len(y), -1, *stream.x.shape[2:])[:, : stream.x.shape[1]]
        y_GTND = torch.addcmul(y, self.skip_K[:, None], stream.x).flatten(-2).to(gate_GTND.dtype)
        return self._from_blocks(self.project_out(self.norm(y_GTND * F.silu(gate_GTND))))


class BlockGatedDeltaNet(BlockMamba2):
    """Gated DeltaNet: BlockMamba2 with the gated delta rule."""

    def _chunked(self, stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, ScanCache]:
        return delta_chunked(stream, state_GKES)

    def _chunked_read(self, cache: ScanCache, stream: ScanInput) -> Tensor:
        return delta_chunked_read(cache, stream)

    def _one_step(self, stream: ScanInput, state_GKES: Tensor) -> tuple[Tensor, Tensor]:
        return delta_step(stream, state_GKES)

    def _channels(self, width: int) -> tuple[int, ...]:
        """As Mamba-2, and beta."""
        return *super()._channels(width), self.num_heads

    def _project(self, x_BTND: Tensor) -> tuple[Tensor, ScanInput]:
        gate, stream, beta = self._split(x_BTND)
        return gate, replace(stream, dt=beta[0].to(stream.dt).sigmoid())


def _scan_dtype(parameter: Tensor) -> torch.dtype:
    """float32, or float64 if the model is in float64 (in tests)."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32
