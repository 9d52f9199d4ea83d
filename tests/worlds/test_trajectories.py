"""Seeds of training and evaluation."""

from __future__ import annotations

import random

import pytest

from worldsim.core.errors import ConfigError
from worldsim.worlds.trajectories import EVALUATION_SEED_START, SEEDS_PER_BLOCK, check_training_seed, training_seeds


def test_training_never_draws_an_evaluation_seed() -> None:
    draws = training_seeds(random.Random(0))
    seeds = [next(draws) for _ in range(2000)]
    assert max(seeds) < EVALUATION_SEED_START and min(seeds) >= 0
    assert len({seed // SEEDS_PER_BLOCK for seed in seeds[:SEEDS_PER_BLOCK]}) == 1, "a block shares one WAD"
    assert len(set(seeds)) > 1900
    with pytest.raises(ConfigError, match="not for training"):
        check_training_seed(EVALUATION_SEED_START)
