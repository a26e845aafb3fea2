"""Ranks of configurations over several datasets: what Friedman's test and the critical difference tell of them.

After Demšar, 'Statistical comparisons of classifiers over multiple data sets', JMLR 2006. Values of different datasets
are never averaged; ranks are. A dataset counts once, however many images it has: what is asked is whether an order
would hold on another dataset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05

MIN_DATASETS = 6
"""Fewest datasets over which ranks are tested: with five, where one of two configurations is better on each of them,
the two-sided sign test and Wilcoxon's still give p = 2 / 2^5 = 0.06."""


@dataclass(frozen=True)
class RankTest:
    """What the ranks over datasets tell.

    Attributes:
        p_value: of Friedman's test that all configurations rank alike, with Iman and Davenport's correction.
        critical_difference: Nemenyi's: mean ranks that are further apart differ at `LEVEL`.
    """

    p_value: float
    critical_difference: float


def ranks(values: Sequence[float], *, lower_is_better: bool) -> NDArray[np.float64]:
    """Return the rank of each value, 1 for the best; equals share the mean of their ranks."""
    costs = np.asarray(values, dtype=np.float64) * (1 if lower_is_better else -1)
    return np.asarray(stats.rankdata(costs), dtype=np.float64)


def rank_test(table: NDArray[np.float64]) -> RankTest | None:
    """Test ranks [datasets, configurations]; None where there are too few datasets, or fewer than two configurations.

    The statistic is that of Friedman with his correction for ties, as `scipy.stats.friedmanchisquare` has it.
    """
    datasets, count = table.shape
    if datasets < MIN_DATASETS or count < 2:
        return None
    critical = critical_difference(count, datasets)
    means = table.mean(axis=0)
    spread = float(((table - (count + 1) / 2) ** 2).sum() / (datasets * (count - 1)))
    if not spread:  # all are equal everywhere
        return RankTest(1.0, critical)
    chi_squared = float(datasets * ((means - (count + 1) / 2) ** 2).sum() / spread)
    left = datasets * (count - 1) - chi_squared
    if left <= 1e-9:  # the same order everywhere
        return RankTest(0.0, critical)
    statistic = (datasets - 1) * chi_squared / left
    p_value = stats.f.sf(statistic, count - 1, (count - 1) * (datasets - 1))
    return RankTest(float(p_value), critical)


def critical_difference(configurations: int, datasets: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at `LEVEL`."""
    quantile = stats.studentized_range.ppf(1 - LEVEL, configurations, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(configurations * (configurations + 1) / (6 * datasets)))


def not_told_apart(means: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Return the longest stretches of mean ranks, sorted upwards, within which no two differ: first and last place."""
    found: list[tuple[int, int]] = []
    for first, low in enumerate(means):
        last = max(place for place, high in enumerate(means) if high - low <= critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def agreement(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's tau-b between two orders: 1 the same, -1 turned round; None where all values are equal."""
    tau = float(stats.kendalltau(one, other).statistic)
    return None if math.isnan(tau) else tau
