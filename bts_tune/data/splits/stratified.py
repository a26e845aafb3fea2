"""Folds of whole groups, of about equal size and alike in tumour area."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bts_tune.data.checks.scan import Scan
    from bts_tune.data.checks.similarity import Indices

AREA_STRATA = 4
"""Strata of slices with a tumour, of equal size by its area; slices without one are a further stratum."""


def tumor_areas(scan: Scan) -> np.ndarray:
    """Return the tumour's share of each image, float64 [N], in the order of the scan; 0 where it cannot be read."""
    return np.array([one.tumor_share or 0.0 for one in scan.slices.values()])


def stratified_folds(groups: Indices, areas: np.ndarray, number: int, seed: int) -> Indices:
    """Return the fold of each slice from 0, int64 [N].

    Args:
        groups: the group of each slice, int64 [N].
        areas: its tumour's area, float64 [N].
        number: of folds; at most the number of groups.
        seed: of scikit-learn's `StratifiedGroupKFold`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    strata = np.zeros(len(areas), dtype=np.int64)
    tumors = areas > 0
    parts = min(AREA_STRATA, int(tumors.sum()) // (2 * number))
    if parts:
        edges = np.quantile(areas[tumors], np.linspace(0, 1, parts + 1)[1:-1])
        strata[tumors] = 1 + np.searchsorted(edges, areas[tumors])
    fold = np.empty(len(groups), dtype=np.int64)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Tumour-free slices may be fewer than folds.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for index, (_, members) in enumerate(splitter.split(groups, strata, groups)):
            fold[members] = index
    return fold
