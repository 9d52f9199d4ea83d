"""Bootstrap intervals of means and of differences between means. Torch-free.

Every interval is reproducible: each call resamples with a generator of seed 0.
Shapes: N episodes (one value per seed), S training seeds (runs of one architecture), R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

TAILS = (0.025, 0.975)
NUM_RESAMPLES = 2000
NUM_RUN_RESAMPLES = 4000
"""For `run_mean` and `run_difference`, which resample episodes and training seeds."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether there is an interval and it excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def bootstrap_interval(values_N: FloatArray, weight_N: FloatArray | None = None) -> tuple[float, float]:
    """95 % percentile interval of the mean, resampling episodes.

    `weight_N` makes it a weighted mean: a ratio of two sums is the mean of ratios weighted by their denominators.
    """
    assert values_N.ndim == 1 and len(values_N) > 0, f"need one value per seed, got {values_N.shape}"
    assert not np.isnan(values_N).any(), "NaN: leave out seeds without a value"
    weight_N = np.ones_like(values_N) if weight_N is None else weight_N
    generator = np.random.default_rng(0)
    resample_indices = generator.integers(0, len(values_N), size=(NUM_RESAMPLES, len(values_N)))
    means = (values_N * weight_N)[resample_indices].sum(axis=1) / weight_N[resample_indices].sum(axis=1)
    low, high = np.quantile(means, TAILS)
    return float(low), float(high)


def run_mean(value: float, values_SN: FloatArray | None) -> Estimate:
    """`value` with the interval of the mean over training seeds and episodes; without one for None."""
    if values_SN is None:
        return Estimate(value=value)
    generator = np.random.default_rng(0)
    seeds, episodes = _weights(generator, len(values_SN)), _weights(generator, values_SN.shape[1])
    return _estimate(value, _resampled(seeds, values_SN, episodes))


def run_difference(value: float, a_SN: FloatArray | None, b_SN: FloatArray | None) -> Estimate:
    """`value` with the interval of mean(a) - mean(b).

    Episodes are resampled in pairs where both sides have the same number of them, training seeds independently.
    """
    if a_SN is None or b_SN is None:
        return Estimate(value=value)
    generator = np.random.default_rng(0)
    episodes_a = _weights(generator, a_SN.shape[1])
    episodes_b = episodes_a if a_SN.shape[1] == b_SN.shape[1] else _weights(generator, b_SN.shape[1])
    seeds_a, seeds_b = _weights(generator, len(a_SN)), _weights(generator, len(b_SN))
    return _estimate(value, _resampled(seeds_a, a_SN, episodes_a) - _resampled(seeds_b, b_SN, episodes_b))


def _weights(generator: np.random.Generator, num: int) -> FloatArray:
    """How often each of `num` items is drawn, divided by `num`. Shapes: [R, num]."""
    return generator.multinomial(num, np.full(num, 1 / num), size=NUM_RUN_RESAMPLES) / num


def _resampled(seeds_RS: FloatArray, values_SN: FloatArray, episodes_RN: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("rs,sn,rn->r", seeds_RS, values_SN, episodes_RN), dtype=np.float64)


def _estimate(value: float, resampled_R: FloatArray) -> Estimate:
    low, high = np.quantile(resampled_R, TAILS)
    return Estimate(value=value, low=float(low), high=float(high))
