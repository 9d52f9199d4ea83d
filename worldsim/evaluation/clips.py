"""Held-out episodes from the true world, kept in memory.

Owns: which walks are evaluated (explore, out and back, spin) and the frames of the mean image. Does not own: the world,
the explorers, which seeds are held out (`evaluation.config` refuses the others).
Shapes: B episodes (one per seed), T frames, H W rows and columns, A action; action t led to frame t.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worldsim.actions.encoding import encode_action
from worldsim.core.types import Action, Pose, Step, World
from worldsim.worlds.base import TrueWorld

Pilot = Callable[[Step], Action]
"""Chooses the next action from the newest step; one per episode."""
MakePilot = Callable[[int], Pilot]
"""The pilot of a seed. Called after the world's reset."""

MEAN_IMAGE_STRIDE = 4
"""Of a training episode every so manieth frame goes into the mean image: neighbours are all but equal."""
MEAN_IMAGE_TICKS = 64
HALF_TURN_DEG = 180.0
WAYPOINT_UNITS = 30.0
"""A place passed on the way out counts as reached again from here."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Episodes of one length. Shapes: frames uint8 [B, T, H, W, 3], actions float32 [B, T, A]."""

    seeds: tuple[int, ...]
    frames: npt.NDArray[np.uint8] = field(repr=False)
    actions: npt.NDArray[np.float32] = field(repr=False)

    def first(self, num_frames: int) -> Clips:
        """The episodes' beginnings."""
        return Clips(seeds=self.seeds, frames=self.frames[:, :num_frames], actions=self.actions[:, :num_frames])


def record_clips(
    world: World,
    make_pilot: MakePilot,
    seeds: Sequence[int],
    num_frames: int,
    advance: Callable[[int], None] | None = None,
) -> Clips:
    """One episode per seed. Side effects: plays the world; it is left open."""
    frames = np.empty((len(seeds), num_frames, *world.frame_shape), dtype=np.uint8)
    actions = np.empty((len(seeds), num_frames, world.action_spec.size), dtype=np.float32)
    for row, seed in enumerate(seeds):
        step = world.reset(seed)
        pilot = make_pilot(seed)
        for t in range(num_frames):
            if t:
                step = world.step(pilot(step))
            frames[row, t] = step.frame
            actions[row, t] = encode_action(world.action_spec, step.action)
            if advance:
                advance(1)
    return Clips(seeds=tuple(seeds), frames=frames, actions=actions)


def explore_pilot(world: TrueWorld) -> MakePilot:
    """Walks through the maze to cells seldom visited."""

    def make(seed: int) -> Pilot:
        explorer = world.explorer("explore", random.Random(f"evaluation:{seed}"))
        return lambda step: explorer.act(_pose(step))

    return make


def return_pilot(world: TrueWorld, num_frames: int) -> MakePilot:
    """Explores during the first half of the episode, then turns round and walks back over the same places."""
    return lambda seed: OutAndBack(explore_pilot(world)(seed), num_frames // 2, world.config.turn_deg)


class OutAndBack:
    """A pilot that lets another lead for `out_frames` frames, then goes back by held keys."""

    def __init__(self, out: Pilot, out_frames: int, turn_deg: float) -> None:
        self._out, self._out_frames, self._turn_deg = out, out_frames, turn_deg
        self._trail: list[tuple[float, float]] = []

    def __call__(self, step: Step) -> Action:
        pose = _pose(step)
        next_index = step.index + 1
        if next_index < self._out_frames:
            self._trail.append((pose.x, pose.y))
            return self._out(step)
        if next_index < self._out_frames + round(HALF_TURN_DEG / self._turn_deg):
            return Action.of(turn=1.0)
        return self._back(pose)

    def _back(self, pose: Pose) -> Action:
        """Towards the newest place not reached again yet; turns on the spot when there is none left."""
        while self._trail and math.hypot(self._trail[-1][0] - pose.x, self._trail[-1][1] - pose.y) < WAYPOINT_UNITS:
            self._trail.pop()
        if not self._trail:
            return Action.of(turn=1.0)
        direction = math.atan2(self._trail[-1][1] - pose.y, self._trail[-1][0] - pose.x)
        bearing_deg = math.degrees(math.remainder(direction - pose.angle_rad, math.tau))
        turn = math.copysign(1.0, bearing_deg) if abs(bearing_deg) > self._turn_deg * 0.6 else 0.0
        return Action(buttons=frozenset({"forward"} if abs(bearing_deg) < 45.0 else ()), axes=(("turn", turn),))


def spin_ticks(turn_deg: float) -> int:
    """Ticks of one full turn."""
    return round(360.0 / turn_deg)


def spin_pilot(seed: int) -> Pilot:
    """Turns on the spot: even seeds to the left, odd ones to the right."""
    action = Action.of(turn=1.0 if seed % 2 == 0 else -1.0)
    return lambda step: action


def mean_image(clips: Clips) -> npt.NDArray[np.uint8]:
    """What every frame of `clips` looks like on average: the best constant guess. Shapes: [H, W, 3]."""
    some = clips.frames[:, ::MEAN_IMAGE_STRIDE].astype(np.float64)
    return np.rint(some.mean(axis=(0, 1))).astype(np.uint8)


def _pose(step: Step) -> Pose:
    assert step.pose is not None, "this walk needs the true pose"
    return step.pose
