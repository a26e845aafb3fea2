"""Cross-validation: the training and validation slices as folds of which each is validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import Scan
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.data.splits.split import Split
from bts_tune.data.splits.stratified import kinds_of_slices, stratified_folds, tumor_areas
from bts_tune.errors import DataError


def _allowed(sizes: NDArray[np.int64]) -> str:
    """Return how many folds are possible; a group of more slices than a fold has is in the training part of each."""
    possible = [folds for folds in range(2, len(sizes) + 1) if (sizes * folds <= sizes.sum()).sum() >= folds]
    if possible:
        return f"must be from 2 to {possible[-1]}, since there are {len(sizes)} groups of slices outside the test split"
    return (
        f"is not possible: of {len(sizes)} groups of slices outside the test split, fewer than two are small enough to "
        "be validated on"
    )


def cross_validation(dataset: Dataset, split: Split, scan: Scan, folds: int) -> tuple[list[Dataset], Split]:
    """Return datasets whose validation splits are disjoint parts of the training and validation slices.

    The test split is the same in all of them. A group is in one split of each; a group larger than a fold should be
    stays in the training split of each. The split that comes with them has its `folds`, and the size and leakage of
    each in its summary.

    Args:
        dataset: in the splits that `make_split` gave it.
        split: what `make_split` returned beside it.
        scan: of the dataset's slices.
        folds: how many, at least 2.

    Raises:
        DataError: there are fewer groups than folds, groups apart that are larger than a fold.
    """
    labels = split.labels(scan)
    kinds = kinds_of_slices(dataset, scan.names)
    places = np.flatnonzero([split.splits[name] != "test" for name in scan.names])
    _, members, sizes = np.unique(labels[places], return_inverse=True, return_counts=True)
    movable = places[sizes[members] * folds <= len(places)]
    if not 2 <= folds <= len(np.unique(labels[movable])):
        raise DataError(f"--folds {folds}: {_allowed(sizes)}.")
    numbers = stratified_folds(labels[movable], tumor_areas(scan)[movable], folds, split.seed, kinds[movable])
    fold = {scan.names[place]: int(number) + 1 for place, number in zip(movable, numbers, strict=True)}
    datasets = fold_datasets(dataset, fold)
    described = [
        {
            "images": {name: len(records) for name, records in one.records.items()},
            "leak": measure_leak(one, scan, labels).to_dict()["splits"],
        }
        for one in datasets
    ]
    return datasets, replace(split, folds=fold, summary={**split.summary, "folds": described})


def fold_datasets(dataset: Dataset, folds: Mapping[str, int]) -> list[Dataset]:
    """Return the dataset of each fold in order: its slices validate, all others but those of the test split train.

    Args:
        dataset: in splits of which the test split stays as it is.
        folds: the fold, from 1, of each slice that is validated, by name.
    """
    datasets = []
    for number in range(1, max(folds.values()) + 1):
        splits = {
            one.name: "test" if one.split == "test" else "valid" if folds.get(one.name) == number else "train"
            for one in dataset
        }
        datasets.append(dataset.with_splits(splits))
    return datasets
