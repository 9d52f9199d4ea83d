"""One layer of the core: block-wise scan, frame-local attention, MLP, each modulated by the condition.

Owns: their order and the joining of their states. Same three verbs as `mixer`: write, read, step.
Source: LSSVWM, Figure 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from worldsim.models.attention import FrameLocalAttention
from worldsim.models.conditioning import Modulation, modulate
from worldsim.models.config import WorldModelConfig
from worldsim.models.mixer import BlockScan, LayerState, NoScan


class Layer(nn.Module):
    def __init__(self, config: WorldModelConfig, grid: tuple[int, int], block: tuple[int, int]) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.modulation = Modulation(width, width, 3)
        self.scan: BlockScan | NoScan = (
            BlockScan(width, config.num_heads, config.state_dim, grid, block) if config.mixer == "mamba2" else NoScan()
        )
        self.attention = FrameLocalAttention(width, config.num_heads, grid, config.window_frames)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def write(self, x_BTND: Tensor, condition_BTD: Tensor) -> tuple[Tensor, tuple[Any, Any]]:
        scan, attention, mlp = self.modulation(condition_BTD)
        y, scan_memo = self.scan.write(modulate(x_BTND, *scan[:2]))
        x_BTND = torch.addcmul(x_BTND, scan[2], y)
        y, attention_memo = self.attention.write(modulate(x_BTND, *attention[:2]))
        x_BTND = torch.addcmul(x_BTND, attention[2], y)
        return torch.addcmul(x_BTND, mlp[2], self.mlp(modulate(x_BTND, *mlp[:2]))), (scan_memo, attention_memo)

    def read(self, x_BTND: Tensor, condition_BTD: Tensor, memo: tuple[Any, Any]) -> Tensor:
        scan, attention, mlp = self.modulation(condition_BTD)
        x_BTND = torch.addcmul(x_BTND, scan[2], self.scan.read(modulate(x_BTND, *scan[:2]), memo[0]))
        x_BTND = torch.addcmul(x_BTND, attention[2], self.attention.read(modulate(x_BTND, *attention[:2]), memo[1]))
        return torch.addcmul(x_BTND, mlp[2], self.mlp(modulate(x_BTND, *mlp[:2])))

    def step(self, x_BND: Tensor, condition_BD: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        scan, attention, mlp = self.modulation(condition_BD)
        y, scan_state = self.scan.step(modulate(x_BND, *scan[:2]), state)
        x_BND = torch.addcmul(x_BND, scan[2], y)
        y, attention_state = self.attention.step(modulate(x_BND, *attention[:2]), state)
        x_BND = torch.addcmul(x_BND, attention[2], y)
        return torch.addcmul(x_BND, mlp[2], self.mlp(modulate(x_BND, *mlp[:2]))), {**scan_state, **attention_state}

    def initial_state(self, batch: int) -> LayerState:
        return {**self.scan.initial_state(batch), **self.attention.initial_state(batch)}


def build_layers(config: WorldModelConfig, grid: tuple[int, int]) -> list[Layer]:
    """`config.num_layers` layers whose scan blocks take `config.blocks` in turn."""
    return [Layer(config, grid, config.blocks[i % len(config.blocks)]) for i in range(config.num_layers)]
