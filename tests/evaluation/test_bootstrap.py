"""Bootstrap intervals of means and differences, on runs with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.evaluation.bootstrap import bootstrap_interval
from worldsim.evaluation.report.comparisons import is_better
from worldsim.evaluation.report.results import ComparisonRun, RunScore, mean_score, score_difference

EPISODES = np.random.default_rng(7).normal(20.0, 3.0, 16)


def run(values: object, seed: int = 0, *, value: float | None = None) -> ComparisonRun:
    per_seed = tuple(float(x) for x in values)  # type: ignore[attr-defined]
    score = RunScore(value=float(np.mean(per_seed)) if value is None else value, per_seed=per_seed)
    return ComparisonRun(
        architecture="full", seed=seed, updates=1, train_s=1.0, frames=1, parameters=1, scores={"psnr": score}
    )


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    found = mean_score([run(EPISODES)], "psnr")
    error = EPISODES.std() / 4
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(EPISODES.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_episodes_are_resampled_in_pairs_so_a_constant_gain_is_significant() -> None:
    found = score_difference([run(EPISODES + 0.1)], [run(EPISODES)], "psnr")
    assert found is not None and found.is_significant
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_difference_within_the_spread_is_not_significant() -> None:
    other = np.random.default_rng(8).normal(20.2, 3.0, 16)
    found = score_difference([run(other)], [run(EPISODES)], "psnr")
    assert found is not None and not found.is_significant
    assert found.low < 0 < found.high  # type: ignore[operator]


def test_disagreeing_training_seeds_remove_significance_found_over_episodes() -> None:
    reference = [run(EPISODES, 0), run(EPISODES, 1)]
    assert score_difference([run(EPISODES + 1)], reference, "psnr").is_significant  # type: ignore[union-attr]
    disagreeing = [run(EPISODES + 4, 0), run(EPISODES - 2, 1)]
    assert not score_difference(disagreeing, reference, "psnr").is_significant  # type: ignore[union-attr]


def test_without_per_episode_scores_a_difference_has_no_interval() -> None:
    found = score_difference([run([], value=3.0)], [run(EPISODES, value=1.0)], "psnr")
    assert found is not None
    assert (found.value, found.low, found.is_significant) == (2.0, None, False)
    assert score_difference([run(EPISODES)], [], "psnr") is None
    assert mean_score([run(EPISODES)], "ssim") is None


def test_lower_is_better_for_distances() -> None:
    assert is_better("retrieval_psnr", 1) and is_better("retrieval_lpips", -1)
    assert not is_better("retrieval_ssim", -1) and not is_better("frechet", 1)


def test_the_interval_holds_the_mean_and_narrows_with_more_seeds() -> None:
    values = np.random.default_rng(0).normal(20.0, 2.0, size=64)
    low, high = bootstrap_interval(values)
    few_low, few_high = bootstrap_interval(values[:6])
    assert low < values.mean() < high
    assert high - low < few_high - few_low
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(np.array([7.0])) == (7.0, 7.0)


def test_the_interval_of_a_weighted_mean_is_that_of_a_ratio_of_sums() -> None:
    low, high = bootstrap_interval(np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    assert (low, high) == (1.0, 3.0)
    values, ones = np.random.default_rng(0).normal(size=9), np.ones(9)
    assert bootstrap_interval(values, 5 * ones) == pytest.approx(bootstrap_interval(values))
