"""The interface of explicit maps, and a world model that consists of a map only.

`fixed_map` holds a map in the weights, `map_tracker` one in the state. Letters as in `models.world_model`; F channels
of what a map renders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from worldsim.models.config import MapModelConfig
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FloorPlan, FrameContext, LatentShape, MemoryPart, WorldModel

MapState: TypeAlias = dict[str, Tensor]
"""`pose` and `previous_pose` [B, P], the estimated pose now and one tick before, and the map's own tensors."""

MAP_PREFIX = "map."
"""Prefix of a map's tensors in a WorldState."""


class MapMemory(nn.Module, ABC):
    """A map with the estimated pose of the camera: predict the pose, render, integrate the frame.

    No method changes a state in place.
    """

    num_extra_channels: int
    """Channels rendered before those of the latent: F = num_extra_channels + C."""

    @abstractmethod
    def initial_state(self, batch: int) -> MapState:
        """The state before the first frame."""

    @abstractmethod
    def predict(self, state: MapState, action_BA: Tensor) -> tuple[MapState, Tensor]:
        """Moves the pose by the action, and renders there. Shapes: returns the state and [B, F, H, W]."""

    @abstractmethod
    def commit(
        self, state: MapState, latent_BCHW: Tensor, generated_B: Tensor, pose_BP: Tensor | None = None
    ) -> MapState:
        """Integrates a frame. `generated_B`: the model made it; `pose_BP`: the true poses of true frames."""

    def stop_at_walls(self, state: MapState, action_BA: Tensor) -> Tensor:
        """See `WorldModel.stop_at_walls`."""
        return action_BA

    @abstractmethod
    def floor_plan(self, state: MapState) -> FloorPlan:
        """The map, to look at."""

    def render_clip(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor | None,
        action_BTA: Tensor,
        pose_BTP: Tensor | None = None,
        start: MapState | None = None,
    ) -> tuple[Tensor, MapState]:
        """`predict` and `commit` over a clip, without gradient: a map has losses of its own.

        Shapes: returns the rendered frames [B, T, F, H, W] and the state after the clip.
        """
        if generated_BT is None:
            generated_BT = torch.zeros(latent_BTCHW.shape[:2], dtype=torch.bool, device=latent_BTCHW.device)
        with torch.no_grad():
            return self._render_clip(latent_BTCHW, generated_BT, action_BTA, pose_BTP, start)

    @torch.no_grad()
    def write_clip(self, latent_BTCHW: Tensor, action_BTA: Tensor, start: MapState) -> MapState:
        """The state after a clip of true frames."""
        return self.render_clip(latent_BTCHW, None, action_BTA, start=start)[1]

    @torch.no_grad()
    def render_queries(self, state: MapState, action_BTA: Tensor) -> Tensor:
        """What `predict` renders for each of several actions after the same state. Shapes: returns [B, T, F, H, W]."""
        return torch.stack([self.predict(state, action_BA)[1] for action_BA in action_BTA.unbind(1)], 1)

    def _render_clip(
        self,
        latent_BTCHW: Tensor,
        generated_BT: Tensor,
        action_BTA: Tensor,
        pose_BTP: Tensor | None,
        start: MapState | None,
    ) -> tuple[Tensor, MapState]:
        state, clip = start or self.initial_state(len(action_BTA)), []
        for t in range(action_BTA.shape[1]):
            state, rendered = self.predict(state, action_BTA[:, t])
            clip.append(rendered)
            pose_BP = None if pose_BTP is None else pose_BTP[:, t]
            state = self.commit(state, latent_BTCHW[:, t], generated_BT[:, t], pose_BP)
        return torch.stack(clip, 1), state


class ModelWithMap(WorldModel):
    """What follows from a map in the state."""

    map: MapMemory

    def skip(self, state: WorldState, context: FrameContext) -> WorldState:
        names = (f"{MAP_PREFIX}pose", f"{MAP_PREFIX}previous_pose")
        return state.advance({name: context.state.tensors[name] for name in names})

    def stop_at_walls(self, state: WorldState, action_BA: Tensor) -> Tensor:
        return self.map.stop_at_walls(state.with_prefix(MAP_PREFIX), action_BA)

    def floor_plan(self, state: WorldState) -> FloorPlan | None:
        return self.map.floor_plan(state.with_prefix(MAP_PREFIX))


class MapModel(ModelWithMap):
    """The frame is what the map renders, plus a constant per channel. Noise and tau are not read.

    The constant is zero in a newly built model, and no recipe trains it: it is what the output bias of a denoiser had
    learned in weights of schema 1.
    """

    config: MapModelConfig
    uses_denoising = False
    latent_bias_C: Tensor

    def __init__(self, config: MapModelConfig, latent_shape: LatentShape, action_size: int, memory: MapMemory) -> None:
        super().__init__(config, latent_shape, action_size)
        self.map = memory
        self.register_buffer("latent_bias_C", torch.zeros(latent_shape[0]))

    def initial_state(self, batch: int, seed: int) -> WorldState:
        return WorldState(tensors=with_map_prefix(self.map.initial_state(batch)), seed=seed)

    def without_memory(self, state: WorldState, part: MemoryPart = "all") -> WorldState:
        if part == "scan":
            return state
        batch = len(next(iter(state.tensors.values())))
        return replace(self.initial_state(batch, state.seed), frame_index=state.frame_index)

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        start = None if state is None else state.with_prefix(MAP_PREFIX)
        rendered, after = self.map.render_clip(context_BTCHW, generated_BT, action_BTA, pose_BTP, start)
        end = None if state is None else state.advance(with_map_prefix(after), action_BTA.shape[1])
        return ClipContext(action_BTA=action_BTA, inputs=self._latent(rendered), end=end)

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        predicted: Tensor = clip_context.inputs
        return predicted

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        map_state, rendered = self.map.predict(state.with_prefix(MAP_PREFIX), action_BA)
        state = state.advance(with_map_prefix(map_state), 0)
        return FrameContext(state=state, action_BA=action_BA, inputs=self._latent(rendered))

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        predicted: Tensor = context.inputs
        return predicted

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        generated_B = torch.full_like(level_B, generated, dtype=torch.bool)
        map_state = self.map.commit(context.state.with_prefix(MAP_PREFIX), latent_BCHW, generated_B, pose_BP)
        return context.state.advance(with_map_prefix(map_state))

    def _latent(self, rendered_BFHW: Tensor) -> Tensor:
        return rendered_BFHW[..., -self.latent_shape[0] :, :, :] + self.latent_bias_C[:, None, None]


def with_map_prefix(state: MapState) -> dict[str, Tensor]:
    return {MAP_PREFIX + name: tensor for name, tensor in state.items()}
