"""Runs a preset on clips: what is generated, and what it is compared with, frame by frame.

Owns: Outcome and the references in it. Does not own: where clips come from (`evaluation.clips`), what is made of an
outcome (`evaluation.scores`). No context frame is part of an outcome. B batch (one episode per seed), T frames, H W
rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worldsim.evaluation.clips import Clips
from worldsim.evaluation.rollout import (
    FrameProgressCallback,
    LatentClips,
    decode_frames,
    encode_clips,
    encode_frames,
    generate,
)
from worldsim.presets.store import Preset

FrameArray: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RolloutResult:
    """Frames of one task, all about the same moments. Shapes: uint8 [B, T, H, W, 3] each."""

    seeds: tuple[int, ...]
    truth: FrameArray = field(repr=False)
    generated: FrameArray = field(repr=False)
    autoencoder: FrameArray = field(repr=False)
    """The truth through the autoencoder: the ceiling."""
    repeat: FrameArray = field(repr=False)
    """The last true frame the model saw, repeated."""
    mean_image: FrameArray = field(repr=False)
    """The mean frame of other episodes: what fog scores."""
    no_state: FrameArray | None = field(default=None, repr=False)
    """The same weights, the scan state cleared before every frame."""


class Evaluator:
    """Runs a preset on clips. One per evaluation; `on_progress` hears of every frame that goes through the model."""

    def __init__(
        self,
        preset: Preset,
        *,
        mean_image: FrameArray,
        num_steps: int | None = None,
        device: str = "cpu",
        on_progress: FrameProgressCallback | None = None,
    ) -> None:
        self._preset = preset
        self.mean_image = mean_image
        self.num_steps = preset.config.play.num_steps if num_steps is None else num_steps
        self._device = device
        self._on_progress = on_progress

    def compare(
        self, clips: Clips, *, num_context: int, autoregressive: bool = True, with_no_state: bool = False
    ) -> RolloutResult:
        """Everything there is to be compared about the frames from `num_context` on, made under the true actions.

        `autoregressive` False is one step ahead: the past is true, and the frame repeated is the one before.
        """
        latents = self.encode(clips)
        truth = clips.frames[:, num_context:]
        seen = clips.frames[:, num_context - 1 : -1]
        generated = self.generate(latents, num_context, autoregressive=autoregressive)
        no_state = None
        if with_no_state:
            no_state = self.decode(
                self.generate(latents, num_context, autoregressive=autoregressive, keep_memory=False)
            )
        return RolloutResult(
            seeds=clips.seeds,
            truth=truth,
            generated=self.decode(generated),
            no_state=no_state,
            autoencoder=self.decode(latents.latent_BTCHW[:, num_context:]),
            repeat=np.broadcast_to(seen[:, :1], truth.shape) if autoregressive else seen,
            mean_image=np.broadcast_to(self.mean_image, truth.shape),
        )

    def encode(self, clips: Clips) -> LatentClips:
        return encode_clips(self._preset.autoencoder, clips, self._device)

    def encode_frames(self, frames: FrameArray) -> Tensor:
        """Shapes: uint8 [B, T, H, W, 3] -> [B, T, C, H, W] of the latent."""
        return encode_frames(self._preset.autoencoder, frames, self._device)

    def decode(self, latent_BTCHW: Tensor) -> FrameArray:
        """Shapes: returns uint8 [B, T, H, W, 3]."""
        return decode_frames(self._preset.autoencoder, latent_BTCHW)

    def generate(
        self, latents: LatentClips, num_context: int, *, autoregressive: bool = True, keep_memory: bool = True
    ) -> Tensor:
        """The latents from `num_context` on. Shapes: returns [B, T - num_context, C, H, W]."""
        return generate(
            self._preset.model,
            latents,
            num_context=num_context,
            num_steps=self.num_steps,
            context_noise=self._preset.config.play.context_noise,
            autoregressive=autoregressive,
            keep_memory=keep_memory,
            on_progress=self._on_progress,
        )
