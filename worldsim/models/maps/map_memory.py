"""What a model may know of the place it is in, whoever drew the map: one interface for the trunk.

Owns: the interface, and what it is over a clip. Does not own: a map in the weights (`fixed_map`), one in the state
(`map_tracker`). Letters as in `world_model`; P pose size, F channels of what is recalled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor, nn

MapState: TypeAlias = dict[str, Tensor]
"""`pose` and `previous` [B, P], the estimated pose now and a tick before, and what else the memory keeps."""


class MapMemory(nn.Module, ABC):
    """Predict by the action, recall, take in the frame. Nothing here mutates a state."""

    num_extra_channels: int
    """Channels of what is recalled that come before the latent: F = num_extra_channels + C."""

    @abstractmethod
    def initial_state(self, batch: int) -> MapState:
        """Before the first frame."""

    @abstractmethod
    def predict(self, state: MapState, action_BA: Tensor) -> tuple[MapState, Tensor]:
        """Where the next frame will be seen from, and what is recalled there. Shapes: recalled [B, F, H, W]."""

    @abstractmethod
    def commit(
        self, state: MapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> MapState:
        """Takes in a frame, the model's own where `generated_B`; `pose_BP` is where true ones were truly seen from."""

    def render_clip(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None = None,
        start: MapState | None = None,
    ) -> tuple[Tensor, MapState]:
        """What play does frame by frame, over a clip. Returns: recalled [B, T, F, H, W], and the state after it."""
        state, clip = start or self.initial_state(len(action_BTA)), []
        for t in range(action_BTA.shape[1]):
            state, recalled = self.predict(state, action_BTA[:, t])
            clip.append(recalled)
            pose_BP = None if pose_BTP is None else pose_BTP[:, t]
            state = self.commit(state, latent_BTCHW[:, t], generated_BT[:, t], pose_BP)
        return torch.stack(clip, 1), state
