"""Ranks of configurations over several datasets: what Friedman's test and the critical difference tell of them.

After Demšar, 'Statistical comparisons of classifiers over multiple data sets', JMLR 2006. Values of different datasets
are never averaged; ranks are. A dataset counts once, however many images it has: what is asked is whether an order
would hold on another dataset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05

MAX_PERMUTATIONS = 20_000
_ROUNDING = 1e-9  # equal sums of ranks may differ in their last digits

MIN_DATASETS = 6
"""Fewest datasets over which ranks are tested: with five, where one of two configurations is better on each of them,
the two-sided sign test and Wilcoxon's still give p = 2 / 2^5 = 0.06."""


@dataclass(frozen=True)
class RankTest:
    """What the ranks over datasets tell.

    Attributes:
        p_value: of Friedman's test that all configurations rank alike, by permutation.
        critical_difference: Nemenyi's: mean ranks that are further apart differ at `LEVEL`. None where the p value is
            not below it.
    """

    p_value: float
    critical_difference: float | None


def ranks(values: Sequence[float], *, lower_is_better: bool) -> NDArray[np.float64]:
    """Return the rank of each value, 1 for the best; equals share the mean of their ranks."""
    costs = np.asarray(values, dtype=np.float64) * (1 if lower_is_better else -1)
    return np.asarray(stats.rankdata(costs), dtype=np.float64)


def rank_test(table: NDArray[np.float64]) -> RankTest | None:
    """Test ranks [datasets, configurations]; None where there are too few datasets, or fewer than two configurations.

    The p value is the share of all ways to permute the ranks within each dataset that give a statistic as large, which
    holds for few datasets and for equal ranks, where the usual approximations do not. Where there are more than
    `MAX_PERMUTATIONS` ways, that many are drawn, always the same.
    """
    datasets, count = table.shape
    if datasets < MIN_DATASETS or count < 2:
        return None
    found = _spread_of_sums(table)
    # Turning all datasets alike changes nothing, so that the first one stays as it is.
    ways = math.factorial(count) ** (datasets - 1)
    if ways <= MAX_PERMUTATIONS:
        orders = list(permutations(range(count)))
        rows = [np.array([row[list(order)] for order in orders]) for row in table[1:]]
        sums = table[0]
        for row in rows:
            sums = (sums[..., np.newaxis, :] + row).reshape(-1, count)
        as_large = float((_spread(sums) >= found - _ROUNDING).mean())
    else:
        random = np.random.default_rng(0)
        drawn = np.array([_spread_of_sums(random.permuted(table, axis=1)) for _ in range(MAX_PERMUTATIONS)])
        as_large = float((1 + (drawn >= found - _ROUNDING).sum()) / (1 + MAX_PERMUTATIONS))
    return RankTest(as_large, critical_difference(count, datasets) if as_large < LEVEL else None)


def _spread_of_sums(table: NDArray[np.float64]) -> float:
    return float(_spread(table.sum(axis=0)))


def _spread(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Friedman's statistic of sums of ranks [..., configurations], but for what no permutation changes."""
    return np.asarray(((sums - sums.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


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
