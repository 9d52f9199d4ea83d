"""A walk through a true world by an explorer, and the walks that end where presets begin.

Owns: the seeds and the length of the walks to a start. Does not own: how an explorer walks (each world's `policies`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.types import Step
from worldsim.worlds.base import GroundTruthWorld

START_FRAMES = 32
START_TRAJECTORY_FRAMES = 3 * START_FRAMES
"""A start is the end of a walk through the true world of so many frames..."""
FIRST_START_SEED = 801_000
"""...from this seed, the next start from the next one."""
START_POLICY = "mixed"


def start_trajectory_frames(start_frames: int) -> int:
    """How long the walk to a start is that keeps so many frames."""
    return max(START_TRAJECTORY_FRAMES, start_frames)


def collect_trajectory(world: GroundTruthWorld, seed: int, num_frames: int, policy_name: str) -> list[Step]:
    """`num_frames` steps from a reset with `seed` on, the reset's among them. Leaves `world` at the last one."""
    return list(iter_trajectory(world, seed, num_frames, policy_name))


def iter_trajectory(world: GroundTruthWorld, seed: int, num_frames: int, policy_name: str) -> Iterator[Step]:
    """As `collect_trajectory`, one step at a time; the world's depth belongs to the step yielded last."""
    step = world.reset(seed)
    policy = world.make_policy(policy_name, random.Random(seed))
    yield step
    for _ in range(num_frames - 1):
        assert step.pose is not None
        step = world.step(policy.act(step.pose))
        yield step
