"""Trajectories of a policy through a reference world, and those that end where presets start.

Owns: seeds and lengths of the latter. Does not own: what policies do (each world's `policies`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.types import Step
from worldsim.worlds.base import GroundTruthWorld

START_FRAMES = 32
START_TRAJECTORY_FRAMES = 3 * START_FRAMES
"""A preset's start is the end of a trajectory of at least this many frames."""
FIRST_START_SEED = 801_000
"""Seed of the first start; the next start has the next seed."""
START_POLICY = "mixed"


def start_trajectory_frames(start_frames: int) -> int:
    """Length of the trajectory whose last `start_frames` frames become a start."""
    return max(START_TRAJECTORY_FRAMES, start_frames)


def collect_trajectory(world: GroundTruthWorld, seed: int, num_frames: int, policy_name: str) -> list[Step]:
    """`num_frames` steps from a reset with `seed`, the reset's step included. Leaves `world` at the last one."""
    return list(iter_trajectory(world, seed, num_frames, policy_name))


def iter_trajectory(world: GroundTruthWorld, seed: int, num_frames: int, policy_name: str) -> Iterator[Step]:
    """Like `collect_trajectory`, lazily; `world.depth` belongs to the step yielded last."""
    step = world.reset(seed)
    policy = world.make_policy(policy_name, random.Random(seed))
    yield step
    for _ in range(num_frames - 1):
        assert step.pose is not None
        step = world.step(policy.act(step.pose))
        yield step
