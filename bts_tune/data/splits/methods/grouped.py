"""A new split in which groups of related slices (see `bts_tune.data.splits.groups`) stay together.

Whole groups are assigned to splits of about 70/20/10 with scikit-learn's `StratifiedGroupKFold`, stratified by the
tumour's area, so that every split has its share of small, large and absent tumours, and by the kind of tumour and the
plane, where names or files tell. Groups above 5 % of all slices go
to the training split, as far as the others can fill the rest: they would make a test split a test of one group.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.data.splits.stratified import (
    kinds_of_slices,
    renumbered,
    steady_order,
    stratified_folds,
    tumor_areas,
)
from bts_tune.errors import DataError
from bts_tune.registry import SPLIT_METHODS

if TYPE_CHECKING:
    from bts_tune.data.records import Dataset
    from bts_tune.data.scan.scan import Scan
    from bts_tune.data.scan.similarity import Indices

SHARES = {"train": 0.7, "valid": 0.2, "test": 0.1}
DOMINANT = 0.05
"""A group of more than this share of all slices goes to the training split."""


@SPLIT_METHODS.register("grouped")
class GroupedSplit(SplitMethod):
    """Assigns whole groups, such that the splits are alike in tumour area."""

    description = "assigned anew, with related slices kept together"
    keeps_groups_together = True
    joins_near_duplicates = True

    def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
        """Return the split of every slice; see the module's first lines.

        Raises:
            DataError: there are fewer than 3 groups.
        """
        found = len(np.unique(groups))
        if found < 3:
            way_out = (
                "put the slices into train/ and valid/ yourself" if dataset.needs_splitting else "use --split provided"
            )
            if any(record.group is not None for record in dataset):
                way_out += "; where these groups are no patients, --group-by none"
            raise DataError(
                f"{dataset.root}: its {len(groups)} slices form {found} group(s); a grouped split needs at least 3 "
                f"groups; {way_out}."
            )
        order = steady_order(dataset, scan.names)
        kinds = kinds_of_slices(dataset, scan.names)[order]
        splits = _assign(renumbered(groups[order]), tumor_areas(scan)[order], seed, kinds)
        return {scan.names[place]: split for place, split in zip(order, splits, strict=True)}


def validation_from_training(dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
    """Return the split of every slice of a dataset without a validation split: it is taken from the training split.

    It is a fifth of the training slices, or a little more or less, in whole groups. The other slices stay where they
    are.

    Raises:
        DataError: the training slices form fewer than 2 groups.
    """
    splits = {record.name: record.split for record in dataset}
    order = steady_order(dataset, scan.names)
    places = order[[splits[scan.names[place]] == "train" for place in order]]
    labels, areas = groups[places], tumor_areas(scan)[places]
    movable = np.flatnonzero(_movable(labels))
    wanted = SHARES["valid"] * len(places)
    number = min(max(2, round(len(movable) / wanted)), len(np.unique(labels[movable])))
    if number < 2:
        raise DataError(
            f"{dataset.root}: has no validation split, and its {len(places)} training slices form one group of related "
            "slices, of which none can be taken; put slices of other patients into valid/."
        )
    kinds = kinds_of_slices(dataset, scan.names)[places]
    fold = stratified_folds(renumbered(labels[movable]), areas[movable], number, seed, kinds[movable])
    chosen = int(np.argmin(np.abs(np.bincount(fold, minlength=number) - wanted)))
    return splits | {scan.names[places[place]]: "valid" for place in movable[fold == chosen]}


def _assign(groups: Indices, areas: np.ndarray, seed: int, kinds: Indices) -> list[str]:
    """Return the split of each slice."""
    count = len(groups)
    movable = np.flatnonzero(_movable(groups))
    test, valid = SHARES["test"] * count, SHARES["valid"] * count
    number = min(10, max(3, round(len(movable) / test)), len(np.unique(groups[movable])))
    fold = stratified_folds(groups[movable], areas[movable], number, seed, kinds[movable])
    of_valid, of_test = (max(1, round(share * number / len(movable))) for share in (valid, test))
    sizes = np.bincount(fold, minlength=number)
    choices = (
        (one, other)
        for one in itertools.combinations(range(number), of_test)
        for other in itertools.combinations(sorted({*range(number)} - {*one}), of_valid)
    )
    test_folds, valid_folds = min(
        choices, key=lambda pair: abs(sizes[[*pair[0]]].sum() - test) + abs(sizes[[*pair[1]]].sum() - valid)
    )
    splits = np.full(count, "train", dtype=object)
    splits[movable[np.isin(fold, test_folds)]] = "test"
    splits[movable[np.isin(fold, valid_folds)]] = "valid"
    return splits.tolist()


def _movable(groups: Indices) -> np.ndarray:
    """Return which slices may leave the training split, bool [N]: those of groups that do not dominate."""
    movable = np.ones(len(groups), dtype=bool)
    names, sizes = np.unique(groups, return_counts=True)
    left = len(names)
    for place in np.argsort(-sizes, kind="stable"):
        others_fill_the_rest = movable.sum() - sizes[place] >= 0.5 * len(groups)
        if sizes[place] <= DOMINANT * len(groups) or not others_fill_the_rest or left <= 3:
            break
        movable[groups == names[place]] = False
        left -= 1
    return movable
