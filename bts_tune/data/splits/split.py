"""A dataset's split as a value, and the CSV file that records which slice is in which split, group and fold."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.records import SPLITS
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import NEAR_DUPLICATE, REORIENTED, Indices
from bts_tune.data.splits.groups import COPY, COPY_OF_KNOWN, MAX_SHARE, NEIGHBOR, NEIGHBOR_DISTANCE
from bts_tune.errors import DataError
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.leaks import DETAIL_ABOVE, UNKNOWN_PATIENTS, closest_sentence
from bts_tune.text import percent

GROUPS_OF_THE_DATASET = "the dataset"
"""`Split.group_by` where the dataset's reader knows the patients."""


@dataclass(frozen=True)
class Split:
    """A dataset's split and how it came about.

    Attributes:
        method: name of the split method.
        seed: that the method was given.
        group_by: what gave the patients; None where they are not known.
        splits: the split of each slice, by name.
        groups: the group of each slice, by name.
        folds: in a cross-validation, the fold from 1 that a slice is validated in, by name; none of the others.
        summary: sizes, groups, tumour area and leakage, in plain JSON types.
        strata: what names or files tell of a slice, such as the kind of tumour, by its name; of those that tell any.
    """

    method: str
    seed: int
    group_by: str | None
    splits: dict[str, str]
    groups: dict[str, int]
    folds: dict[str, int] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    strata: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

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
                "look_alike": NEAR_DUPLICATE,
                "look_alike_turned": REORIENTED,
                "copy": COPY if self.group_by is None else COPY_OF_KNOWN,
                "detail": DETAIL_ABOVE if self.group_by is None else None,
                "neighbor": NEIGHBOR,
                "neighbor_distance": NEIGHBOR_DISTANCE,
                "max_share": MAX_SHARE,
            },
            **self.summary,
        }

    def sentence(self) -> str:
        """Return sizes, groups and leakage in a sentence each, and what patients that nobody knows leave open.

        In a cross-validation, another one tells what is validated.
        """
        sizes = "/".join(str(one["images"]) for one in self.summary["splits"].values())
        groups = self.summary["groups"]
        leak = self.summary["leak"]["splits"]
        related = " and ".join(f"{percent(one['related_share'], 1)} of {name}" for name, one in leak.items())
        taken = self.summary.get("validation_from")
        taken = f" (validation taken from {taken} by groups, seed {self.seed})" if taken else ""
        known = " by the dataset's own patients" if self.group_by == GROUPS_OF_THE_DATASET else ""
        text = (
            f"Split {self.method}{taken}: {sizes} train/valid/test, {groups['count']} groups{known} "
            f"(largest {groups['largest']}, median {groups['median']:g}); {related} has a slice of its "
            f"group in train. {closest_sentence(leak) or ''}"
        ).rstrip()
        if self.group_by is None:
            text += f" {UNKNOWN_PATIENTS}"
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

        A column for each stratum follows where any is known, such as `tumour` and `plane`.

        Raises:
            DataError: it cannot be written.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        fold = ["fold"] if self.folds else []
        strata = sorted({stratum for told in self.strata.values() for stratum, _ in told})
        table.writerow(["file", "split", "group", *fold, *strata])
        for name, split in self.splits.items():
            told = dict(self.strata.get(name, ()))
            own = (self.folds.get(name, "") for _ in fold)
            table.writerow([name, split, self.groups[name], *own, *(told.get(stratum, "") for stratum in strata)])
        try:
            write_atomically(path, text.getvalue())
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}.") from None


def split_hash(splits: Mapping[str, str], folds: Mapping[str, int]) -> str:
    """Return 64 hexadecimal digits that change with the split, or the fold, of any slice."""
    text = ""
    for name in sorted(splits):
        text += f"{name}\0{splits[name]}" + (f"\0{folds[name]}" if name in folds else "") + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


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


def read_groups(path: Path) -> dict[str, int]:
    """Return the group of each slice, by name, from a file that `Split.write` wrote.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["file"]: int(row["group"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    except (csv.Error, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: is no CSV file with the columns file, split and group.") from None


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
