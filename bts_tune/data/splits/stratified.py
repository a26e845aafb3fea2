"""Folds of whole groups, of about equal size and alike in tumour area and in what names tell of the slices."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bts_tune.data.records import SPLITS

if TYPE_CHECKING:
    from bts_tune.data.records import Dataset
    from bts_tune.data.scan.scan import Scan
    from bts_tune.data.scan.similarity import Indices

AREA_STRATA = 4
"""Strata of slices with a tumour, of equal size by its area; slices without one are a further stratum."""


def tumor_areas(scan: Scan) -> np.ndarray:
    """Return the tumour's share of each image, float64 [N], in the order of the scan; 0 where it cannot be read."""
    return np.array([one.tumor_share or 0.0 for one in scan.slices.values()])


def kinds_of_slices(dataset: Dataset, names: Sequence[str]) -> Indices:
    """Return a number for what each slice is, such as an axial slice of a glioma, int64 [N], in the order of `names`.

    It is 0 for all where neither names nor files tell.
    """
    strata = {record.name: "/".join(value for _, value in record.strata) for record in dataset}
    return np.unique([strata[name] for name in names], return_inverse=True)[1].astype(np.int64)


def steady_order(dataset: Dataset, names: Sequence[str]) -> Indices:
    """Return the places of slices in an order that depends on nothing but the dataset, int64 [N].

    It is by the split that they came in, then by the number that an annotation file gives them, then by name.
    """
    keys = {
        record.name: (
            SPLITS.index(record.split),
            record.image_id if isinstance(record.image_id, int) else 0,
            record.name,
        )
        for record in dataset
    }
    return np.array(sorted(range(len(names)), key=lambda place: keys[names[place]]), dtype=np.int64)


def renumbered(groups: Indices) -> Indices:
    """Return the same groups numbered from 0 by the first slice of each."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def stratified_folds(
    groups: Indices, areas: np.ndarray, number: int, seed: int, kinds: Indices | None = None
) -> Indices:
    """Return the fold of each slice from 0, int64 [N].

    Args:
        groups: the group of each slice, int64 [N].
        areas: its tumour's area, float64 [N].
        number: of folds; at most the number of groups.
        seed: of scikit-learn's `StratifiedGroupKFold`.
        kinds: what each slice is, int64 [N]; the folds are alike in this too.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    of_area = np.zeros(len(areas), dtype=np.int64)
    tumors = areas > 0
    parts = min(AREA_STRATA, int(tumors.sum()) // (2 * number))
    if parts:
        edges = np.quantile(areas[tumors], np.linspace(0, 1, parts + 1)[1:-1])
        of_area[tumors] = 1 + np.searchsorted(edges, areas[tumors])
    choices = [of_area, np.zeros_like(of_area)]
    if kinds is not None and len(np.unique(kinds)) > 1:
        both = np.unique(np.stack([kinds, of_area]), axis=1, return_inverse=True)[1].reshape(-1)
        choices = [both, kinds, *choices]
    # Of few slices, each kind and size may have fewer than there are folds: then the coarser strata are balanced.
    strata = next(one for one in choices if np.unique(one, return_counts=True)[1].max() >= number)
    fold = np.empty(len(groups), dtype=np.int64)
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Tumour-free slices may be fewer than folds.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for index, (_, members) in enumerate(splitter.split(groups, strata, groups)):
            fold[members] = index
    return fold
