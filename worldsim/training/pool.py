"""Episodes in memory, to draw clips from. Letters: B batch, T frames, C channels, H W rows and columns, A action."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldsim.training.config import DataConfig
from worldsim.training.stream import Episode, EpisodeStream


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Shapes: picture [B, T, ...] as stored (uint8 frames or float16 latents), action [B, T, A], pose [B, T, 3]."""

    picture: Tensor
    action: Tensor
    pose: Tensor


class ClipPool:
    """The newest episodes of a stream, stored as `store(episode)` makes them (frames, or latents made once)."""

    def __init__(
        self, stream: EpisodeStream, store: Callable[[Episode], Tensor], config: DataConfig, *, seed: int
    ) -> None:
        self._stream, self._store, self._config = stream, store, config
        self._episodes: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=config.pool_episodes)
        self._rng = np.random.default_rng(seed)
        self._paths: tuple[Tensor, Tensor] | None = None
        self._owed_frames = 0.0

    def fill(self, tell: Callable[[int, int], None]) -> None:
        """Waits for the first episodes; `tell(have, want)` after each."""
        while len(self._episodes) < self._config.start_episodes:
            self._add(self._stream.get())
            tell(len(self._episodes), self._config.start_episodes)

    def refresh(self) -> None:
        """Takes one episode if one is ready and enough was drawn from the old ones; never waits."""
        if self._owed_frames < self._config.episode_frames:
            return
        episode = self._stream.get_nowait()
        if episode is not None:
            self._add(episode)
            self._owed_frames -= self._config.episode_frames

    def draw(self, num_clips: int, clip_frames: int) -> Clips:
        """Random clips of random episodes."""
        self._owed_frames += num_clips * clip_frames / self._config.reuse
        parts = []
        for index in self._rng.integers(len(self._episodes), size=num_clips):
            episode = self._episodes[int(index)]
            start = int(self._rng.integers(len(episode[0]) - clip_frames + 1))
            parts.append(tuple(tensor[start : start + clip_frames] for tensor in episode))
        picture, action, pose = (torch.stack(column) for column in zip(*parts, strict=True))
        return Clips(picture=picture, action=action, pose=pose)

    def draw_paths(self, num_clips: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """As `draw`, without the pictures, many at once and not counted: (action [B, T, A], pose [B, T, 3])."""
        if self._paths is None:
            self._paths = (torch.stack([e[1] for e in self._episodes]), torch.stack([e[2] for e in self._episodes]))
        num_episodes, num_frames = self._paths[0].shape[:2]
        episode_B = torch.from_numpy(self._rng.integers(num_episodes, size=num_clips))
        start_B = torch.from_numpy(self._rng.integers(num_frames - clip_frames + 1, size=num_clips))
        frame_BT = start_B[:, None] + torch.arange(clip_frames)
        action, pose = (path[episode_B[:, None], frame_BT] for path in self._paths)
        return action, pose

    def _add(self, episode: Episode) -> None:
        stored = self._store(episode)
        self._paths = None
        self._episodes.append((stored, torch.from_numpy(episode.actions), torch.from_numpy(episode.pose)))
