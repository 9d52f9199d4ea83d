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
from worldsim.training.workers import WeightedStream


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """Shapes: content [B, T, ...] as stored (uint8 frames or float16 latents), action [B, T, A], pose [B, T, 3],
    depth_profile [B, T, W] (see `Episode`). Pose and depth profile are NaN where nobody knows them.
    """

    content: Tensor
    action: Tensor
    pose: Tensor
    depth_profile: Tensor


class ReplayBuffer:
    """The newest episodes of each source, stored as `store(episode)` makes them (frames, or latents made once).

    Of clips, each source has its share; within a source every place where a clip may begin is equally likely. Draws
    come from torch's global random numbers, which the loop seeds anew for every batch.
    """

    def __init__(
        self, sources: Sequence[WeightedStream], store: Callable[[Episode], Tensor], config: DataConfig
    ) -> None:
        self._buffers = [_EpisodeBuffer(source, config) for source in sources]
        self._store = store
        self.wait_s = 0.0
        """How long the trainer waited for data since the pool was filled."""

    def fill(self, on_progress: Callable[[int, int], None]) -> None:
        """Waits for the first episodes; `on_progress(have, want)` after each."""
        want = sum(buffer.num_at_start for buffer in self._buffers)
        for buffer in self._buffers:
            while len(buffer.episodes) < buffer.num_at_start:
                buffer.add(buffer.source.stream.get(), self._store)
                on_progress(sum(len(s.episodes) for s in self._buffers), want)

    def refresh(self) -> None:
        """Takes an episode where enough was drawn from the old ones, and waits for it: what is learned from must not
        depend on how fast it comes.
        """
        for buffer in self._buffers:
            if buffer.needs_refill:
                began_s = time.monotonic()
                episode = buffer.source.stream.get()
                self.wait_s += time.monotonic() - began_s
                buffer.add(episode, self._store)

    def counters(self) -> dict[str, float]:
        """What `restore` needs."""
        return {
            f"{name}_{index}": value
            for index, buffer in enumerate(self._buffers)
            for name, value in (("taken", buffer.num_taken), ("owed", buffer.frames_due))
        }

    def restore(self, counters: Mapping[str, float]) -> None:
        """Before `fill`: it will then hold the episodes that were held when the counters were taken."""
        for index, buffer in enumerate(self._buffers):
            if f"taken_{index}" in counters:
                buffer.restore(int(counters[f"taken_{index}"]), counters[f"owed_{index}"])

    @full_precision  # autocast on a CPU stacks no float16
    def sample(self, num_clips: int, clip_frames: int, *, has_pose: bool = False) -> ClipBatch:
        """Random clips; with `has_pose`, of sources that know where the camera was."""
        parts = []
        for buffer, count in self._split(num_clips, has_pose=has_pose):
            buffer.charge(count * clip_frames)
            for index, start in zip(*(x.tolist() for x in buffer.sample_positions(count, clip_frames)), strict=True):
                parts.append([tensor[start : start + clip_frames] for tensor in buffer.episodes[index]])
        content, action, pose, depth_profile = (torch.stack(column) for column in zip(*parts, strict=True))
        return ClipBatch(content=content, action=action, pose=pose, depth_profile=depth_profile.float())

    def sample_paths(self, num_clips: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """As `sample` with poses, without pictures, many at once and not counted: (action [B, T, A], pose [B, T,
        3])."""
        drawn = [buffer.sample_paths(count, clip_frames) for buffer, count in self._split(num_clips, has_pose=True)]
        actions, poses = zip(*drawn, strict=True)
        return torch.cat(actions), torch.cat(poses)

    def _split(self, num_clips: int, *, has_pose: bool) -> list[tuple[_EpisodeBuffer, int]]:
        buffers = [buffer for buffer in self._buffers if buffer.source.stream.has_pose or not has_pose]
        assert buffers, "no source knows a pose"
        if len(buffers) == 1:
            return [(buffers[0], num_clips)]
        shares = torch.tensor([buffer.source.share for buffer in buffers])
        picked = torch.multinomial(shares, num_clips, replacement=True)
        counts = torch.bincount(picked, minlength=len(buffers)).tolist()
        return [(buffer, count) for buffer, count in zip(buffers, counts, strict=True) if count]


class _EpisodeBuffer:
    """The episodes of one source."""

    def __init__(self, source: WeightedStream, config: DataConfig) -> None:
        capacity = max(1, round(config.pool_episodes * source.share))
        self.source, self._reuse = source, config.reuse
        self.episodes: deque[tuple[Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=capacity)
        """Content, action, pose, depth profile."""
        self.num_at_start = max(1, round(config.start_episodes * source.share))
        num_there = source.stream.num_episodes
        if num_there is not None:
            self.num_at_start = min(self.num_at_start, num_there)
        self._num_needed = num_there if num_there is not None and num_there <= capacity else None
        """All of them, when they fit: then none is read twice."""
        self.frames_due = 0.0
        self.num_taken = 0
        self._due_after_fill: float | None = None
        self._flat: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def needs_refill(self) -> bool:
        if self._num_needed is not None:
            return len(self.episodes) < self._num_needed
        return self.frames_due >= len(self.episodes[-1][1])

    def restore(self, num_taken: int, frames_due: float) -> None:
        """Begins with the episodes that were the newest of so many."""
        assert self.episodes.maxlen
        self.num_at_start = min(num_taken, self.episodes.maxlen)
        self.num_taken = num_taken - self.num_at_start
        self.source.stream.skip(self.num_taken)
        self._due_after_fill = frames_due

    def add(self, episode: Episode, store: Callable[[Episode], Tensor]) -> None:
        action, pose = torch.from_numpy(episode.actions), torch.from_numpy(episode.pose)
        self.episodes.append((store(episode), action, pose, _stored_depth_profile(episode)))
        self.num_taken += 1
        self.frames_due = max(0.0, self.frames_due - len(episode.actions))
        if self._due_after_fill is not None and len(self.episodes) == self.num_at_start:
            self.frames_due, self._due_after_fill = self._due_after_fill, None
        self._flat = None

    def charge(self, num_frames: int) -> None:
        self.frames_due += num_frames / self._reuse

    def sample_positions(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """(episode [B], first frame [B]) of random clips."""
        lengths = self._concatenated()[2]
        last_B = (lengths - clip_frames + 1).clamp_min(0).cumsum(0)
        assert int(last_B[-1]) > 0, f"no episode has {clip_frames} frames"
        position_B = torch.randint(int(last_B[-1]), (count,))
        episode_B = torch.searchsorted(last_B, position_B, right=True)
        return episode_B, position_B - (last_B - (lengths - clip_frames + 1).clamp_min(0))[episode_B]

    def sample_paths(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """(action [B, T, A], pose [B, T, 3]) of random clips."""
        action, pose, lengths = self._concatenated()
        episode_B, start_B = self.sample_positions(count, clip_frames)
        begin_B = (lengths.cumsum(0) - lengths)[episode_B] + start_B
        frame_BT = begin_B[:, None] + torch.arange(clip_frames)
        return action[frame_BT], pose[frame_BT]

    def _concatenated(self) -> tuple[Tensor, Tensor, Tensor]:
        """(actions, poses, length of each episode), made anew when an episode came or went."""
        if self._flat is None:
            _, actions, poses, _ = zip(*self.episodes, strict=True)
            self._flat = torch.cat(actions), torch.cat(poses), torch.tensor([len(action) for action in actions])
        return self._flat


def _stored_depth_profile(episode: Episode) -> Tensor:
    """float16: a thousandth of a depth is less than an engine's step. One NaN for all frames takes no memory."""
    if episode.has_depth_profile:
        return torch.from_numpy(episode.depth_profile).half()
    return torch.tensor(torch.nan, dtype=torch.float16).expand(episode.depth_profile.shape)
