"""A block-wise LSTM in place of a state-space model.

Training and play form are equal by construction: both run torch's LSTM over the tokens of each frame. Letters as in
`mixer`; U hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldsim.models.fp32 import full_precision
from worldsim.models.sequence.mixer import SCAN_STATE, BlockMixer, LayerState


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
        return {SCAN_STATE: self._zero_state(batch * self.num_blocks).detach().unflatten(0, (batch, self.num_blocks))}

    @full_precision
    def _scan(self, x_GND: Tensor, state_G2U: Tensor) -> tuple[Tensor, Tensor]:
        hidden_GU, cell_GU = state_G2U.unbind(1)
        start = hidden_GU[None].contiguous(), cell_GU[None].contiguous()
        y_GNU, (hidden, cell) = self.lstm(x_GND.to(state_G2U.dtype), start)
        return y_GNU, torch.stack((hidden[0], cell[0]), 1)

    def _finish(self, y_GTNU: Tensor) -> Tensor:
        return self._from_blocks(self.project_out(y_GTNU))

    def _zero_state(self, num_groups: int) -> Tensor:
        return self.project_out.weight.new_zeros(num_groups, 2, self.lstm.hidden_size)
