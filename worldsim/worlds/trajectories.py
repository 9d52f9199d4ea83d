"""A walk through a true world by an explorer, and the walks that end where presets begin.

Owns: the seeds and the length of the walks to a start. Does not own: how an explorer walks (each world's `policies`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.types import Step
from worldsim.worlds.base import TrueWorld

START_FRAMES = 32
START_WALK_FRAMES = 3 * START_FRAMES
"""A start is the end of a walk through the true world of so many frames..."""
FIRST_START_SEED = 801_000
"""...from this seed, the next start from the next one."""
START_SCRIPT = "mixed"


def start_walk_frames(start_frames: int) -> int:
    """How long the walk to a start is that keeps so many frames."""
    return max(START_WALK_FRAMES, start_frames)


def walk(world: TrueWorld, seed: int, num_frames: int, script: str) -> list[Step]:
    """`num_frames` steps from a reset with `seed` on, the reset's among them. Leaves `world` at the last one."""
    return list(walking(world, seed, num_frames, script))


def walking(world: TrueWorld, seed: int, num_frames: int, script: str) -> Iterator[Step]:
    """As `walk`, one step at a time: until the next is asked for, the world's depth belongs to this one."""
    step = world.reset(seed)
    explorer = world.explorer(script, random.Random(seed))
    yield step
    for _ in range(num_frames - 1):
        assert step.pose is not None
        step = world.step(explorer.act(step.pose))
        yield step
