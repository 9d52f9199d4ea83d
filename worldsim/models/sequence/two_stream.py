"""A sequence model whose layers denoise: a clean stream writes their state, a noisy stream reads it.

The clean stream writes scan states and keys; the noisy stream reads those of earlier frames. Denoising steps run all
layers and drop the new state; one more pass, over the clean latent, commits it. Letters as in `sequence_model`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import ScalarEmbedding
from worldsim.models.config import MappedModelConfig, SequenceModelConfig, SharedDenoiserConfig
from worldsim.models.sequence.sequence_model import SequenceModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FrameContext, LatentShape


class CleanStream(NamedTuple):
    """The clean stream of a clip: the layers' output [B, T, N, D], and what the noisy stream reads in every layer."""

    features_BTND: Tensor
    caches: list[Any]


class TwoStreamModel(SequenceModel):
    """See the module's docstring."""

    config: SequenceModelConfig | MappedModelConfig

    def __init__(
        self, config: SequenceModelConfig | MappedModelConfig, latent_shape: LatentShape, action_size: int
    ) -> None:
        super().__init__(config, latent_shape, action_size)
        self.adds_action = isinstance(config.denoiser, SharedDenoiserConfig) and config.denoiser.action_in_tokens
        self.embed_step = ScalarEmbedding(config.width)
        self.to_latent = nn.Linear(config.width, latent_shape[0] * config.patch**2)

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        condition_BTD = self._condition(1 - level_BT, torch.zeros_like(level_BT), action_BTA)
        tokens_BTND = self._action_tokens(context_BTCHW, action_BTA)
        x_BTND, caches, tensors = self._forward_context(tokens_BTND, condition_BTD, state)
        return ClipContext(
            action_BTA=action_BTA,
            inputs=CleanStream(self.final_norm(x_BTND), caches),
            end=state and state.advance(tensors, context_BTCHW.shape[1]),
        )

    def write_history(
        self, context_BTCHW: Tensor, level_BT: Tensor, action_BTA: Tensor, state: WorldState
    ) -> WorldState:
        """The state after a clip of true frames. Shapes: as in `read_history`."""
        end = self.read_history(context_BTCHW, level_BT, action_BTA, state=state).end
        assert end is not None
        return end

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        condition_BTD = self._condition(tau_BT, step_size_BT, clip_context.action_BTA)
        x_BTND = self._noisy_tokens(noisy_BTCHW, clip_context.action_BTA)
        for layer, cache in zip(self._layers, clip_context.inputs.caches, strict=True):
            x_BTND = layer.forward_noisy(x_BTND, condition_BTD, cache)
        return self._clean_latent(x_BTND, noisy_BTCHW)

    def predict_queries(
        self, state: WorldState, action_BTA: Tensor, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor
    ) -> Tensor:
        """The clean latents of many frames, each as the next frame after the same state: what `denoise` gives for each.

        Shapes: returns [B, T, C, H, W].
        """
        condition_BTD = self._condition(tau_BT, step_size_BT, action_BTA)
        x_BTND = self._noisy_tokens(noisy_BTCHW, action_BTA)
        for index, layer in enumerate(self._layers):
            x_BTND = layer.forward_queries(x_BTND, condition_BTD, state.with_prefix(f"layers.{index}."))
        return self._clean_latent(x_BTND, noisy_BTCHW)

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        return FrameContext(state=state, action_BA=action_BA)

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        condition_BD = self._condition(tau_B, step_size_B, context.action_BA)
        x_BND, _ = self._step(self._noisy_tokens(noisy_BCHW, context.action_BA), condition_BD, context.state)
        return self._clean_latent(x_BND, noisy_BCHW)

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        condition_BD = self._condition(1 - level_B, torch.zeros_like(level_B), context.action_BA)
        _, tensors = self._step(self._action_tokens(latent_BCHW, context.action_BA), condition_BD, context.state)
        return context.state.advance(tensors)

    def _features(self, clip_context: ClipContext) -> Tensor:
        features: Tensor = clip_context.inputs.features_BTND
        return features

    def _action_tokens(self, latent_BTCHW: Tensor, action_BTA: Tensor) -> Tensor:
        """Shapes: [..., C, H, W] and [..., A] -> [..., N, D]."""
        tokens = self._tokens(latent_BTCHW)
        if not self.adds_action:
            return tokens
        return tokens + self.embed_action(action_BTA)[..., None, :]

    def _condition(self, tau: Tensor, step_size: Tensor, action: Tensor) -> Tensor:
        condition: Tensor = self.embed_level(1 - tau) + self.embed_step(step_size) + self.embed_action(action)
        return condition

    def _noisy_tokens(self, noisy_BTCHW: Tensor, action_BTA: Tensor) -> Tensor:
        """Tokens of the noisy stream. A subclass may read more channels after those of the latent."""
        return self._action_tokens(noisy_BTCHW, action_BTA)

    def _clean_latent(self, x_BND: Tensor, noisy_BCHW: Tensor) -> Tensor:
        """The prediction, from the layers' output and what `_noisy_tokens` read."""
        return self._latent(x_BND)

    def _latent(self, x_BND: Tensor) -> Tensor:
        return self._unfold(self.to_latent(self.final_norm(x_BND)))

    def _unfold(self, folded_BNX: Tensor) -> Tensor:
        """Values of the cells of every token to a frame. Shapes: [..., N, C * patch**2] -> [..., C, H, W]."""
        height, width = self.latent_shape[1] // self.config.patch, self.latent_shape[2] // self.config.patch
        return F.pixel_shuffle(folded_BNX.transpose(-1, -2).unflatten(-1, (height, width)), self.config.patch)
