"""Which seeds training may draw: never one from `EVALUATION_SEED_START` on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.errors import ConfigError

EVALUATION_SEED_START = 900_000
"""Seeds from here on are for evaluation only."""
SEEDS_PER_BLOCK = 64
"""Training draws neighboring seeds together: a Doom engine loads this many mazes at once, in one WAD."""


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
