"""Block-wise scans as layers over the tokens of a frame grid, with a state of fixed size. See `mamba2` for the scan.

Attention has the same interface, `TimeMixer`.

Letters: B batch, T frames, N tokens per frame on an R x L grid (rows, columns), D width, K heads, E head dim, S state
dim, G blocks of all samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import RMSNorm
from worldsim.models.config import LinearScanConfig, Mamba2Config
from worldsim.models.sequence.gated_deltanet import delta_chunked, delta_chunked_read, delta_read_state, delta_step
from worldsim.models.sequence.mamba2 import (
    ScanCache,
    ScanInput,
    merge_frames,
    ssd_chunked,
    ssd_chunked_read,
    ssd_read_state,
    ssd_step,
    zero_state,
)

LayerState: TypeAlias = dict[str, Tensor]
SCAN_STATE = "scan_state"
"""Name of every scan's state tensor in a LayerState."""
CONV_STATE = "conv_state"
"""Name of the tokens before a frame that a short convolution reaches."""


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

    def forward_queries(self, x_BTND: Tensor, state: LayerState) -> Tensor:
        """Many frames, each of which is the next after the same state: the output of `step` for each."""
        batch, num_frames = x_BTND.shape[:2]
        many = {name: tensor.repeat_interleave(num_frames, 0) for name, tensor in state.items()}
        return self.step(x_BTND.flatten(0, 1), many)[0].unflatten(0, (batch, num_frames))

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


@dataclass(frozen=True, kw_only=True)
class ConvCache:
    """The cache of a scan with a short convolution. Shapes: tails [G, T, J, C], the J tokens before each frame."""

    scan: ScanCache
    tails: Tensor


class BlockMamba2(BlockMixer):
    """Mamba-2.

    The decay is divided by the tokens of a block, so that time constants are in frames for any block; so is the write,
    unless `write_gain` is "frame". `frames_per_block` frames are scanned as one: a noisy token also reads the noisy
    ones before it in those frames. More letters: M groups of heads, J tokens before a frame that the short convolution
    covers, C channels of x, b and c.
    """

    _chunked = staticmethod(ssd_chunked)
    _chunked_read = staticmethod(ssd_chunked_read)
    _read_state = staticmethod(ssd_read_state)
    _one_step = staticmethod(ssd_step)

    def __init__(
        self,
        width: int,
        num_heads: int,
        scan: LinearScanConfig,
        grid: tuple[int, int],
        block: tuple[int, int],
        frames_per_block: int = 1,
    ) -> None:
        super().__init__(grid, block)
        self.frames_per_block, self.key_groups, self.state_dim = frames_per_block, scan.key_groups, scan.state_dim
        self.divides_gain = not isinstance(scan, Mamba2Config) or scan.write_gain == "block"
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.split = self._channels(width)
        self.project_in = nn.Linear(width, sum(self.split), bias=False)
        self.project_out = nn.Linear(width, width, bias=False)
        self.norm = RMSNorm(width, eps=1e-6)
        channels = self.split[1]
        self.conv = nn.Conv1d(channels, channels, scan.short_conv, groups=channels) if scan.short_conv else None
        fastest, slowest = (math.log10(frames) for frames in scan.time_constants)
        slowness_K = torch.logspace(fastest, slowest, num_heads)
        self.dt_bias_K = nn.Parameter(torch.log(torch.expm1(1 / slowness_K)))
        self.log_rate_K = nn.Parameter(torch.zeros(num_heads))
        self.skip_K = nn.Parameter(torch.ones(num_heads))

    def _channels(self, width: int) -> tuple[int, ...]:
        """Sizes of the parts of the input projection: gate, (x, b, c), dt."""
        return width, width + 2 * self.key_groups * self.state_dim, self.num_heads

    def forward_context(self, x_BTND: Tensor) -> tuple[Tensor, ScanCache | ConvCache]:
        gate, x, stream, tails = self._project(x_BTND)
        y, cache = self._chunked(merge_frames(stream, self.frames_per_block), zero_state(stream))
        return self._finish(y, gate, x), self._cache(cache, tails)

    def forward_context_from(
        self, x_BTND: Tensor, state: LayerState
    ) -> tuple[Tensor, ScanCache | ConvCache, LayerState]:
        gate, x, stream, tails = self._project(x_BTND, self._tail(state))
        y, cache = self._chunked(stream, self._scan_state(state))
        return self._finish(y, gate, x), self._cache(cache, tails), self._layer_state(cache.end, tails, state)

    def forward_noisy(self, x_BTND: Tensor, cache: ScanCache | ConvCache) -> Tensor:
        tails = cache.tails if isinstance(cache, ConvCache) else None
        gate, x, stream, _ = self._project(x_BTND, tails)
        scan = cache.scan if isinstance(cache, ConvCache) else cache
        return self._finish(self._chunked_read(scan, merge_frames(stream, self.frames_per_block)), gate, x)

    def forward_queries(self, x_BTND: Tensor, state: LayerState) -> Tensor:
        tail = self._tail(state)
        tails = None if tail is None else tail[:, None].expand(-1, x_BTND.shape[1], -1, -1)
        gate, x, stream, _ = self._project(x_BTND, tails)
        return self._finish(self._read_state(self._scan_state(state), stream), gate, x)

    def step(self, x_BND: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """With `frames_per_block`, x is [B, frames, N, D]."""
        gate, x, stream, tails = self._project(x_BND if x_BND.dim() == 4 else x_BND[:, None], self._tail(state))
        y, scan_GKES = self._one_step(merge_frames(stream, self.frames_per_block), self._scan_state(state))
        return self._finish(y, gate, x).view_as(x_BND), self._layer_state(scan_GKES, tails, state)

    def initial_state(self, batch: int) -> LayerState:
        """Shapes: scan_state [B, blocks, K, E, S], float32; with a short convolution, conv_state [B, blocks, J, C]."""
        shape = (batch, self.num_blocks, self.num_heads, self.head_dim, self.state_dim)
        state = {SCAN_STATE: self.log_rate_K.new_zeros(shape, dtype=_scan_dtype(self.log_rate_K)).detach()}
        if self.conv is not None:
            tail = (batch, self.num_blocks, self.conv.kernel_size[0] - 1, self.split[1])
            state[CONV_STATE] = state[SCAN_STATE].new_zeros(tail)
        return state

    def _scan_state(self, state: LayerState) -> Tensor:
        """The groups of heads as scans of their own. Shapes: returns [G * M, K / M, E, S]."""
        return state[SCAN_STATE].flatten(0, 1).unflatten(1, (self.key_groups, -1)).flatten(0, 1)

    def _layer_state(self, scan_GKES: Tensor, tails: Tensor | None, before: LayerState) -> LayerState:
        ssm = scan_GKES.unflatten(0, (-1, self.key_groups)).flatten(1, 2).unflatten(0, before[SCAN_STATE].shape[:2])
        if tails is None:
            return {SCAN_STATE: ssm}
        return {SCAN_STATE: ssm, CONV_STATE: tails[:, -1].unflatten(0, before[SCAN_STATE].shape[:2])}

    def _tail(self, state: LayerState) -> Tensor | None:
        return None if self.conv is None else state[CONV_STATE].flatten(0, 1)

    def _cache(self, scan: ScanCache, tails: Tensor | None) -> ScanCache | ConvCache:
        return scan if tails is None else ConvCache(scan=scan, tails=tails[:, :-1])

    def _project(self, x_BTND: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor, ScanInput, Tensor | None]:
        """Everything block by block: the gate [G, T, N, D], the values [G, T, N, K, E], what is scanned, in which each
        group of heads is a block of its own, and the tails. `before`: see `_convolve`.
        """
        gate, xbc, dt, *rest = self._to_blocks(self.project_in(x_BTND)).split(self.split, dim=-1)
        tails = None
        if self.conv is not None:
            xbc, tails = self._convolve(xbc, before)
        keys = self.key_groups * self.state_dim
        x, b, c = xbc.to(_scan_dtype(self.log_rate_K)).split((gate.shape[-1], keys, keys), dim=-1)
        x_GTNKE = x.unflatten(-1, (self.num_heads, self.head_dim))
        step, gain = self._steps(dt, rest)
        stream = ScanInput(
            x=self._by_group(x_GTNKE, 3),
            dt=self._by_group(gain, 3),
            a=self._by_group(-step * self.log_rate_K.exp(), 3),
            b=F.normalize(self._by_group(b, 3), dim=-1),
            c=self._by_group(c, 3),
        )
        return gate, x_GTNKE, stream, tails

    def _steps(self, dt: Tensor, rest: list[Tensor]) -> tuple[Tensor, Tensor]:
        """How much each token decays the state, and how strongly it is written. Shapes: twice [G, T, N, K]."""
        step = F.softplus(dt.to(_scan_dtype(self.log_rate_K)) + self.dt_bias_K)
        per_token = step / (self.block[0] * self.block[1])
        return per_token, per_token if self.divides_gain else step

    def _convolve(self, xbc_GTNC: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Causal over the tokens in the order of the scan, then a SiLU; and the tokens before every frame and after
        the last. `before`: the tokens before the first frame [G, J, C], or before each of them [G, T, J, C].

        Shapes: returns [G, T, N, C] and [G, T + 1, J, C].
        """
        assert self.conv is not None
        num_before, num_tokens = self.conv.kernel_size[0] - 1, xbc_GTNC.shape[2]
        if before is None:
            before = xbc_GTNC.new_zeros(len(xbc_GTNC), num_before, xbc_GTNC.shape[-1])
        if before.dim() == 4:
            shape = xbc_GTNC.shape[:2]
            y, tails = self._convolve(xbc_GTNC.flatten(0, 1)[:, None], before.flatten(0, 1))
            return y[:, 0].unflatten(0, shape), tails
        padded = torch.cat((before.to(xbc_GTNC), xbc_GTNC.flatten(1, 2)), 1)
        y_GCQ = F.silu(self.conv(padded.transpose(1, 2)))
        if num_before:
            tails = padded.unfold(1, num_before, num_tokens).transpose(2, 3)
        else:
            tails = padded.new_zeros(len(padded), xbc_GTNC.shape[1] + 1, 0, padded.shape[-1])
        return y_GCQ.transpose(1, 2).unflatten(1, (-1, num_tokens)), tails.to(_scan_dtype(self.log_rate_K))

    def _by_group(self, value: Tensor, dim: int) -> Tensor:
        """Shapes: [G, T, N, K or M * S, ...] -> [G * M, T, N, K / M or S, ...]."""
        if self.key_groups == 1:
            return value
        return value.unflatten(dim, (self.key_groups, -1)).movedim(dim, 1).flatten(0, 1)

    def _finish(self, y: Tensor, gate_GTND: Tensor, x_GTNKE: Tensor) -> Tensor:
        frames, tokens, heads, head_dim = x_GTNKE.shape[1:]
        y = y.reshape(len(y), -1, tokens, heads // self.key_groups, head_dim)[:, :frames]
        if self.key_groups > 1:
            y = y.unflatten(0, (-1, self.key_groups)).movedim(1, 3).flatten(3, 4)
        y_GTND = torch.addcmul(y, self.skip_K[:, None], x_GTNKE).flatten(-2).to(gate_GTND.dtype)
        gated_GTND = y_GTND * F.silu(gate_GTND)
        return self._from_blocks(self.project_out(self.norm(gated_GTND)))


class BlockGatedDeltaNet(BlockMamba2):
    """Gated DeltaNet: as BlockMamba2, by the gated delta rule, whose writes do not depend on the size of a block."""

    _chunked = staticmethod(delta_chunked)
    _chunked_read = staticmethod(delta_chunked_read)
    _read_state = staticmethod(delta_read_state)
    _one_step = staticmethod(delta_step)

    def _channels(self, width: int) -> tuple[int, ...]:
        """As Mamba-2, and beta."""
        return *super()._channels(width), self.num_heads

    def _steps(self, dt: Tensor, rest: list[Tensor]) -> tuple[Tensor, Tensor]:
        per_token, _ = super()._steps(dt, rest)
        return per_token, rest[0].to(per_token).sigmoid()


def _scan_dtype(parameter: Tensor) -> torch.dtype:
    """float32, or float64 if the model is in float64 (in tests)."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32
