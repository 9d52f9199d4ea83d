"""Batches of episodes in memory, recorded from a world, and the mean image.

Shapes: B episodes (one per seed), T frames, H W rows and columns, A action; action t led to frame t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.core.types import World
from worldsim.evaluation.policies import PolicyFactory, pose_of

MEAN_IMAGE_STRIDE = 4
"""Only every fourth frame enters the mean image: consecutive frames are nearly equal."""
MEAN_IMAGE_FRAMES = 64

Depth = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PoseDepth:
    """The engine's pose and depth of every frame.

    Shapes: pose float64 [B, T, 3] (x, y, angle in radians), depth [B, T, h, w] at the grid of `visibility.Camera`.
    """

    pose: npt.NDArray[np.float64] = field(repr=False)
    depth: Depth = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Episodes of one length. Shapes: frames uint8 [B, T, H, W, 3], actions float32 [B, T, A]."""

    seeds: tuple[int, ...]
    frames: npt.NDArray[np.uint8] = field(repr=False)
    actions: npt.NDArray[np.float32] = field(repr=False)
    pose_depth: PoseDepth | None = field(default=None, repr=False)

    def first(self, num_frames: int) -> Clips:
        """The first frames of every episode."""
        pose_depth = self.pose_depth and PoseDepth(
            pose=self.pose_depth.pose[:, :num_frames], depth=self.pose_depth.depth[:, :num_frames]
        )
        return Clips(
            seeds=self.seeds,
            frames=self.frames[:, :num_frames],
            actions=self.actions[:, :num_frames],
            pose_depth=pose_depth,
        )

    def with_reverse(self) -> Clips:
        """Every episode, then its frames in reverse order, beginning with the last but one; action t has to be the
        view of frame t.
        """
        frames = np.concatenate((self.frames, self.frames[:, -2::-1]), axis=1)
        actions = np.concatenate((self.actions, self.actions[:, -2::-1]), axis=1)
        pose_depth = self.pose_depth and PoseDepth(
            pose=np.concatenate((self.pose_depth.pose, self.pose_depth.pose[:, -2::-1]), axis=1),
            depth=np.concatenate((self.pose_depth.depth, self.pose_depth.depth[:, -2::-1]), axis=1),
        )
        return Clips(seeds=self.seeds, frames=frames, actions=actions, pose_depth=pose_depth)


def record_clips(
    world: World,
    make_policy: PolicyFactory,
    seeds: Sequence[int],
    num_frames: int,
    on_progress: Callable[[int], None] | None = None,
    read_depth: Callable[[], Depth] | None = None,
) -> Clips:
    """Plays one episode per seed; the world stays open. `read_depth` returns the depth of the newest frame."""
    frames = np.empty((len(seeds), num_frames, *world.frame_shape), dtype=np.uint8)
    actions = np.empty((len(seeds), num_frames, world.action_spec.size), dtype=np.float32)
    poses_and_depths: list[tuple[tuple[float, float, float], Depth]] = []
    for row, seed in enumerate(seeds):
        step = world.reset(seed)
        policy = make_policy(seed)
        for t in range(num_frames):
            if t:
                step = world.step(policy(step))
            frames[row, t] = step.frame
            actions[row, t] = world.action_spec.encode(step.action)
            if read_depth:
                pose = pose_of(step)
                poses_and_depths.append(((pose.x, pose.y, pose.angle_rad), read_depth()))
            if on_progress:
                on_progress(1)
    pose_depth = _stack(poses_and_depths, (len(seeds), num_frames)) if read_depth else None
    return Clips(seeds=tuple(seeds), frames=frames, actions=actions, pose_depth=pose_depth)


def mean_image(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mean frame, which is the best constant prediction. Shapes: [B, T, H, W, 3] -> [H, W, 3]."""
    sampled = frames[:, ::MEAN_IMAGE_STRIDE].astype(np.float64)
    return np.rint(sampled.mean(axis=(0, 1))).astype(np.uint8)


def _stack(poses_and_depths: Sequence[tuple[tuple[float, float, float], Depth]], shape: tuple[int, int]) -> PoseDepth:
    poses, depths = zip(*poses_and_depths, strict=True)
    depth = np.stack(depths).astype(np.float32)
    return PoseDepth(pose=np.array(poses).reshape(*shape, 3), depth=depth.reshape(*shape, *depth.shape[1:]))
