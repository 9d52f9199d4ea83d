"""A sequence model with a separate denoiser, which is conditioned on the output of the layers (the history trunk).

The layers run once per frame, over (previous clean latent, action). So every frame trains exactly as at play, without a
second stream, and a denoising step costs only the denoiser: convolutions move visible content; attention over the cells
and the trunk's tokens add what was not visible. Letters as in `sequence_model`; F channels of the denoiser, or of the
latents that it reads beside the noisy one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.conditioning import Modulation, ScalarEmbedding
from worldsim.models.config import LayersConfig, MappedModelConfig, SeparateDenoiserConfig, SequenceModelConfig
from worldsim.models.sequence.sequence_model import SequenceModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FrameContext, LatentShape

PAST_LATENTS, PAST_NOISE_LEVEL = "past_latents", "past_noise_level"


class DenoiserBlock(nn.Module):
    """Modulated convolutions, then attention over all cells of the frame."""

    def __init__(self, channels: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.modulation = Modulation(condition_width, channels, 2)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.project_in = nn.Linear(channels, 3 * channels, bias=False)
        self.project_out = nn.Linear(channels, channels, bias=False)

    def forward(self, x_BFHW: Tensor, condition_BD: Tensor) -> Tensor:
        conv, attention = self.modulation(condition_BD)
        convolved_BFHW = self.conv_out(F.silu(self.conv_in(_modulate(x_BFHW, conv))))
        x_BFHW = torch.addcmul(x_BFHW, _channels(conv[2]), convolved_BFHW)
        tokens_BNF = _modulate(x_BFHW, attention).flatten(2).transpose(1, 2)
        qkv = self.project_in(tokens_BNF).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        (query, key), value = F.rms_norm(qkv[:2], qkv.shape[-1:]).unbind(0), qkv[2]
        mixed_BKNE = F.scaled_dot_product_attention(query, key, value)
        mixed_BNF = self.project_out(mixed_BKNE.transpose(1, 2).flatten(2))
        return torch.addcmul(x_BFHW, _channels(attention[2]), mixed_BNF.transpose(1, 2).unflatten(2, x_BFHW.shape[2:]))


class Denoiser(nn.Module):
    """Predicts the clean latent from the noisy one, the clean past latents and the layers' tokens."""

    def __init__(
        self,
        layers: LayersConfig,
        config: SeparateDenoiserConfig,
        latent_shape: tuple[int, int, int],
        num_rendered: int = 0,
    ) -> None:
        """`num_rendered`: channels that are read beside the noisy latent and the past ones."""
        super().__init__()
        channels, height, width = latent_shape
        inner = config.width
        self.patch, self.grid = layers.patch, (height // layers.patch, width // layers.patch)
        self.from_latents = nn.Conv2d(channels * (1 + config.num_past) + num_rendered, inner, 3, padding=1)
        self.from_trunk = nn.Linear(layers.width, inner * layers.patch**2)
        heads = max(1, inner // 32)
        self.blocks = nn.ModuleList([DenoiserBlock(inner, layers.width, heads) for _ in range(config.num_blocks)])
        self.modulation = Modulation(layers.width, inner, 1)
        self.to_latent = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, latents_BCHW: Tensor, trunk_BND: Tensor, condition_BD: Tensor) -> Tensor:
        """Shapes: latents [B, C * (1 + num_past) + num_rendered, H, W], the noisy one first; trunk [B, N, D]; returns
        [B, C, H, W].
        """
        folded = self.from_trunk(trunk_BND).transpose(1, 2).unflatten(2, self.grid)
        x_BFHW = self.from_latents(latents_BCHW) + F.pixel_shuffle(folded, self.patch)
        for block in self.blocks:
            x_BFHW = block(x_BFHW, condition_BD)
        (final,) = self.modulation(condition_BD)
        predicted: Tensor = self.to_latent(F.silu(_modulate(x_BFHW, final)))
        return predicted


def _channels(gate_B1F: Tensor) -> Tensor:
    return gate_B1F.transpose(1, 2)[..., None]


def _modulate(x_BFHW: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Group norm over the frame without weights, then scale and shift."""
    normed_BFHW = F.group_norm(x_BFHW, x_BFHW.shape[1] // 16)
    return torch.addcmul(_channels(parts[0]), normed_BFHW, 1 + _channels(parts[1]))


class TrunkInputs(NamedTuple):
    """What the denoiser reads beside the noisy latent. Shapes: features [..., N, D], latents [..., F, H, W]."""

    features: Tensor
    latents: Tensor


class TrunkModel(SequenceModel):
    """See the module's docstring."""

    def __init__(
        self,
        config: SequenceModelConfig | MappedModelConfig,
        latent_shape: LatentShape,
        action_size: int,
        *,
        num_rendered: int = 0,
    ) -> None:
        """`num_rendered`: channels that a subclass appends to the latents which the denoiser reads."""
        super().__init__(config, latent_shape, action_size)
        assert isinstance(config.denoiser, SeparateDenoiserConfig), config.denoiser
        self.num_past = config.denoiser.num_past
        self.denoiser = Denoiser(config, config.denoiser, latent_shape, num_rendered)
        self.embed_tau = ScalarEmbedding(config.width)
        self.embed_step = ScalarEmbedding(config.width)

    def initial_state(self, batch: int, seed: int) -> WorldState:
        state = super().initial_state(batch, seed)
        past = self.position_ND.new_zeros(batch, self.num_past, *self.latent_shape).detach()
        level = self.position_ND.new_ones(batch).detach()
        return state.advance({PAST_LATENTS: past, PAST_NOISE_LEVEL: level}, 0)

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        num_past, num_frames = self.num_past, context_BTCHW.shape[1]
        if state is None:
            before_BPCHW = context_BTCHW.new_zeros(len(context_BTCHW), num_past, *self.latent_shape)
            level_before_B = level_BT.new_ones(len(level_BT))
        else:
            before_BPCHW, level_before_B = state.tensors[PAST_LATENTS], state.tensors[PAST_NOISE_LEVEL]
        padded = torch.cat((before_BPCHW, context_BTCHW), 1)
        past_BTFHW = torch.cat([padded[:, p : p + num_frames] for p in range(num_past)], 2)
        past_level_BT = torch.cat((level_before_B[:, None], level_BT[:, :-1]), 1)
        condition_BTD = self.embed_action(action_BTA) + self.embed_level(past_level_BT)
        last_BTCHW = padded[:, num_past - 1 : num_past - 1 + num_frames]
        x_BTND, _, tensors = self._forward_context(self._tokens(last_BTCHW), condition_BTD, state)
        tensors |= {PAST_LATENTS: padded[:, num_frames:], PAST_NOISE_LEVEL: level_BT[:, -1]}
        return ClipContext(
            action_BTA=action_BTA,
            inputs=TrunkInputs(self.final_norm(x_BTND), past_BTFHW),
            end=state and state.advance(tensors, num_frames),
        )

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        features, latents = clip_context.inputs
        predicted = self._denoise(
            noisy_BTCHW.flatten(0, 1),
            TrunkInputs(features.flatten(0, 1), latents.flatten(0, 1)),
            clip_context.action_BTA.flatten(0, 1),
            tau_BT.flatten(),
            step_size_BT.flatten(),
        )
        return predicted.unflatten(0, noisy_BTCHW.shape[:2])

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        condition_BD = self.embed_action(action_BA) + self.embed_level(state.tensors[PAST_NOISE_LEVEL])
        x_BND, tensors = self._step(self._tokens(state.tensors[PAST_LATENTS][:, -1]), condition_BD, state)
        inputs = TrunkInputs(self.final_norm(x_BND), state.tensors[PAST_LATENTS].flatten(1, 2))
        return FrameContext(state=state.advance(tensors, 0), action_BA=action_BA, inputs=inputs)

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        return self._denoise(noisy_BCHW, context.inputs, context.action_BA, tau_B, step_size_B)

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        past = torch.cat((context.state.tensors[PAST_LATENTS][:, 1:], latent_BCHW[:, None]), 1)
        return context.state.advance({PAST_LATENTS: past, PAST_NOISE_LEVEL: level_B})

    def _features(self, clip_context: ClipContext) -> Tensor:
        features: Tensor = clip_context.inputs.features
        return features

    def _denoise(self, noisy: Tensor, inputs: TrunkInputs, action: Tensor, tau: Tensor, step_size: Tensor) -> Tensor:
        condition_BD = self.embed_action(action) + self.embed_tau(tau) + self.embed_step(step_size)
        predicted: Tensor = self.denoiser(torch.cat((noisy, inputs.latents), 1), inputs.features, condition_BD)
        return predicted
