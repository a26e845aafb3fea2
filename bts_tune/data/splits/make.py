"""Making a split: groups are found, a method assigns the slices, and the result is described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bts_tune.data.records import GUESSED_PATIENTS, Dataset
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import Indices
from bts_tune.data.splits.groups import group_slices, outside_share, read_patients
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.data.splits.split import GROUPS_OF_THE_DATASET, Split
from bts_tune.data.splits.stratified import tumor_areas
from bts_tune.errors import DataError
from bts_tune.registry import SPLIT_METHODS
from bts_tune.text import nearest, plural

PROVIDED, GROUPED = "provided", "grouped"
NO_PATIENTS = "none"
"""In place of what gives the patients: those that the dataset's reader knows are none."""


def make_split(
    dataset: Dataset, scan: Scan, method: str | None = None, *, seed: int = 0, group_by: str | None = None
) -> tuple[Dataset, Split]:
    """Return the dataset in its new splits, and the split.

    Args:
        dataset: in the splits that it came with.
        scan: of its slices.
        method: name of a split method, such as `provided` or `grouped`; by default the dataset's own split where it
            has one, else `grouped`.
        seed: of what is random in it, from 0 to 2**31 - 1, as the seeds of trials.
        group_by: a CSV file or a regular expression that gives the patients, see `groups.read_patients`. By default
            patients are those that the dataset's reader knows, if any; with `none` there are none.

    The same dataset, seed and `group_by` give the same split. The groups are found for any method.

    Raises:
        DataError: the seed is out of range, the method is unknown, `group_by` cannot be used, or the method cannot
            split the dataset.
    """
    if not 0 <= seed < 2**31:
        raise DataError(f"--split-seed {seed}: must be from 0 to {2**31 - 1}.")
    if method is None:
        method = default_method(dataset)
    if method not in SPLIT_METHODS:
        names = SPLIT_METHODS.names()
        raise DataError(f"--split {method!r}: must be one of {', '.join(names)}.{nearest(method, names)}")
    chosen = SPLIT_METHODS.get(method)()
    if group_by is not None:
        dataset = replace(
            dataset, issues=tuple(issue for issue in dataset.issues if issue.code not in GUESSED_PATIENTS)
        )
    if group_by == NO_PATIENTS:
        patients: Sequence[str] | None = None
        group_by = None
    elif group_by is not None:
        patients = read_patients(scan.names, group_by)
    else:
        patients = _known_groups(dataset, scan)
        group_by = GROUPS_OF_THE_DATASET if patients is not None else None
    groups = group_slices(scan, patients, join_near_duplicates=chosen.joins_near_duplicates or dataset.needs_splitting)
    validation_taken = method == PROVIDED and dataset.needs_splitting
    try:
        splits = chosen.assign(dataset, scan, groups, seed)
    except DataError as error:
        raise _for_its_cause(error, dataset, scan) from None
    # A dataset in its own split keeps its counts of all annotations, also of categories that are no tumour.
    if splits != {record.name: record.split for record in dataset}:
        dataset = dataset.with_splits(splits)
    split = Split(
        method=method,
        seed=seed,
        group_by=group_by,
        splits={record.name: record.split for record in dataset},
        groups=dict(zip(scan.names, groups.tolist(), strict=True)),
        strata={record.name: record.strata for record in dataset if record.strata},
    )
    summary = _summary(dataset, scan, split, groups)
    if validation_taken:
        summary["validation_from"] = "train"
    return dataset, replace(split, summary=summary)


def _for_its_cause(error: DataError, dataset: Dataset, scan: Scan) -> DataError:
    """Return what is told where a dataset cannot be split: the errors that left too few slices, if there are any."""
    found = [*dataset.issues, *scan.masks.issues, *(issue for one in scan.slices.values() for issue in one.issues)]
    errors = [issue for issue in found if issue.level == "error"]
    if not errors:
        return error
    return DataError(
        f"{dataset.root}: {plural(len(errors), 'error')} to mend before its {plural(len(scan.names), 'slice')} can be "
        f"split; the first is {errors[0].file}: {errors[0].message}"
    )


def default_method(dataset: Dataset) -> str:
    """Return the name of the split method that a dataset is split by unless told otherwise."""
    return GROUPED if dataset.needs_splitting and "train" not in (dataset.own_splits or ()) else PROVIDED


def _known_groups(dataset: Dataset, scan: Scan) -> list[str] | None:
    """Return the group of each slice as the reader knows it, in the order of the scan; None where it knows none."""
    known = {record.name: record.group for record in dataset if record.group is not None}
    if not known:
        return None
    for name in scan.names:
        if name not in known:
            raise DataError(
                f"{dataset.root}: {name} has no group, but other slices have one; give the groups of all with "
                "--group-by."
            )
    return [known[name] for name in scan.names]


def _summary(dataset: Dataset, scan: Scan, split: Split, groups: Indices) -> dict[str, Any]:
    sizes = np.bincount(groups)
    areas = dict(zip(scan.names, tumor_areas(scan).tolist(), strict=True))
    found: dict[str, Any] = {
        "groups": {
            "count": len(sizes),
            "largest": int(sizes.max(initial=0)),
            "median": float(np.median(sizes)) if len(sizes) else 0.0,
        },
        "outside": outside_share(scan, groups),
        "splits": {},
    }
    groups_in: dict[str, set[int]] = {}
    for name, records in dataset.records.items():
        counts = Counter(split.groups[record.name] for record in records)
        groups_in[name] = set(counts)
        found["splits"][name] = {
            "images": len(records),
            "groups": len(counts),
            "largest_group": max(counts.values(), default=0),
            "tumor_share": float(np.mean([areas[record.name] for record in records])) if records else None,
        }
    shared = [one for one in range(len(sizes)) if sum(one in members for members in groups_in.values()) > 1]
    found["groups"]["in_several_splits"] = len(shared)
    found["leak"] = measure_leak(dataset, scan, groups).to_dict()
    # What takes names or masks is in `leaks.csv` and in the data check.
    del found["leak"]["worst"], found["leak"]["masks_of_identical"]
    return found
