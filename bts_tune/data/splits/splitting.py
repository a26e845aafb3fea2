"""Which slice is in which split: as the dataset has it, or such that groups of related slices stay together.

`provided` keeps the dataset's own split, and is comparable with figures that others published on it. `grouped` deals
whole groups (see `grouping`) to splits of about 70/20/10 with scikit-learn's `StratifiedGroupKFold`, stratified by the
tumour's area, so that every split has its share of small, large and absent tumours. Groups above 5 % of all slices go
to the training split, as far as the others can fill the rest: they would make a test split a test of one group.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from bts_tune.data.checks.scan import Scan
from bts_tune.data.checks.similarity import LOOK_ALIKE, TURNED, Indices
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.data.splits.groups import (
    COPY,
    COPY_OF_KNOWN,
    MAX_SHARE,
    NEIGHBOR,
    NEIGHBOR_DISTANCE,
    group_slices,
    outside_share,
    read_patients,
)
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.errors import DataError
from bts_tune.results.files import write_atomically

Method = Literal["provided", "grouped"]

SHARES = {"train": 0.7, "valid": 0.2, "test": 0.1}
DOMINANT = 0.05
"""A group of more than this share of all slices goes to the training split."""
AREA_STRATA = 4
"""Strata of slices with a tumour, of equal size by its area; slices without one are a further stratum."""

_TOO_FEW = "a grouped split needs at least 3 groups; use --split provided."


@dataclass(frozen=True)
class Split:
    """A dataset's split and how it came about.

    Attributes:
        method: `provided` or `grouped`.
        seed: of the dealing; without effect on `provided`.
        group_by: where patients were given, how.
        splits: the split of each slice, by name.
        groups: the group of each slice, by name.
        folds: in a cross-validation, the fold from 1 that a slice is validated in, by name; none of the others.
        summary: sizes, groups, tumour area and leakage, in plain JSON types.
    """

    method: Method
    seed: int
    group_by: str | None
    splits: dict[str, str]
    groups: dict[str, int]
    folds: dict[str, int] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """64 hexadecimal digits that change with the split, or the fold, of any slice."""
        return split_hash(self.splits, self.folds)

    def labels(self, scan: Scan) -> Indices:
        """Return the group of each slice, int64 [N], in the order of a scan."""
        return np.array([self.groups[name] for name in scan.names], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return its description in plain JSON types; the slices themselves are in what `write` writes."""
        return {
            "method": self.method,
            "seed": self.seed,
            "group_by": self.group_by,
            "hash": self.hash,
            "rules": {
                "look_alike": LOOK_ALIKE,
                "look_alike_turned": TURNED,
                "copy": COPY if self.group_by is None else COPY_OF_KNOWN,
                "neighbor": NEIGHBOR,
                "neighbor_distance": NEIGHBOR_DISTANCE,
                "max_share": MAX_SHARE,
            },
            **self.summary,
        }

    def sentence(self) -> str:
        """Return sizes, groups and leakage in one sentence; in a cross-validation, what is validated in a second."""
        sizes = "/".join(str(one["images"]) for one in self.summary["splits"].values())
        groups = self.summary["groups"]
        leak = self.summary["leak"]["splits"]
        related, alike = (
            " and ".join(f"{one[kind]:.1%} of {name}" for name, one in leak.items())
            for kind in ("related_share", "look_alike_share")
        )
        text = (
            f"Split {self.method}: {sizes} train/valid/test, {groups['count']} groups (largest {groups['largest']}, "
            f"median {groups['median']:g}); {related} is related to train, {alike} has a near-duplicate in it."
        )
        if not self.folds:
            return text
        validated = Counter(self.folds.values())
        kept = sum(split != "test" for split in self.splits.values()) - len(self.folds)
        always = f"; {kept} images of groups too large for a fold are always trained on" if kept else ""
        return (
            f"{text} Cross-validation: {len(validated)} folds of the training and validation images, "
            f"{'/'.join(str(validated[number]) for number in sorted(validated))} validated{always}."
        )

    def write(self, path: Path) -> None:
        """Write a CSV file with the columns `file`, `split` and `group`, and `fold` in a cross-validation.

        Raises:
            DataError: it cannot be written.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        fold = ["fold"] if self.folds else []
        table.writerow(["file", "split", "group", *fold])
        for name, split in self.splits.items():
            table.writerow([name, split, self.groups[name], *(self.folds.get(name, "") for _ in fold)])
        try:
            write_atomically(path, text.getvalue())
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}.") from None


def make_split(
    dataset: Dataset, scan: Scan, method: Method = "provided", *, seed: int = 0, group_by: str | None = None
) -> tuple[Dataset, Split]:
    """Return the dataset in its new splits, and the split.

    Args:
        dataset: in the splits that it came with.
        scan: of its slices.
        method: `provided` or `grouped`.
        seed: of the dealing.
        group_by: where patients are given: a CSV file or a regular expression, see `grouping.read_patients`.

    The same dataset, seed and `group_by` give the same split. The groups are found for either method; look-alikes are
    joined for `grouped` alone.

    Raises:
        DataError: the method is unknown, `group_by` cannot be used, or there are too few groups.
    """
    if method not in get_args(Method):
        raise DataError(f"--split {method!r}: must be one of {', '.join(get_args(Method))}.")
    patients = None if group_by is None else read_patients(scan.names, group_by)
    labels = group_slices(scan, patients, join_look_alikes=method == "grouped")
    if method == "grouped":
        groups = len(np.unique(labels))
        if groups < 3:
            raise DataError(f"{dataset.root}: its {len(labels)} slices form {groups} group(s); {_TOO_FEW}")
        dealt = _deal(labels, _areas(scan), seed)
        dataset = reassigned(dataset, dict(zip(scan.names, dealt, strict=True)))
    split = Split(
        method=method,
        seed=seed,
        group_by=group_by,
        splits={record.name: record.split for record in dataset},
        groups=dict(zip(scan.names, labels.tolist(), strict=True)),
    )
    return dataset, replace(split, summary=_summary(dataset, scan, split, labels))


def split_hash(splits: Mapping[str, str], folds: Mapping[str, int]) -> str:
    """Return 64 hexadecimal digits that change with the split, or the fold, of any slice."""
    text = ""
    for name in sorted(splits):
        text += f"{name}\0{splits[name]}" + (f"\0{folds[name]}" if name in folds else "") + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


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
        DataError: there are fewer groups than folds.
    """
    learnt = np.array([split.splits[name] != "test" for name in scan.names])
    labels = split.labels(scan)
    part = np.flatnonzero(learnt)
    _, members, sizes = np.unique(labels[part], return_inverse=True, return_counts=True)
    free = part[sizes[members] * folds <= len(part)]
    groups = len(np.unique(labels[free]))
    if not 2 <= folds <= groups:
        raise DataError(f"--folds {folds}: must be from 2 to {groups}, the number of groups that can be validated on.")
    dealt = _folds(labels[free], _areas(scan)[free], folds, split.seed)
    fold = {scan.names[place]: int(number) + 1 for place, number in zip(free, dealt, strict=True)}
    datasets = folded(dataset, fold)
    described = [
        {
            "images": {name: len(members) for name, members in one.records.items()},
            "leak": measure_leak(one, scan, labels).to_dict()["splits"],
        }
        for one in datasets
    ]
    return datasets, replace(split, folds=fold, summary={**split.summary, "folds": described})


def folded(dataset: Dataset, folds: Mapping[str, int]) -> list[Dataset]:
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
        datasets.append(reassigned(dataset, splits))
    return datasets


def reassigned(dataset: Dataset, splits: Mapping[str, str]) -> Dataset:
    """Return a dataset with its slices in the given splits, in the order in which they were.

    Raises:
        DataError: a slice has no split, or a split names a slice that the dataset lacks.
    """
    records = list(dataset)
    unknown = splits.keys() - {record.name for record in records}
    missing = [record.name for record in records if record.name not in splits]
    if unknown or missing:
        name = missing[0] if missing else min(unknown)
        what = "has no split" if missing else "is split but not there"
        raise DataError(f"{dataset.root}: {name} {what}; the split was made from another dataset.")
    moved = {
        split: tuple(replace(one, split=split) for one in records if splits[one.name] == split) for split in SPLITS
    }
    counts = {
        split: dict(Counter(one.category_id for record in members for one in record.annotations))
        for split, members in moved.items()
    }
    return replace(dataset, records=moved, annotation_counts=counts)


def read_split(path: Path) -> dict[str, str]:
    """Return the split of each slice, by name, from a file that `Split.write` wrote.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            splits = {row["file"]: row["split"] for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    except (csv.Error, KeyError, UnicodeDecodeError):
        raise DataError(f"{path}: is no CSV file with the columns file, split and group.") from None
    unknown = set(splits.values()) - set(SPLITS)
    if unknown:
        raise DataError(f"{path}: a split is {min(unknown, key=str)!r}; allowed are {', '.join(SPLITS)}.")
    return splits


def read_folds(path: Path) -> dict[str, int]:
    """Return the fold, from 1, of each slice that is validated, by name, from a file that `Split.write` wrote.

    Raises:
        DataError: it cannot be read, or has no folds.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            folds = {row["file"]: int(row["fold"]) for row in csv.DictReader(file) if row["fold"]}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    except (csv.Error, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: is no CSV file with the columns file, split, group and fold.") from None
    numbers = set(folds.values())
    if len(numbers) < 2 or numbers != set(range(1, len(numbers) + 1)):
        raise DataError(f"{path}: its folds must be at least 2, numbered from 1 without a gap.")
    return folds


def _deal(labels: Indices, areas: np.ndarray, seed: int) -> list[str]:
    """Return the split of each slice, dealing whole groups; there are at least 3."""
    count = len(labels)
    free = np.flatnonzero(_free(labels))
    test, valid = SHARES["test"] * count, SHARES["valid"] * count
    number = min(10, max(3, round(len(free) / test)), len(np.unique(labels[free])))
    fold = _folds(labels[free], areas[free], number, seed)
    of_valid, of_test = (max(1, round(share * number / len(free))) for share in (valid, test))
    sizes = np.bincount(fold, minlength=number)
    choices = (
        (one, other)
        for one in itertools.combinations(range(number), of_test)
        for other in itertools.combinations(sorted({*range(number)} - {*one}), of_valid)
    )
    tested, validated = min(
        choices, key=lambda pair: abs(sizes[[*pair[0]]].sum() - test) + abs(sizes[[*pair[1]]].sum() - valid)
    )
    dealt = np.full(count, "train", dtype=object)
    dealt[free[np.isin(fold, tested)]] = "test"
    dealt[free[np.isin(fold, validated)]] = "valid"
    return dealt.tolist()


def _free(labels: Indices) -> np.ndarray:
    """Return which slices may leave the training split, bool [N]: those of groups that do not dominate."""
    free = np.ones(len(labels), dtype=bool)
    groups, sizes = np.unique(labels, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    left = len(groups)
    for group, size in zip(groups[order], sizes[order], strict=True):
        fills = free.sum() - size >= 0.5 * len(labels)
        if size <= DOMINANT * len(labels) or not fills or left <= 3:
            break
        free[labels == group] = False
        left -= 1
    return free


def _folds(labels: Indices, areas: np.ndarray, number: int, seed: int) -> Indices:
    """Return the fold of each slice, int64 [N]: whole groups, folds of about equal size and alike in tumour area."""
    from sklearn.model_selection import StratifiedGroupKFold

    strata = np.zeros(len(areas), dtype=np.int64)
    tumors = areas > 0
    parts = min(AREA_STRATA, int(tumors.sum()) // (2 * number))
    if parts:
        edges = np.quantile(areas[tumors], np.linspace(0, 1, parts + 1)[1:-1])
        strata[tumors] = 1 + np.searchsorted(edges, areas[tumors])
    fold = np.empty(len(labels), dtype=np.int64)
    dealer = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Tumour-free slices may be fewer than folds.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for index, (_, members) in enumerate(dealer.split(labels, strata, labels)):
            fold[members] = index
    return fold


def _areas(scan: Scan) -> np.ndarray:
    return np.array([one.tumor_share or 0.0 for one in scan.slices.values()])


def _summary(dataset: Dataset, scan: Scan, split: Split, labels: Indices) -> dict[str, Any]:
    sizes = np.bincount(labels)
    areas = dict(zip(scan.names, _areas(scan).tolist(), strict=True))
    found: dict[str, Any] = {
        "groups": {
            "count": len(sizes),
            "largest": int(sizes.max(initial=0)),
            "median": float(np.median(sizes)) if len(sizes) else 0.0,
        },
        "outside": outside_share(scan, labels),
        "splits": {},
    }
    members: dict[str, set[int]] = {}
    for name, records in dataset.records.items():
        groups = Counter(split.groups[record.name] for record in records)
        members[name] = set(groups)
        found["splits"][name] = {
            "images": len(records),
            "groups": len(groups),
            "largest_group": max(groups.values(), default=0),
            "tumor_share": float(np.mean([areas[record.name] for record in records])) if records else None,
        }
    shared = [one for one in range(len(sizes)) if sum(one in groups for groups in members.values()) > 1]
    found["groups"]["in_several_splits"] = len(shared)
    found["leak"] = measure_leak(dataset, scan, labels).to_dict()
    del found["leak"]["worst"]
    return found
