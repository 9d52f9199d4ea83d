"""One layer: block-wise scan, attention and MLP, each modulated by the condition. Same interface as `mixer`.

Source: LSSVWM, Figure 3.
"""

from __future__ import annotations

from functools import partial
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
        *parts, mlp = self.modulation(condition_BTD)
        caches, after = [], LayerState()
        for mixer, (shift, scale, gate) in zip(self._mixers, parts, strict=True):
            if state is None:
                y_BTND, cache = mixer.forward_context(modulate(x_BTND, shift, scale))
            else:
                y_BTND, cache, part = mixer.forward_context_from(modulate(x_BTND, shift, scale), state)
                after |= part
            x_BTND = torch.addcmul(x_BTND, gate, y_BTND)
            caches.append(cache)
        return torch.addcmul(x_BTND, mlp[2], self.mlp(modulate(x_BTND, *mlp[:2]))), caches, after

    def forward_noisy(self, x_BTND: Tensor, condition_BTD: Tensor, caches: list[Any]) -> Tensor:
        *parts, mlp = self.modulation(condition_BTD)
        for mixer, (shift, scale, gate), cache in zip(self._mixers, parts, caches, strict=True):
            x_BTND = torch.addcmul(x_BTND, gate, mixer.forward_noisy(modulate(x_BTND, shift, scale), cache))
        return torch.addcmul(x_BTND, mlp[2], self.mlp(modulate(x_BTND, *mlp[:2])))

    def forward_queries(self, x_BTND: Tensor, condition_BTD: Tensor, state: LayerState) -> Tensor:
        *parts, mlp = self.modulation(condition_BTD)
        for mixer, (shift, scale, gate) in zip(self._mixers, parts, strict=True):
            x_BTND = torch.addcmul(x_BTND, gate, mixer.forward_queries(modulate(x_BTND, shift, scale), state))
        return torch.addcmul(x_BTND, mlp[2], self.mlp(modulate(x_BTND, *mlp[:2])))

    def step(self, x_BND: Tensor, condition_BD: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        *parts, mlp = self.modulation(condition_BD)
        new_state: LayerState = {}
        for mixer, (shift, scale, gate) in zip(self._mixers, parts, strict=True):
            y_BND, part = mixer.step(modulate(x_BND, shift, scale), state)
            x_BND = torch.addcmul(x_BND, gate, y_BND)
            new_state |= part
        return torch.addcmul(x_BND, mlp[2], self.mlp(modulate(x_BND, *mlp[:2]))), new_state

    def initial_state(self, batch: int) -> LayerState:
        return {name: tensor for mixer in self._mixers for name, tensor in mixer.initial_state(batch).items()}


def build_scan(config: LayersConfig, grid: tuple[int, int], block: tuple[int, int]) -> TimeMixer | None:
    """The scan of `config.scan`, None without one."""
    scan = config.scan
    if isinstance(scan, NoScanConfig):
        return None
    if isinstance(scan, LSTMConfig):
        return BlockLSTM(config.width, grid, block)
    make = (
        BlockGatedDeltaNet
        if isinstance(scan, GatedDeltaNetConfig)
        else partial(BlockMamba2, write_gain=scan.write_gain)
    )
    return make(
        config.width,
        config.num_heads,
        scan.state_dim,
        grid,
        block,
        config.frames_per_block,
        key_groups=scan.key_groups,
        short_conv=scan.short_conv,
        time_constants=scan.time_constants,
    )


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
