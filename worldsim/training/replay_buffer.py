"""The replay buffer: recent episodes in memory, from which clips are sampled.

Letters: B batch, T frames, C channels, H W rows and columns, A action.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldsim.models.autoencoder import Autoencoder, to_tensor
from worldsim.models.fp32 import full_precision
from worldsim.training.config import DataConfig
from worldsim.training.workers import Episode, WeightedStream

ENCODE_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """Shapes: content [B, T, ...] as stored (uint8 frames or float16 latents), action [B, T, A], pose [B, T, 3],
    depth_profile [B, T, W] (see `Episode`). Unknown poses and depth profiles are NaN.
    """

    content: Tensor
    action: Tensor
    pose: Tensor
    depth_profile: Tensor


class ReplayBuffer:
    """The newest episodes of each source, stored as `store(episode)` returns them (frames, or latents encoded once).

    Each source contributes its fraction of the clips; within a source every starting frame is equally likely. Samples
    use torch's global generator, which the loop reseeds for every batch.
    """

    def __init__(
        self, sources: Sequence[WeightedStream], store: Callable[[Episode], Tensor], config: DataConfig
    ) -> None:
        self._buffers = [_EpisodeBuffer(source, config) for source in sources]
        self._store, self._takes_ready = store, config.take_ready
        self.wait_s = 0.0
        """Time the trainer waited for data since the buffer was filled."""

    def fill(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Waits for the first episodes; calls `on_progress(done, total)` after each."""
        total = sum(buffer.num_at_start for buffer in self._buffers)
        for buffer in self._buffers:
            while len(buffer.episodes) < buffer.num_at_start:
                buffer.add(buffer.source.stream.get(), self._store)
                on_progress(sum(len(each.episodes) for each in self._buffers), total)

    def refresh(self) -> None:
        """Adds an episode once the replay ratio calls for one, and waits for it: the training data must not depend on
        how fast episodes arrive, except with `DataConfig.take_ready`.
        """
        for buffer in self._buffers:
            if buffer.needs_refill or (self._takes_ready and buffer.source.stream.has_next()):
                start_s = time.monotonic()
                episode = buffer.source.stream.get()
                self.wait_s += time.monotonic() - start_s
                buffer.add(episode, self._store)

    def counters(self) -> dict[str, float]:
        """The argument of `restore`."""
        return {
            f"{name}_{index}": value
            for index, buffer in enumerate(self._buffers)
            for name, value in (("taken", buffer.num_taken), ("owed", buffer.frames_due))
        }

    def restore(self, counters: Mapping[str, float]) -> None:
        """Called before `fill`, which then loads the episodes that the buffer held when the counters were taken."""
        for index, buffer in enumerate(self._buffers):
            if f"taken_{index}" in counters:
                buffer.restore(int(counters[f"taken_{index}"]), counters[f"owed_{index}"])

    @full_precision  # autocast on a CPU cannot stack float16
    def sample(self, num_clips: int, clip_frames: int, *, has_pose: bool = False) -> ClipBatch:
        """Random clips; with `has_pose`, only from sources with known poses."""
        parts = []
        for buffer, count in self._split(num_clips, has_pose=has_pose):
            buffer.charge(count * clip_frames)
            for index, start in zip(*(x.tolist() for x in buffer.sample_positions(count, clip_frames)), strict=True):
                parts.append([tensor[start : start + clip_frames] for tensor in buffer.episodes[index]])
        content, action, pose, depth_profile = (torch.stack(column) for column in zip(*parts, strict=True))
        return ClipBatch(content=content, action=action, pose=pose, depth_profile=depth_profile.float())

    def sample_paths(self, num_clips: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """Actions [B, T, A] and known poses [B, T, 3] of many random clips; they do not count as sampled frames."""
        sampled = [buffer.sample_paths(count, clip_frames) for buffer, count in self._split(num_clips, has_pose=True)]
        actions, poses = zip(*sampled, strict=True)
        return torch.cat(actions), torch.cat(poses)

    def _split(self, num_clips: int, *, has_pose: bool) -> list[tuple[_EpisodeBuffer, int]]:
        buffers = [buffer for buffer in self._buffers if buffer.source.stream.has_pose or not has_pose]
        assert buffers, "no source has poses"
        if len(buffers) == 1:
            return [(buffers[0], num_clips)]
        fractions = torch.tensor([buffer.source.fraction for buffer in buffers])
        picked = torch.multinomial(fractions, num_clips, replacement=True)
        counts = torch.bincount(picked, minlength=len(buffers)).tolist()
        return [(buffer, count) for buffer, count in zip(buffers, counts, strict=True) if count]


class _EpisodeBuffer:
    """The episodes of one source."""

    def __init__(self, source: WeightedStream, config: DataConfig) -> None:
        capacity = max(1, round(config.buffer_episodes * source.fraction))
        self.source, self._replay_ratio = source, config.replay_ratio
        self.episodes: deque[tuple[Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=capacity)
        """Content, action, pose, depth profile."""
        self.num_at_start = max(1, round(config.min_buffer_episodes * source.fraction))
        num_distinct = source.stream.num_episodes
        if num_distinct is not None:
            self.num_at_start = min(self.num_at_start, num_distinct)
        self._num_needed = num_distinct if num_distinct is not None and num_distinct <= capacity else None
        """All episodes of a source that fits into the buffer: none is then read twice."""
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
        """Starts with the newest of the `num_taken` episodes that were read before."""
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
        self.frames_due += num_frames / self._replay_ratio

    def sample_positions(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """Episode [B] and first frame [B] of random clips."""
        lengths = self._concatenated()[2]
        last_B = (lengths - clip_frames + 1).clamp_min(0).cumsum(0)
        assert int(last_B[-1]) > 0, f"no episode has {clip_frames} frames"
        position_B = torch.randint(int(last_B[-1]), (count,))
        episode_B = torch.searchsorted(last_B, position_B, right=True)
        return episode_B, position_B - (last_B - (lengths - clip_frames + 1).clamp_min(0))[episode_B]

    def sample_paths(self, count: int, clip_frames: int) -> tuple[Tensor, Tensor]:
        """Actions [B, T, A] and poses [B, T, 3] of random clips."""
        action, pose, lengths = self._concatenated()
        episode_B, start_B = self.sample_positions(count, clip_frames)
        begin_B = (lengths.cumsum(0) - lengths)[episode_B] + start_B
        frame_BT = begin_B[:, None] + torch.arange(clip_frames)
        return action[frame_BT], pose[frame_BT]

    def _concatenated(self) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, poses and the length of each episode; rebuilt after an episode was added."""
        if self._flat is None:
            _, actions, poses, _ = zip(*self.episodes, strict=True)
            self._flat = torch.cat(actions), torch.cat(poses), torch.tensor([len(action) for action in actions])
        return self._flat


def _stored_depth_profile(episode: Episode) -> Tensor:
    """In float16, whose error is a thousandth of the depth: less than an engine's step. Unknown: a single NaN, expanded
    without memory."""
    if episode.has_depth_profile:
        return torch.from_numpy(episode.depth_profile).half()
    return torch.tensor(torch.nan, dtype=torch.float16).expand(episode.depth_profile.shape)


@torch.no_grad()
def encode_frames(autoencoder: Autoencoder, episode: Episode, device: str) -> Tensor:
    """Latents of an episode in float16 on the CPU: encoded once, sampled often. Shapes: [T, C, H, W]."""
    frames = to_tensor(episode.frames, device)
    latents = torch.cat([autoencoder.encode(part) for part in frames.split(ENCODE_BATCH)])
    return latents.half().cpu()


def store_frames(episode: Episode) -> Tensor:
    """The frames themselves, for recipes that train the autoencoder."""
    return torch.from_numpy(episode.frames)
