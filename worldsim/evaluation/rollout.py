"""Batched rollouts of a model in latent space.

Every row of a batch goes through the same steps as a session of `engine.simulator`: begin, sample, commit, with noise
from (seed, frame index). B batch (one episode per seed), T frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worldsim.core.errors import NonFiniteError
from worldsim.diffusion import frame_noise
from worldsim.evaluation.clips import Clips
from worldsim.models.autoencoder import Autoencoder, to_frames, to_tensor
from worldsim.models.rollout import rollout
from worldsim.models.state import WorldState
from worldsim.models.world_model import MemoryPart, WorldModel

CODING_BATCH = 128
"""Frames per autoencoder call; limits memory without changing results."""

FrameProgressCallback = Callable[[int], None]
"""Called with the number of additional frames that are done."""


@dataclass(frozen=True, kw_only=True)
class LatentClips:
    """Encoded episodes."""

    seeds: tuple[int, ...]
    latent_BTCHW: Tensor = field(repr=False)
    action_BTA: Tensor = field(repr=False)


def encode_clips(autoencoder: Autoencoder, clips: Clips, device: str) -> LatentClips:
    return LatentClips(
        seeds=clips.seeds,
        latent_BTCHW=encode_frames(autoencoder, clips.frames, device),
        action_BTA=torch.from_numpy(clips.actions).to(device),
    )


def encode_frames(autoencoder: Autoencoder, frames: npt.NDArray[np.uint8], device: str) -> Tensor:
    """Shapes: uint8 [B, T, H, W, 3] -> latents [B, T, C, H, W]."""
    flat = frames.reshape(-1, *frames.shape[2:])
    with torch.inference_mode():
        parts = [
            autoencoder.encode(to_tensor(flat[i : i + CODING_BATCH], device)) for i in range(0, len(flat), CODING_BATCH)
        ]
    return torch.cat(parts).unflatten(0, frames.shape[:2])


def decode_frames(autoencoder: Autoencoder, latent_BTCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Shapes: returns uint8 [B, T, H, W, 3]."""
    with torch.inference_mode():
        parts = [to_frames(autoencoder.decode(part)) for part in latent_BTCHW.flatten(0, 1).split(CODING_BATCH)]
    frames = np.concatenate(parts)
    return frames.reshape(*latent_BTCHW.shape[:2], *frames.shape[1:])


@torch.inference_mode()
def generate(
    model: WorldModel,
    clips: LatentClips,
    *,
    num_context: int,
    num_steps: int,
    context_noise: float,
    autoregressive: bool = True,
    forget: MemoryPart | None = None,
    stop_writing: bool = False,
    on_progress: FrameProgressCallback | None = None,
) -> Tensor:
    """Generates the latents from `num_context` on under their true actions. Shapes: [B, T - num_context, C, H, W].

    `autoregressive`: generated frames are committed with noise level `context_noise`, as in play; otherwise true frames
    are (next-frame prediction). `forget`: the part of the memory that is cleared before every frame. `stop_writing`:
    every frame is read from the state after the context, so that no frame shows the model a place again.

    Raises: NonFiniteError with the first frame that contains NaN or infinity.
    """
    assert not (forget and stop_writing)
    batch, num_frames = clips.latent_BTCHW.shape[:2]
    assert 0 < num_context < num_frames, f"{num_context} frames of context out of {num_frames}"
    generated: list[Tensor] = []
    before_frame = None if forget is None else partial(model.without_memory, part=forget)
    for frame in rollout(
        model,
        model.initial_state(batch, 0),
        clips.action_BTA,
        clips.latent_BTCHW,
        num_context=num_context,
        noise=partial(_noise, clips),
        num_steps=num_steps,
        context_noise=context_noise,
        autoregressive=autoregressive,
        before_frame=_StopAfter(num_context) if stop_writing else before_frame,
    ):
        if frame.is_generated:
            if not bool(torch.isfinite(frame.latent_BCHW).all()):
                message = f"frame {frame.index} contains NaN or infinity"
                raise NonFiniteError(message, hint="the weights may be damaged")
            generated.append(frame.latent_BCHW)
        if on_progress:
            on_progress(batch)
    return torch.stack(generated, dim=1)


class _StopAfter:
    """Gives the state after `num_frames` frames in place of every later one."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        self._kept: WorldState | None = None

    def __call__(self, state: WorldState) -> WorldState:
        if self._kept is None and state.frame_index == self._num_frames:
            self._kept = state
        return self._kept or state


def _noise(clips: LatentClips, frame_index: int) -> Tensor:
    """Noise of one session per row, from its seed. Shapes: returns [B, C, H, W]."""
    shape = tuple(clips.latent_BTCHW.shape[2:])
    rows = [frame_noise(seed, frame_index, (1, *shape)) for seed in clips.seeds]
    return torch.cat(rows).to(clips.latent_BTCHW)
