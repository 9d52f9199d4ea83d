"""Small worlds and models for reasoning: a wide image that scrolls by the action."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldsim.evaluation.clips import Clips
from worldsim.models.autoencoder import to_tensor
from worldsim.models.state import WorldState
from worldsim.models.world_model import FrameContext, MemoryPart
from worldsim.presets.config import PlayConfig
from worldsim.presets.store import Preset

HEIGHT, WIDTH = 12, 16


def scroll_clips(num_frames: int = 12, seeds: tuple[int, ...] = (900_000, 900_001, 900_002)) -> Clips:
    """Frame t is frame t - 1, rolled by action t: 1, 2 or 3 pixels."""
    rng = np.random.default_rng(0)
    actions = rng.integers(1, 4, (len(seeds), num_frames, 1)).astype(np.float32)
    actions[:, 0] = 0
    frames = np.empty((len(seeds), num_frames, HEIGHT, WIDTH, 3), np.uint8)
    for row in range(len(seeds)):
        frames[row, 0] = rng.integers(0, 256, (HEIGHT, WIDTH, 3))
        for t in range(1, num_frames):
            frames[row, t] = np.roll(frames[row, t - 1], int(actions[row, t, 0]), axis=1)
    return Clips(seeds=seeds, frames=frames, actions=actions)


class CoarseAutoencoder:
    """The latent is the image; decoding rounds it to 9 levels, so that the ceiling is below a perfect score."""

    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        return pixels_BCHW

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        return (latent_BCHW * 4).round() / 4


class StubModel:
    """The WorldModel interface. `calls` lists every call in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.levels: list[float] = []
        self.generated: list[bool] = []

    def initial_state(self, batch: int, seed: int) -> WorldState:
        blank = torch.zeros(batch, 3, HEIGHT, WIDTH)
        return WorldState(tensors={"past": blank, "map.ssm": blank}, seed=seed)

    def begin(self, state: WorldState, action_BA: Tensor) -> FrameContext:
        self.calls.append("begin")
        return FrameContext(state=state, action_BA=action_BA)

    def denoise(self, context: FrameContext, noisy_BCHW: Tensor, tau_B: Tensor, step_size_B: Tensor) -> Tensor:
        self.calls.append("denoise")
        return self.predict(context)

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        self.calls.append("commit")
        self.levels.append(float(level_B[0]))
        self.generated.append(generated)
        tensors = {"past": latent_BCHW, "map.ssm": latent_BCHW}
        return replace(context.state, tensors=tensors, frame_index=context.state.frame_index + 1)

    def without_memory(self, state: WorldState, part: MemoryPart = "all") -> WorldState:
        self.calls.append("without_memory")
        return replace(state, tensors={**state.tensors, "map.ssm": torch.zeros_like(state.tensors["map.ssm"])})

    def predict(self, context: FrameContext) -> Tensor:
        raise NotImplementedError


class OracleModel(StubModel):
    """Returns the true frames."""

    def __init__(self, clips: Clips) -> None:
        super().__init__()
        self._latent_BTCHW = to_tensor(clips.frames)

    def predict(self, context: FrameContext) -> Tensor:
        return self._latent_BTCHW[:, context.state.frame_index]


class ScrollModel(StubModel):
    """Rolls its memory (`map.ssm`) by the action: correct dynamics as long as it keeps its memory."""

    def predict(self, context: FrameContext) -> Tensor:
        return roll(context.state.tensors["map.ssm"], context.action_BA)


class StillModel(StubModel):
    """Ignores the action and repeats the last frame, which needs no memory."""

    def predict(self, context: FrameContext) -> Tensor:
        return context.state.tensors["past"]


RING = 48
"""Columns of the panorama; a frame shows WIDTH of them."""


def ring_clips(num_frames: int, seeds: tuple[int, ...] = (900_000, 900_001)) -> Clips:
    """A view that rotates through a panorama by 2 columns per frame: a full turn is 24 frames."""
    rng = np.random.default_rng(1)
    actions = np.full((len(seeds), num_frames, 1), 2.0, np.float32)
    actions[:, 0] = 0
    panoramas = rng.integers(0, 256, (len(seeds), HEIGHT, RING, 3))
    frames = np.stack([[np.take(p, ring_columns(t), axis=1) for t in range(num_frames)] for p in panoramas])
    return Clips(seeds=seeds, frames=frames.astype(np.uint8), actions=actions)


def ring_columns(frame_index: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Columns of the panorama in a frame of `ring_clips`."""
    return (2 * frame_index + np.arange(WIDTH)) % RING


class RingModel(StubModel):
    """Knows the dynamics of `ring_clips` and paints seen columns into a panorama; unseen ones are gray.

    With `remembers` False it forgets what leaves the view.
    """

    def __init__(self, *, remembers: bool) -> None:
        super().__init__()
        self._remembers = remembers

    def initial_state(self, batch: int, seed: int) -> WorldState:
        blank = torch.zeros(batch, 3, HEIGHT, RING)
        return WorldState(tensors={"past": blank, "map.ssm": blank}, seed=seed)

    def predict(self, context: FrameContext) -> Tensor:
        return context.state.tensors["map.ssm"][..., torch.from_numpy(ring_columns(context.state.frame_index))]

    def commit(
        self,
        context: FrameContext,
        latent_BCHW: Tensor,
        level_B: Tensor,
        *,
        generated: bool = False,
        pose_BP: Tensor | None = None,
    ) -> WorldState:
        known = context.state.tensors["map.ssm"]
        panorama = known.clone() if self._remembers else torch.zeros_like(known)
        panorama[..., torch.from_numpy(ring_columns(context.state.frame_index))] = latent_BCHW
        tensors = {"past": panorama, "map.ssm": panorama}
        return replace(context.state, tensors=tensors, frame_index=context.state.frame_index + 1)


def roll(latent_BCHW: Tensor, action_BA: Tensor) -> Tensor:
    return torch.stack([x.roll(int(a), dims=-1) for x, a in zip(latent_BCHW, action_BA[:, 0], strict=True)])


def stub_preset(model: Any, *, autoencoder: Any = None, context_noise: float = 0.0) -> Preset:
    config: Any = SimpleNamespace(play=PlayConfig(context_noise=context_noise))
    return Preset(
        config=config,
        folder=Path("stub"),
        autoencoder=autoencoder or CoarseAutoencoder(),
        model=model,
        starts=(),
        sha256="0" * 64,
    )
