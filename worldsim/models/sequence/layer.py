"""One layer: block-wise scan, attention and MLP, each modulated by the condition. Same interface as `mixer`.

Source: LSSVWM, Figure 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worldsim.models.conditioning import Modulation, modulate
from worldsim.models.config import (
    BidirectionalAttentionConfig,
    ChunkAttentionConfig,
    FullAttentionConfig,
    GatedDeltaNetConfig,
    LayersConfig,
    LocalAttentionConfig,
    LSTMConfig,
    NoScanConfig,
)
from worldsim.models.sequence.attention import FrameLocalAttention
from worldsim.models.sequence.baselines import BidirectionalAttention, BlockLSTM, ChunkAttention, FullAttention
from worldsim.models.sequence.mixer import BlockGatedDeltaNet, BlockMamba2, LayerState, TimeMixer


class Layer(nn.Module):
    """Without scan or attention (`kind = "none"`) that sublayer has no parameters and no cost."""

    def __init__(self, config: LayersConfig, grid: tuple[int, int], block: tuple[int, int]) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_hidden
        self.modulation = Modulation(width, width, config.num_sublayers, config.modulation_std)
        self.scan = build_scan(config, grid, block)
        self.attention = build_attention(config, grid)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    @property
    def _mixers(self) -> list[TimeMixer]:
        """Scan and attention, in order, where present."""
        return [mixer for mixer in (self.scan, self.attention) if mixer is not None]

    def forward_context(
        self, x_BTND: Tensor, condition_BTD: Tensor, state: LayerState | None = None
    ) -> tuple[Tensor, list[Any], LayerState]:
        """A clip, from `state` if given. Returns: output, caches, and the state after the clip (empty without one)."""
        caches, after = [], LayerState()

        def mix(mixer: TimeMixer, x_BTND: Tensor) -> Tensor:
            if state is None:
                y_BTND, cache = mixer.forward_context(x_BTND)
            else:
                y_BTND, cache, part = mixer.forward_context_from(x_BTND, state)
                after.update(part)
            caches.append(cache)
            return y_BTND

        return self._run(x_BTND, condition_BTD, mix), caches, after

    def forward_noisy(self, x_BTND: Tensor, condition_BTD: Tensor, caches: list[Any]) -> Tensor:
        unread = iter(caches)
        return self._run(x_BTND, condition_BTD, lambda mixer, x_BTND: mixer.forward_noisy(x_BTND, next(unread)))

    def forward_queries(self, x_BTND: Tensor, condition_BTD: Tensor, state: LayerState) -> Tensor:
        return self._run(x_BTND, condition_BTD, lambda mixer, x_BTND: mixer.forward_queries(x_BTND, state))

    def step(self, x_BND: Tensor, condition_BD: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        after = LayerState()

        def mix(mixer: TimeMixer, x_BND: Tensor) -> Tensor:
            y_BND, part = mixer.step(x_BND, state)
            after.update(part)
            return y_BND

        return self._run(x_BND, condition_BD, mix), after

    def _run(self, x_ND: Tensor, condition_D: Tensor, mix: Callable[[TimeMixer, Tensor], Tensor]) -> Tensor:
        """All sublayers; `mix(mixer, x)` is the output of scan or attention. Shapes: [..., N, D]."""
        *parts, (mlp_shift, mlp_scale, mlp_gate) = self.modulation(condition_D)
        for mixer, (shift, scale, gate) in zip(self._mixers, parts, strict=True):
            x_ND = torch.addcmul(x_ND, gate, mix(mixer, modulate(x_ND, shift, scale)))
        return torch.addcmul(x_ND, mlp_gate, self.mlp(modulate(x_ND, mlp_shift, mlp_scale)))

    def initial_state(self, batch: int) -> LayerState:
        return {name: tensor for mixer in self._mixers for name, tensor in mixer.initial_state(batch).items()}


def build_scan(config: LayersConfig, grid: tuple[int, int], block: tuple[int, int]) -> TimeMixer | None:
    """The scan of `config.scan`, None without one."""
    scan = config.scan
    if isinstance(scan, NoScanConfig):
        return None
    if isinstance(scan, LSTMConfig):
        return BlockLSTM(config.width, grid, block)
    make = BlockGatedDeltaNet if isinstance(scan, GatedDeltaNetConfig) else BlockMamba2
    return make(config.width, config.num_heads, scan, grid, block, config.frames_per_block)


def build_attention(config: LayersConfig, grid: tuple[int, int]) -> TimeMixer | None:
    """The attention of `config.attention`, None without one."""
    width, num_heads, attention = config.width, config.num_heads, config.attention
    if isinstance(attention, LocalAttentionConfig):
        return FrameLocalAttention(width, num_heads, grid, attention.window_frames)
    if isinstance(attention, FullAttentionConfig):
        return FullAttention(width, num_heads, grid)
    if isinstance(attention, ChunkAttentionConfig):
        return ChunkAttention(width, num_heads, grid, attention.chunk_frames)
    if isinstance(attention, BidirectionalAttentionConfig):
        return BidirectionalAttention(width, num_heads, grid, attention.window_frames)
    return None


def build_layers(config: LayersConfig, grid: tuple[int, int]) -> list[Layer]:
    """`config.num_layers` layers, which take the scan's blocks in turn."""
    blocks = config.scan_blocks
    return [Layer(config, grid, blocks[i % len(blocks)]) for i in range(config.num_layers)]
