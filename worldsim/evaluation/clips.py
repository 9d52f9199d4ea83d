"""Held-out episodes, kept in memory.

Owns: recording them from a true world or cutting them from recordings, and the mean image. Does not own: the world, who
walks (`evaluation.policies`), which seeds are held out (`evaluation.config` refuses the others).
Shapes: B episodes (one per seed), T frames, H W rows and columns, A action; action t led to frame t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.actions.encoding import encode_action
from worldsim.core.types import World
from worldsim.evaluation.policies import MakePilot, pose_of

MEAN_IMAGE_STRIDE = 4
"""Of a training episode every so manieth frame goes into the mean image: neighbours are all but equal."""
MEAN_IMAGE_TICKS = 64

Depth = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the engine says of every frame. Shapes: pose float64 [B, T, 3] (x, y, angle in radians), depth [B, T, h, w]
    at the points that `visibility.Camera` looks through.
    """

    pose: npt.NDArray[np.float64] = field(repr=False)
    depth: Depth = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Episodes of one length. Shapes: frames uint8 [B, T, H, W, 3], actions float32 [B, T, A]."""

    seeds: tuple[int, ...]
    frames: npt.NDArray[np.uint8] = field(repr=False)
    actions: npt.NDArray[np.float32] = field(repr=False)
    sight: Sight | None = field(default=None, repr=False)

    def first(self, num_frames: int) -> Clips:
        """The episodes' beginnings."""
        sight = self.sight and Sight(pose=self.sight.pose[:, :num_frames], depth=self.sight.depth[:, :num_frames])
        return Clips(
            seeds=self.seeds, frames=self.frames[:, :num_frames], actions=self.actions[:, :num_frames], sight=sight
        )


def record_clips(
    world: World,
    make_pilot: MakePilot,
    seeds: Sequence[int],
    num_frames: int,
    advance: Callable[[int], None] | None = None,
    look: Callable[[], Depth] | None = None,
) -> Clips:
    """One episode per seed. `look` is the depth of the newest frame. Side effects: plays the world; it is left open."""
    frames = np.empty((len(seeds), num_frames, *world.frame_shape), dtype=np.uint8)
    actions = np.empty((len(seeds), num_frames, world.action_spec.size), dtype=np.float32)
    sights: list[tuple[tuple[float, float, float], Depth]] = []
    for row, seed in enumerate(seeds):
        step = world.reset(seed)
        pilot = make_pilot(seed)
        for t in range(num_frames):
            if t:
                step = world.step(pilot(step))
            frames[row, t] = step.frame
            actions[row, t] = encode_action(world.action_spec, step.action)
            if look:
                pose = pose_of(step)
                sights.append(((pose.x, pose.y, pose.angle_rad), look()))
            if advance:
                advance(1)
    sight = _stack(sights, (len(seeds), num_frames)) if look else None
    return Clips(seeds=tuple(seeds), frames=frames, actions=actions, sight=sight)


def mean_image(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What every frame looks like on average: the best constant guess. Shapes: [B, T, H, W, 3] -> [H, W, 3]."""
    some = frames[:, ::MEAN_IMAGE_STRIDE].astype(np.float64)
    return np.rint(some.mean(axis=(0, 1))).astype(np.uint8)


def _stack(sights: Sequence[tuple[tuple[float, float, float], Depth]], shape: tuple[int, int]) -> Sight:
    poses, depths = zip(*sights, strict=True)
    depth = np.stack(depths).astype(np.float32)
    return Sight(pose=np.array(poses).reshape(*shape, 3), depth=depth.reshape(*shape, *depth.shape[1:]))
