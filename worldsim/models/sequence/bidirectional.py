"""Models with bidirectional attention: over chunks of frames, or over a window that is denoised as a unit.

Within a chunk or window a frame attends to later ones too. So in training each frame has its own noise level (diffusion
forcing), and at play finished frames are given at the level with which they are labeled. See `baselines` for the
layers. Letters as in `sequence_model`; P frames of a chunk, W of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.models.sequence.baselines import PRESENT
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.models.state import WorldState
from worldsim.models.world_model import ClipContext, FrameContext


class _RingBufferModel(TwoStreamModel):
    """Keeps recent frames as latents with level and action, in the `ring.*` tensors of the state."""

    @property
    def ring_frames(self) -> int:
        """Capacity of the ring."""
        return self.config.frames_per_block - 1

    def initial_state(self, batch: int, seed: int) -> WorldState:
        state = super().initial_state(batch, seed)
        latent = self.position_ND.new_zeros(batch, self.ring_frames, *self.latent_shape).detach()
        ring = {
            "ring.latent": latent,
            "ring.level": latent.new_zeros(latent.shape[:2]),
            "ring.action": latent.new_zeros(*latent.shape[:2], self.action_size),
            "ring.count": torch.zeros(batch, dtype=torch.int64, device=latent.device),
        }
        return state.advance(ring, 0)


class BidirectionalModel(_RingBufferModel):
    """Denoises a window of W frames with bidirectional attention; every frame has its own noise level.

    In training the first half of a window is context and the second half noisy; every frame of a clip is in a second
    half once. At play the last W - 1 frames are context. There is no memory beyond the window, and no computation is
    reused between frames: each costs a full window.
    """

    def read_history(
        self,
        context_BTCHW: Tensor,
        level_BT: Tensor,
        action_BTA: Tensor,
        generated_BT: Tensor | None = None,
        pose_BTP: Tensor | None = None,
        state: WorldState | None = None,
    ) -> ClipContext:
        assert state is None, "bidirectional attention starts from no state"
        return ClipContext(action_BTA=action_BTA, inputs=(context_BTCHW, level_BT))

    def predict(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        return self._latent(self._run_clip(clip_context, noisy_BTCHW, tau_BT, step_size_BT))

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        ring = context.state.tensors
        slot_W = torch.arange(self.ring_frames + 1, device=noisy_BCHW.device)
        x_BWND = self._run(
            torch.cat((ring["ring.latent"], noisy_BCHW[:, None]), 1),
            torch.cat((1 - ring["ring.level"], tau_B[:, None]), 1),
            F.pad(step_size_B[:, None], (self.ring_frames, 0)),
            torch.cat((ring["ring.action"], context.action_BA[:, None]), 1),
            slot_W >= self.ring_frames - ring["ring.count"][:, None],
        )
        return self._latent(x_BWND[:, -1])

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        ring = context.state.with_prefix("ring.")
        for name, value in (("latent", latent_BCHW), ("level", level_B), ("action", context.action_BA)):
            ring[name] = torch.cat((ring[name], value[:, None]), 1)[:, 1:]
        ring["count"] = (ring["count"] + 1).clamp_max(self.ring_frames)
        return context.state.advance({f"ring.{name}": value for name, value in ring.items()})

    def _features(self, clip_context: ClipContext) -> Tensor:
        """The features of the context frames, by one more pass over the clip."""
        context_BTCHW, level_BT = clip_context.inputs
        x_BTND = self._run_clip(clip_context, context_BTCHW, 1 - level_BT, torch.zeros_like(level_BT))
        return self.final_norm(x_BTND)

    def _run_clip(self, clip_context: ClipContext, noisy_BTCHW: Tensor, tau_BT: Tensor, step_size_BT: Tensor) -> Tensor:
        """Runs windows with every frame in a second half once. Shapes: returns [B, T, N, D]."""
        context_BTCHW, level_BT = clip_context.inputs
        half, num_frames = self.config.frames_per_block // 2, noisy_BTCHW.shape[1]
        num_windows = -(-num_frames // half)

        def windows(before_BT: Tensor, own_BT: Tensor) -> Tensor:
            """Shapes: twice [B, T, ...] -> [B * windows, W, ...]."""
            missing = num_windows * half - num_frames
            own = torch.cat((own_BT, own_BT.new_zeros(len(own_BT), missing, *own_BT.shape[2:])), 1)
            before = torch.cat((before_BT.new_zeros(len(own_BT), half, *own_BT.shape[2:]), before_BT), 1)
            halves = before[:, : num_windows * half].unflatten(1, (-1, half)), own.unflatten(1, (-1, half))
            return torch.cat(halves, 2).flatten(0, 1)

        present_BT = torch.ones_like(tau_BT, dtype=torch.bool)
        x = self._run(
            windows(context_BTCHW, noisy_BTCHW),
            windows(1 - level_BT, tau_BT),
            windows(torch.zeros_like(step_size_BT), step_size_BT),
            windows(clip_context.action_BTA, clip_context.action_BTA),
            windows(present_BT, present_BT),
        )
        return x[:, half:].unflatten(0, (-1, num_windows)).flatten(1, 2)[:, :num_frames]

    def _run(self, latent: Tensor, tau: Tensor, step_size: Tensor, action: Tensor, present: Tensor) -> Tensor:
        """Runs all layers over windows. Shapes: all [B, W, ...]; returns [B, W, N, D]."""
        condition_BWD = self._condition(tau, step_size, action)
        x_BWND = self._action_tokens(latent, action)
        for layer in self._layers:
            x_BWND = layer.forward_noisy(x_BWND, condition_BWD, [present])
        return x_BWND


class ChunkModel(_RingBufferModel):
    """Attention is bidirectional within chunks of P frames. A chunk is committed when its last frame is finished.

    Until then its finished frames are in the ring, and every denoising step runs the chunk up to the current frame.
    """

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        x_BPND, _, _ = self._step_chunk(context, noisy_BCHW, tau_B, step_size_B)
        row_B = torch.arange(len(noisy_BCHW), device=noisy_BCHW.device)
        return self._latent(x_BPND[row_B, context.state.tensors["ring.count"]])

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        tensors, count_B = dict(context.state.tensors), context.state.tensors["ring.count"] + 1
        is_complete_B = count_B == self.config.frames_per_block
        _, ring, memory = self._step_chunk(context, latent_BCHW, 1 - level_B, torch.zeros_like(level_B))
        for name, value in ring.items():
            tensors[name] = value[:, : self.ring_frames]
        for name, value in memory.items():
            tensors[name] = torch.where(is_complete_B.view(-1, *[1] * (value.dim() - 1)), value, tensors[name])
        tensors["ring.count"] = count_B.masked_fill(is_complete_B, 0)
        return context.state.advance(tensors)

    def _step_chunk(
        self, context: FrameContext, latent_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Runs the chunk up to this frame. Returns: tokens [B, P, N, D], the new ring, the layers' tensors."""
        state, count_B = context.state.tensors, context.state.tensors["ring.count"]
        at = torch.arange(len(count_B), device=count_B.device), count_B

        def with_frame(ring_BF: Tensor, value_B: Tensor) -> Tensor:
            room = torch.cat((ring_BF, torch.zeros_like(value_B)[:, None]), 1)
            return room.index_put(at, value_B)

        ring = {
            "ring.latent": with_frame(state["ring.latent"], latent_BCHW),
            "ring.level": with_frame(state["ring.level"], 1 - tau_B),
            "ring.action": with_frame(state["ring.action"], context.action_BA),
        }
        step_size_BP = with_frame(torch.zeros_like(state["ring.level"]), step_size_B)
        slot_P = torch.arange(self.config.frames_per_block, device=count_B.device)
        condition_BPD = self._condition(1 - ring["ring.level"], step_size_BP, ring["ring.action"])
        present = {PRESENT: slot_P <= count_B[:, None]}
        tokens_BPND = self._action_tokens(ring["ring.latent"], ring["ring.action"])
        x_BPND, memory = self._step(tokens_BPND, condition_BPD, context.state, present)
        return x_BPND, ring, memory
