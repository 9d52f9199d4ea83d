"""Trajectories of a policy through a reference world: which seeds training may draw, and those where presets start.

Owns: seeds and lengths. Training never draws a seed from `EVALUATION_SEED_START` on. Does not own: what policies do
(each world's `policies`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.errors import ConfigError
from worldsim.core.types import Step
from worldsim.worlds.base import GroundTruthWorld

EVALUATION_SEED_START = 900_000
"""Seeds from here on are for evaluation only."""
SEEDS_PER_BLOCK = 64
"""Training draws neighboring seeds together: a Doom engine loads this many mazes at once, in one WAD."""
START_FRAMES = 32
START_TRAJECTORY_FRAMES = 3 * START_FRAMES
"""A preset's start is the end of a trajectory of at least this many frames."""
FIRST_START_SEED = 801_000
"""Seed of the first start; the next start has the next seed."""
START_POLICY = "mixed"


def check_training_seed(seed: int) -> int:
    """Returns the seed. Raises: ConfigError if it is reserved for evaluation."""
    if not 0 <= seed < EVALUATION_SEED_START:
        raise ConfigError(f"seed {seed} is not for training", hint=f"train on seeds 0 to {EVALUATION_SEED_START - 1}")
    return seed


def training_seeds(rng: random.Random) -> Iterator[int]:
    """Endless training seeds: random blocks of `SEEDS_PER_BLOCK` neighbors, shuffled within the block."""
    num_blocks = EVALUATION_SEED_START // SEEDS_PER_BLOCK
    while True:
        first = rng.randrange(num_blocks) * SEEDS_PER_BLOCK
        for seed in rng.sample(range(first, first + SEEDS_PER_BLOCK), SEEDS_PER_BLOCK):
            yield check_training_seed(seed)


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
