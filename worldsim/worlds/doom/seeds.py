"""Which seeds training may draw: never one from `EVALUATION_SEED_START` up."""

from __future__ import annotations

import random
from collections.abc import Iterator

from worldsim.core.errors import ConfigError
from worldsim.worlds.doom.config import EVALUATION_SEED_START

MAZES_PER_WAD = 64
"""Seeds of one block of this many share a WAD, so that going from one to the next does not restart the engine."""


def check_training_seed(seed: int) -> int:
    """Returns the seed. Raises ConfigError when it is an evaluation seed."""
    if not 0 <= seed < EVALUATION_SEED_START:
        raise ConfigError(f"seed {seed} is not for training", hint=f"train on seeds 0 to {EVALUATION_SEED_START - 1}")
    return seed


def training_seeds(rng: random.Random) -> Iterator[int]:
    """Endless training seeds: blocks of neighbours in random order (see MAZES_PER_WAD), never an evaluation seed."""
    num_blocks = EVALUATION_SEED_START // MAZES_PER_WAD
    while True:
        first = rng.randrange(num_blocks) * MAZES_PER_WAD
        for seed in rng.sample(range(first, first + MAZES_PER_WAD), MAZES_PER_WAD):
            yield check_training_seed(seed)
