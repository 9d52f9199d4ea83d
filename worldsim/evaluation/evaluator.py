"""Runs a preset on clips, giving generated frames together with the references they are compared with.

Results never contain context frames. B batch (one episode per seed), T frames, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from worldsim.models.world_model import MemoryPart
from worldsim.presets.store import Preset

FrameArray: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RolloutResult:
    """Generated and reference frames of one task, aligned in time. Shapes: uint8 [B, T, H, W, 3] each."""

    seeds: tuple[int, ...]
    truth: FrameArray = field(repr=False)
    generated: FrameArray = field(repr=False)
    autoencoder: FrameArray = field(repr=False)
    """True frames encoded and decoded: the ceiling."""
    repeat: FrameArray = field(repr=False)
    """The last context frame, repeated."""
    mean_image: FrameArray = field(repr=False)
    """The mean frame of other episodes: a blurry average."""
    forgotten: Mapping[MemoryPart, FrameArray] = field(default_factory=dict, repr=False)
    """Generated with this part of the memory cleared before every frame."""
    recalled: FrameArray | None = field(default=None, repr=False)
    """Every frame generated from the state after the context. None: not asked for."""
    history: FrameArray | None = field(default=None, repr=False)
    """The frames of the context."""


class Evaluator:
    """Runs a preset on clips; `on_progress` is called with the number of frames that went through the model."""

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
        self,
        clips: Clips,
        *,
        num_context: int,
        autoregressive: bool = True,
        forget: Sequence[MemoryPart] = (),
        recall: bool = False,
    ) -> RolloutResult:
        """Generates the frames from `num_context` on under the true actions, with all references.

        `forget`: parts of the memory without which the frames are generated again. `recall`: also from the state after
        the context. With `autoregressive` False each frame is generated after true frames, and `repeat` is the previous
        true frame.
        """
        latents = self.encode(clips)
        truth = clips.frames[:, num_context:]
        seen = clips.frames[:, num_context - 1 : -1]
        generated = self.generate(latents, num_context, autoregressive=autoregressive)
        forgotten = {
            part: self.decode(self.generate(latents, num_context, autoregressive=autoregressive, forget=part))
            for part in forget
        }
        return RolloutResult(
            seeds=clips.seeds,
            truth=truth,
            generated=self.decode(generated),
            forgotten=forgotten,
            recalled=self.decode(self.generate(latents, num_context, stop_writing=True)) if recall else None,
            history=clips.frames[:, :num_context],
            autoencoder=self.decode(latents.latent_BTCHW[:, num_context:]),
            repeat=np.broadcast_to(seen[:, :1], truth.shape) if autoregressive else seen,
            mean_image=np.broadcast_to(self.mean_image, truth.shape),
        )

    def encode(self, clips: Clips) -> LatentClips:
        return encode_clips(self._preset.autoencoder, clips, self._device)

    def encode_frames(self, frames: FrameArray) -> Tensor:
        """Shapes: uint8 [B, T, H, W, 3] -> latents [B, T, C, H, W]."""
        return encode_frames(self._preset.autoencoder, frames, self._device)

    def decode(self, latent_BTCHW: Tensor) -> FrameArray:
        """Shapes: returns uint8 [B, T, H, W, 3]."""
        return decode_frames(self._preset.autoencoder, latent_BTCHW)

    def generate(
        self,
        latents: LatentClips,
        num_context: int,
        *,
        autoregressive: bool = True,
        forget: MemoryPart | None = None,
        stop_writing: bool = False,
    ) -> Tensor:
        """The latents from `num_context` on. Shapes: returns [B, T - num_context, C, H, W]."""
        return generate(
            self._preset.model,
            latents,
            num_context=num_context,
            num_steps=self.num_steps,
            context_noise=self._preset.config.play.context_noise,
            autoregressive=autoregressive,
            forget=forget,
            stop_writing=stop_writing,
            on_progress=self._on_progress,
        )
