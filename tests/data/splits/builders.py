"""Datasets with the scan of their slices, for the tests of splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bts_tune.data.open import open_dataset
from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import Scan, scan_dataset
from bts_tune.data.synthetic.demo import PATIENT


@dataclass(frozen=True, repr=False)
class Scanned:
    dataset: Dataset
    scan: Scan

    @property
    def patients(self) -> dict[str, str]:
        found = {name: re.search(PATIENT, name) for name in self.scan.names}
        return {name: match[1] for name, match in found.items() if match is not None}


def scanned(root: Path) -> Scanned:
    dataset = open_dataset(root)
    return Scanned(dataset, scan_dataset(dataset))


def members(dataset: Dataset) -> dict[str, set[str]]:
    return {split: {record.name for record in records} for split, records in dataset.records.items()}


def patients_in_several_splits(dataset: Dataset, patients: dict[str, str]) -> int:
    """Return how many patients have slices in several splits."""
    splits: dict[str, set[str]] = {}
    for record in dataset:
        splits.setdefault(patients[record.name], set()).add(record.split)
    return sum(len(one) > 1 for one in splits.values())
