"""A sequence model whose denoiser also reads what an explicit map renders, and adds to it.

Letters as in `models.sequence.trunk`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from worldsim.models.config import MappedModelConfig
from worldsim.models.maps.map_model import MAP_PREFIX, MapMemory, with_map_prefix
from worldsim.models.sequence.trunk import TrunkInputs, TrunkModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FrameContext, LatentShape


class MappedModel(TrunkModel):
    """The frame is what the map renders plus what the denoiser adds, which is nothing before training."""

    config: MappedModelConfig

    def __init__(
        self, config: MappedModelConfig, latent_shape: LatentShape, action_size: int, memory: MapMemory
    ) -> None:
        num_rendered = memory.num_extra_channels + latent_shape[0]
        super().__init__(config, latent_shape, action_size, num_rendered=num_rendered)
        self.map = memory
        for parameter in self.denoiser.to_latent.parameters():
            nn.init.zeros_(parameter)

    def initial_state(self, batch: int, seed: int) -> WorldState:
        return super().initial_state(batch, seed).advance(with_map_prefix(self.map.initial_state(batch)), 0)

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        context = super().read_history(context_BTCHW, level_BT, action_BTA, state=state)
        start = None if state is None else state.with_prefix(MAP_PREFIX)
        rendered, after = self.map.render_clip(context_BTCHW, generated_BT, action_BTA, pose_BTP, start)
        end = context.end and context.end.advance(with_map_prefix(after), 0)
        return replace(context, inputs=_with_rendered(context.inputs, rendered), end=end)

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        context = super().begin(state, action_BA)
        map_state, rendered = self.map.predict(state.with_prefix(MAP_PREFIX), action_BA)
        state = context.state.advance(with_map_prefix(map_state), 0)
        return replace(context, state=state, inputs=_with_rendered(context.inputs, rendered))

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
        return super().commit(context, latent_BCHW, level_B).advance(with_map_prefix(map_state), 0)

    def _is_memory(self, name: str) -> bool:
        return super()._is_memory(name) or name.startswith(MAP_PREFIX)

    def _denoise(self, noisy: Tensor, inputs: TrunkInputs, action: Tensor, tau: Tensor, step_size: Tensor) -> Tensor:
        rendered_latent = inputs.latents[:, -self.latent_shape[0] :]
        return rendered_latent + super()._denoise(noisy, inputs, action, tau, step_size)


def _with_rendered(inputs: TrunkInputs, rendered: Tensor) -> TrunkInputs:
    return inputs._replace(latents=torch.cat((inputs.latents, rendered), -3))
