"""Sequence models that also read what an explicit map renders. Letters as in `models.sequence.sequence_model`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.config import MappedModelConfig
from worldsim.models.maps.map_model import MAP_PREFIX, MapMemory, ModelWithMap, with_map_prefix
from worldsim.models.sequence.sequence_model import SequenceModel
from worldsim.models.sequence.trunk import TrunkInputs, TrunkModel
from worldsim.models.sequence.two_stream import CleanStream, TwoStreamModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FrameContext, LatentShape, MemoryPart


class MappedModel(ModelWithMap, SequenceModel):
    """Keeps the map's state beside that of the layers. A subclass says how its denoiser reads the rendered frame."""

    config: MappedModelConfig

    def _with_rendered(self, inputs: Any, rendered: Tensor) -> Any:
        """The inputs of the denoiser with the rendered frame [..., F, H, W]."""
        raise NotImplementedError(type(self).__name__)

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
        context = super().read_history(context_BTCHW, level_BT, action_BTA, state=state)  # type: ignore[safe-super]
        start = None if state is None else state.with_prefix(MAP_PREFIX)
        rendered, after = self.map.render_clip(context_BTCHW, generated_BT, action_BTA, pose_BTP, start)
        end = context.end and context.end.advance(with_map_prefix(after), 0)
        return replace(context, inputs=self._with_rendered(context.inputs, rendered), end=end)

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        context = super().begin(state, action_BA)  # type: ignore[safe-super]
        map_state, rendered = self.map.predict(state.with_prefix(MAP_PREFIX), action_BA)
        state = context.state.advance(with_map_prefix(map_state), 0)
        return replace(context, state=state, inputs=self._with_rendered(context.inputs, rendered))

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
        state = super().commit(context, latent_BCHW, level_B)  # type: ignore[safe-super]
        return state.advance(with_map_prefix(map_state), 0)

    def _is_memory(self, name: str, part: MemoryPart) -> bool:
        return super()._is_memory(name, part) or (part != "scan" and name.startswith(MAP_PREFIX))


class MappedTrunkModel(MappedModel, TrunkModel):
    """The frame is what the map renders plus what the denoiser adds, which is nothing before training."""

    def __init__(
        self, config: MappedModelConfig, latent_shape: LatentShape, action_size: int, memory: MapMemory
    ) -> None:
        num_rendered = memory.num_extra_channels + latent_shape[0]
        super().__init__(config, latent_shape, action_size, num_rendered=num_rendered)
        self.map = memory
        for parameter in self.denoiser.to_latent.parameters():
            nn.init.zeros_(parameter)

    def _with_rendered(self, inputs: TrunkInputs, rendered: Tensor) -> TrunkInputs:
        return inputs._replace(latents=torch.cat((inputs.latents, rendered), -3))

    def _denoise(self, noisy: Tensor, inputs: TrunkInputs, action: Tensor, tau: Tensor, step_size: Tensor) -> Tensor:
        rendered_latent = inputs.latents[:, -self.latent_shape[0] :]
        return rendered_latent + super()._denoise(noisy, inputs, action, tau, step_size)


class RenderedStream(NamedTuple):
    """What the noisy stream reads: the clean stream (None where the layers read the state), and the rendered frames
    [..., F, H, W]."""

    clean: CleanStream | None
    rendered: Tensor


class MappedTwoStreamModel(MappedModel, TwoStreamModel):
    """The noisy stream reads the rendered frame in its tokens, and for every cell of the latent a gate mixes what it
    predicts with what the map renders.

    Before training the gate is one half, and the tokens do not depend on the map.
    """

    config: MappedModelConfig

    def __init__(
        self, config: MappedModelConfig, latent_shape: LatentShape, action_size: int, memory: MapMemory
    ) -> None:
        super().__init__(config, latent_shape, action_size)
        self.map = memory
        self.embed_rendered = nn.Linear(
            (memory.num_extra_channels + latent_shape[0]) * config.patch**2, config.width, bias=False
        )
        self.to_gate = nn.Linear(config.width, config.patch**2)
        for parameter in (*self.embed_rendered.parameters(), *self.to_gate.parameters()):
            nn.init.zeros_(parameter)

    def write_history(
        self, context_BTCHW: Tensor, level_BT: Tensor, action_BTA: Tensor, state: WorldState
    ) -> WorldState:
        end = TwoStreamModel.write_history(self, context_BTCHW, level_BT, action_BTA, state)
        after = self.map.write_clip(context_BTCHW, action_BTA, state.with_prefix(MAP_PREFIX))
        return end.advance(with_map_prefix(after), 0)

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        stream: RenderedStream = clip_context.inputs
        noisy_BTXHW = torch.cat((noisy_BTCHW, stream.rendered), -3)
        return super().predict(replace(clip_context, inputs=stream.clean), noisy_BTXHW, tau_BT, step_size_BT)

    def predict_queries(
        self, state: WorldState, action_BTA: Tensor, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor
    ) -> Tensor:
        rendered = self.map.render_queries(state.with_prefix(MAP_PREFIX), action_BTA)
        return super().predict_queries(state, action_BTA, torch.cat((noisy_BTCHW, rendered), -3), tau_BT, step_size_BT)

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        stream: RenderedStream = context.inputs
        return super().denoise(context, torch.cat((noisy_BCHW, stream.rendered), -3), tau_B, step_size_B)

    def _with_rendered(self, inputs: CleanStream | None, rendered: Tensor) -> RenderedStream:
        return RenderedStream(inputs, rendered)

    def _features(self, clip_context: ClipContext) -> Tensor:
        return super()._features(replace(clip_context, inputs=clip_context.inputs.clean))

    def _noisy_tokens(self, noisy_BTXHW: Tensor, action_BTA: Tensor) -> Tensor:
        noisy, rendered = self._split(noisy_BTXHW)
        folded = F.pixel_unshuffle(rendered, self.config.patch).flatten(-2).transpose(-1, -2)
        return super()._noisy_tokens(noisy, action_BTA) + self.embed_rendered(folded)

    def _clean_latent(self, x_BND: Tensor, noisy_BXHW: Tensor) -> Tensor:
        predicted = super()._clean_latent(x_BND, noisy_BXHW)
        gate = self._unfold(self.to_gate(self.final_norm(x_BND))).sigmoid()
        rendered_latent = noisy_BXHW[..., -self.latent_shape[0] :, :, :]
        return torch.lerp(predicted, rendered_latent.to(predicted), gate)

    def _split(self, noisy_BTXHW: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latent, and the rendered frame that follows it."""
        channels = self.latent_shape[0]
        return noisy_BTXHW[..., :channels, :, :], noisy_BTXHW[..., channels:, :, :]
