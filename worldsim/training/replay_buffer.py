"""Episodes in memory, to draw clips from. Letters: B batch, T frames, C channels, H W rows and columns, A action."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldsim.models.fp32 import full_precision
from worldsim.training.config import DataConfig
from worldsim.training.episode import Episode
from worldsim.training.workers import Source


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Shapes: picture [B, T, ...] as stored (uint8 frames or float16 latents), action [B, T, A], pose [B, T, 3],
    horizon [B, T, W] (see `Episode`). Pose and horizon are NaN where nobody knows them.
    """

    picture: Tensor
    action: Tensor
    pose: Tensor
    horizon: Tensor


class ClipPool:
    """The newest episodes of each source, stored as `store(episode)` makes them (frames, or latents made once).

    Of clips, each source has its share; within a source every place where a clip may begin is equally likely. Draws
    come from torch's global random numbers, which the loop seeds anew for every batch.
    """

    def __init__(self, sources: Sequence[Source], store: Callable[[Episode], Tensor], config: DataConfig) -> None:
        self._shelves = [_Shelf(source, config) for source in sources]
        self._store = store
        self.waited_s = 0.0
        """How long the trainer waited for data since the pool was filled."""

    def fill(self, tell: Callable[[int, int], None]) -> None:
        """Waits for the first episodes; `tell(have, want)` after each."""
        want = sum(shelf.num_at_start for shelf in self._shelves)
        for shelf in self._shelves:
            while len(shelf.episodes) < shelf.num_at_start:
                shelf.add(shelf.source.stream.get(), self._store)
                tell(sum(len(s.episodes) for s in self._shelves), want)

    def refresh(self) -> None:
        """Takes an episode where enough was drawn from the old ones, and waits for it: what is learned from must not
        depend on how fast it comes.
        """
        for shelf in self._shelves:
            if shelf.is_hungry:
                began_s = time.monotonic()
                episode = shelf.source.stream.get()
                self.waited_s += time.monotonic() - began_s
                shelf.add(episode, self._store)

    def counters(self) -> dict[str, float]:
        """What `restore` needs."""
        return {
            f"{name}_{index}": value
            for index, shelf in enumerate(self._shelves)
            for name, value in (("taken", shelf.num_taken), ("owed", shelf.owed_frames))
        }

    def restore(self, counters: Mapping[str, float]) -> None:
        """Before `fill`: it will then hold the episodes that were held when the counters were taken."""
        for index, shelf in enumerate(self._shelves):
            if f"taken_{index}" in counters:
                shelf.restore(int(counters[f"taken_{index}"]), counters[f"owed_{index}"])

    @full_precision  # autocast on a CPU stacks no float16
    def draw(self, num_clips: int, clip_frames: int, *, has_pose: bool = False) -> Clips:
        """Random clips; with `has_pose`, of sources that know where the camera was."""
        parts = []
        for shelf, count in self._split(num_clips, has_pose=has_pose):
            shelf.owe(count * clip_frames)
            for index, start in zip(*(x.tolist() for x in shelf.places(count, clip_frames)), strict=True):
                parts.append([tensor[start : start + clip_frames] for tensor in shelf.episodes[index]])
        picture, action, pose, horizon = (torch.stack(column) for column in zip(*parts, strict=True))
        return Clips(picture=picture, action=action, pose=pose, horizon=horizon.float())

    def draw_paths(self, num_clips: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """As `draw` with poses, without pictures, many at once and not counted: (action [B, T, A], pose [B, T, 3])."""
        drawn = [shelf.paths(count, clip_frames) for shelf, count in self._split(num_clips, has_pose=True)]
        actions, poses = zip(*drawn, strict=True)
        return torch.cat(actions), torch.cat(poses)

    def _split(self, num_clips: int, *, has_pose: bool) -> list[tuple[_Shelf, int]]:
        shelves = [shelf for shelf in self._shelves if shelf.source.stream.has_pose or not has_pose]
        assert shelves, "no source knows a pose"
        if len(shelves) == 1:
            return [(shelves[0], num_clips)]
        shares = torch.tensor([shelf.source.share for shelf in shelves])
        picked = torch.multinomial(shares, num_clips, replacement=True)
        counts = torch.bincount(picked, minlength=len(shelves)).tolist()
        return [(shelf, count) for shelf, count in zip(shelves, counts, strict=True) if count]


class _Shelf:
    """Of one source."""

    def __init__(self, source: Source, config: DataConfig) -> None:
        capacity = max(1, round(config.pool_episodes * source.share))
        self.source, self._reuse = source, config.reuse
        self.episodes: deque[tuple[Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=capacity)
        """Picture, action, pose, horizon."""
        self.num_at_start = max(1, round(config.start_episodes * source.share))
        num_there = source.stream.num_episodes
        if num_there is not None:
            self.num_at_start = min(self.num_at_start, num_there)
        self._num_needed = num_there if num_there is not None and num_there <= capacity else None
        """All of them, when they fit: then none is read twice."""
        self.owed_frames = 0.0
        self.num_taken = 0
        self._owed_after_fill: float | None = None
        self._paths: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def is_hungry(self) -> bool:
        if self._num_needed is not None:
            return len(self.episodes) < self._num_needed
        return self.owed_frames >= len(self.episodes[-1][1])

    def restore(self, num_taken: int, owed_frames: float) -> None:
        """Begins with the episodes that were the newest of so many."""
        assert self.episodes.maxlen
        self.num_at_start = min(num_taken, self.episodes.maxlen)
        self.num_taken = num_taken - self.num_at_start
        self.source.stream.skip(self.num_taken)
        self._owed_after_fill = owed_frames

    def add(self, episode: Episode, store: Callable[[Episode], Tensor]) -> None:
        action, pose = torch.from_numpy(episode.actions), torch.from_numpy(episode.pose)
        self.episodes.append((store(episode), action, pose, _stored_horizon(episode)))
        self.num_taken += 1
        self.owed_frames = max(0.0, self.owed_frames - len(episode.actions))
        if self._owed_after_fill is not None and len(self.episodes) == self.num_at_start:
            self.owed_frames, self._owed_after_fill = self._owed_after_fill, None
        self._paths = None

    def owe(self, num_frames: int) -> None:
        self.owed_frames += num_frames / self._reuse

    def places(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """(episode [B], first frame [B]) of random clips."""
        lengths = self._concatenated()[2]
        last_B = (lengths - clip_frames + 1).clamp_min(0).cumsum(0)
        assert int(last_B[-1]) > 0, f"no episode has {clip_frames} frames"
        place_B = torch.randint(int(last_B[-1]), (count,))
        episode_B = torch.searchsorted(last_B, place_B, right=True)
        return episode_B, place_B - (last_B - (lengths - clip_frames + 1).clamp_min(0))[episode_B]

    def paths(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """(action [B, T, A], pose [B, T, 3]) of random clips."""
        action, pose, lengths = self._concatenated()
        episode_B, start_B = self.places(count, clip_frames)
        begin_B = (lengths.cumsum(0) - lengths)[episode_B] + start_B
        frame_BT = begin_B[:, None] + torch.arange(clip_frames)
        return action[frame_BT], pose[frame_BT]

    def _concatenated(self) -> tuple[Tensor, Tensor, Tensor]:
        """(actions, poses, length of each episode), made anew when an episode came or went."""
        if self._paths is None:
            _, actions, poses, _ = zip(*self.episodes, strict=True)
            self._paths = torch.cat(actions), torch.cat(poses), torch.tensor([len(action) for action in actions])
        return self._paths


def _stored_horizon(episode: Episode) -> Tensor:
    """float16: a thousandth of a depth is less than an engine's step. One NaN for all frames takes no memory."""
    if episode.has_horizon:
        return torch.from_numpy(episode.horizon).half()
    return torch.tensor(torch.nan, dtype=torch.float16).expand(episode.horizon.shape)
