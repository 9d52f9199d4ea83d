"""Intervals of means and differences, on runs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from worldsim.evaluation.report.results import ComparisonRun, RunScore
from worldsim.evaluation.report.significance import difference, is_better, mean

WALKS = np.random.default_rng(7).normal(20.0, 3.0, 16)


def run(values: object, seed: int = 0, *, value: float | None = None) -> ComparisonRun:
    per_seed = tuple(float(x) for x in values)  # type: ignore[attr-defined]
    score = RunScore(value=float(np.mean(per_seed)) if value is None else value, per_seed=per_seed)
    return ComparisonRun(
        architecture="full", seed=seed, updates=1, train_s=1.0, frames=1, parameters=1, scores={"psnr": score}
    )


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    found = mean([run(WALKS)], "psnr")
    error = WALKS.std() / 4
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(WALKS.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_walks_are_resampled_in_pairs_so_a_constant_gain_is_significant() -> None:
    found = difference([run(WALKS + 0.1)], [run(WALKS)], "psnr")
    assert found is not None and found.is_significant
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_difference_within_the_spread_is_not_significant() -> None:
    other = np.random.default_rng(8).normal(20.2, 3.0, 16)
    found = difference([run(other)], [run(WALKS)], "psnr")
    assert found is not None and not found.is_significant
    assert found.low < 0 < found.high  # type: ignore[operator]


def test_disagreeing_training_seeds_remove_a_significance_found_over_walks() -> None:
    reference = [run(WALKS, 0), run(WALKS, 1)]
    assert difference([run(WALKS + 1)], reference, "psnr").is_significant  # type: ignore[union-attr]
    disagreeing = [run(WALKS + 4, 0), run(WALKS - 2, 1)]
    assert not difference(disagreeing, reference, "psnr").is_significant  # type: ignore[union-attr]


def test_without_walks_there_is_a_difference_and_no_interval() -> None:
    found = difference([run([], value=3.0)], [run(WALKS, value=1.0)], "psnr")
    assert found is not None
    assert (found.value, found.low, found.is_significant) == (2.0, None, False)
    assert difference([run(WALKS)], [], "psnr") is None
    assert mean([run(WALKS)], "ssim") is None


def test_lower_is_better_for_distances() -> None:
    assert is_better("retrieval_psnr", 1) and is_better("retrieval_lpips", -1)
    assert not is_better("retrieval_ssim", -1) and not is_better("frechet", 1)
