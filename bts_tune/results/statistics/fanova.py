"""fANOVA (Hutter et al., ICML 2014): the share of a value's variance that each parameter explains by itself.

The forest, its settings and what is computed from it are those of Optuna's `FanovaImportanceEvaluator`. Optuna walks
through each tree once for each interval of each parameter; here all leaves of a tree are looked at together, which
takes a small part of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

_MAX_DEPTH = 64


def fanova(
    parameters: Mapping[str, Sequence[Any]], costs: Sequence[float], *, trees: int, seed: int
) -> dict[str, float]:
    """Return the share of each parameter, by name, largest first; the shares sum to 1.

    Args:
        parameters: of each, its values, one a trial: numbers, or texts for categories. Each has two values at least.
        costs: what is explained, one a trial.
        trees: of the forest.
        seed: of the forest.

    Raises:
        RuntimeError: no tree found a difference to explain.
    """
    from sklearn.ensemble import RandomForestRegressor

    names = sorted(parameters)
    columns: list[_Floats] = []
    bounds: list[tuple[float, float]] = []
    groups: list[list[int]] = []
    for name in names:
        values = parameters[name]
        if isinstance(values[0], str):
            categories = sorted(set(values))
            groups.append(list(range(len(columns), len(columns) + len(categories))))
            columns += [np.array([one == category for one in values], dtype=float) for category in categories]
            bounds += [(0.0, 1.0)] * len(categories)
        else:
            groups.append([len(columns)])
            columns.append(np.array(values, dtype=float))
            bounds.append((float(min(values)), float(max(values))))
    forest = RandomForestRegressor(n_estimators=trees, max_depth=_MAX_DEPTH, random_state=seed)
    forest.fit(np.column_stack(columns), np.array(costs, dtype=float))
    leaves = [_Leaves.of(one.tree_, bounds) for one in forest.estimators_]
    variances = [one.variance() for one in leaves]
    if not any(variances):
        raise RuntimeError("no tree found a difference to explain")
    # A tree that found no difference has nothing to share out.
    split = [(one, variance) for one, variance in zip(leaves, variances, strict=True) if variance > 0]
    found = [float(np.mean([one.variance_of(group) / variance for one, variance in split])) for group in groups]
    total = sum(found)
    shares = {name: part / total if total else 0.0 for name, part in zip(names, found, strict=True)}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


@dataclass(frozen=True)
class _Leaves:
    """The leaves of a tree: boxes that fill the space, each with one value.

    Attributes:
        low, high: the sides of each box, [leaves, columns].
        values: of each leaf.
        bounds: of the space, [columns, 2].
    """

    low: _Floats
    high: _Floats
    values: _Floats
    bounds: _Floats

    @classmethod
    def of(cls, tree: Any, bounds: Sequence[tuple[float, float]]) -> _Leaves:
        """Return the leaves of a tree of scikit-learn."""
        feature, threshold, value = tree.feature.tolist(), tree.threshold.tolist(), tree.value.reshape(-1)
        left, right = tree.children_left.tolist(), tree.children_right.tolist()
        space = np.array(bounds)
        lows, highs, values = [], [], []
        waiting = [(0, space[:, 0], space[:, 1])]
        while waiting:
            node, low, high = waiting.pop()
            split = feature[node]
            if split < 0:
                lows.append(low)
                highs.append(high)
                values.append(value[node])
                continue
            below, above = high.copy(), low.copy()
            below[split] = above[split] = threshold[node]
            waiting += [(left[node], low, below), (right[node], above, high)]
        return cls(np.array(lows), np.array(highs), np.array(values), space)

    def variance(self) -> float:
        """Return the variance of the value over the whole space."""
        return _variance(self.values, np.prod(self.high - self.low, axis=1))

    def variance_of(self, columns: Sequence[int]) -> float:
        """Return the variance of the value over some columns, where it is averaged over all others."""
        others = np.ones(len(self.bounds), dtype=bool)
        others[list(columns)] = False
        weights = np.prod((self.high - self.low)[:, others], axis=1)
        # One row for each combination of an interval of each column, and one column for each leaf.
        inside = np.ones((1, len(self.values)), dtype=bool)
        sizes = np.ones(1)
        for column in columns:
            edges = np.unique(np.concatenate([self.low[:, column], self.high[:, column]]))
            middles = (edges[1:] + edges[:-1]) / 2
            within = (self.low[:, column] < middles[:, None]) & (middles[:, None] <= self.high[:, column])
            inside = (inside[:, None] & within).reshape(-1, len(self.values))
            sizes = (sizes[:, None] * np.diff(edges)).ravel()
        weight = inside @ weights
        average = (inside @ (weights * self.values)) / weight
        return _variance(average, weight * sizes)


def _variance(values: _Floats, weights: _Floats) -> float:
    average = np.average(values, weights=weights)
    return float(np.average((values - average) ** 2, weights=weights))
