"""Whether two architectures differ: bootstrap intervals over walks and training seeds. Pure functions.

S training seeds (runs of one architecture), N walks (the same ones for every run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from worldsim.evaluation.report.results import ComparisonRun

NUM_RESAMPLES = 4000
TAILS = (0.025, 0.975)
LOWER_IS_BETTER = ("lpips", "fvd", "frechet", "mse", "error", "distance")
"""A score with one of these in its name; of all others more is better."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean, or a difference of means, with its 95 % interval; without one where no walks were kept."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_significant(self) -> bool:
        """The interval is there and does not include 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def is_better(metric: str, difference: float) -> bool:
    """Whether a score that is larger by `difference` is the better one."""
    lower = any(part in metric.lower() for part in LOWER_IS_BETTER)
    return difference < 0 if lower else difference > 0


def mean(runs: Sequence[ComparisonRun], metric: str) -> Estimate | None:
    """Of the runs that have that score; None where none has."""
    scored = [run for run in runs if metric in run.scores]
    if not scored:
        return None
    value = float(np.mean([run.scores[metric].value for run in scored]))
    values_SN = _values(scored, metric)
    if values_SN is None:
        return Estimate(value=value)
    generator = np.random.default_rng(0)
    seeds, walks = _weights(generator, len(values_SN)), _weights(generator, values_SN.shape[1])
    return _estimate(value, _resampled(seeds, values_SN, walks))


def difference(runs: Sequence[ComparisonRun], reference: Sequence[ComparisonRun], metric: str) -> Estimate | None:
    """Mean of `runs` minus mean of `reference`. Walks are drawn in pairs where both have the same number of them,
    training seeds apart. None where one has no such score."""
    a, b = mean(runs, metric), mean(reference, metric)
    if a is None or b is None:
        return None
    a_SN, b_SN = (_values([run for run in side if metric in run.scores], metric) for side in (runs, reference))
    if a_SN is None or b_SN is None:
        return Estimate(value=a.value - b.value)
    generator = np.random.default_rng(0)
    walks_a = _weights(generator, a_SN.shape[1])
    walks_b = walks_a if a_SN.shape[1] == b_SN.shape[1] else _weights(generator, b_SN.shape[1])
    seeds_a, seeds_b = _weights(generator, len(a_SN)), _weights(generator, len(b_SN))
    resampled = _resampled(seeds_a, a_SN, walks_a) - _resampled(seeds_b, b_SN, walks_b)
    return _estimate(a.value - b.value, resampled)


def _values(runs: Sequence[ComparisonRun], metric: str) -> Values | None:
    """Shapes: [S, N]; None where walks were not kept, or not the same number of them."""
    rows = [run.scores[metric].per_seed for run in runs]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    return np.array(rows, dtype=np.float64)


def _weights(generator: np.random.Generator, num: int) -> Values:
    """How often each of `num` is drawn, over `num`. Shapes: [R, num]."""
    return generator.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES) / num


def _resampled(seeds_RS: Values, values_SN: Values, walks_RN: Values) -> Values:
    return np.asarray(np.einsum("rs,sn,rn->r", seeds_RS, values_SN, walks_RN), dtype=np.float64)


def _estimate(value: float, resampled_R: Values) -> Estimate:
    low, high = np.quantile(resampled_R, TAILS)
    return Estimate(value=value, low=float(low), high=float(high))
