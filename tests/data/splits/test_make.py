from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.data.splits.groups import COPY, COPY_OF_KNOWN
from bts_tune.data.splits.make import make_split
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.errors import DataError
from tests.data.splits.builders import Scanned, patients_in_several_splits


def with_groups(dataset: Dataset, groups: dict[str, str]) -> Dataset:
    """Return a dataset as a reader gives it that knows these groups, by name of the slice."""
    records = {
        split: tuple(replace(record, group=groups.get(record.name)) for record in members)
        for split, members in dataset.records.items()
    }
    return replace(dataset, records=records)


def test_counts_of_annotations_move_with_their_slices(phantoms: Scanned) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped")
    report = check_dataset(grouped, scan=phantoms.scan, groups=split.labels(phantoms.scan))
    for name in SPLITS:
        drawn = Counter(one.category_id for record in grouped.records[name] for one in record.annotations)
        assert report.splits[name].annotations[1] == drawn[1] > 0


def test_groups_that_the_reader_knows_are_the_patients(phantoms: Scanned) -> None:
    known = with_groups(phantoms.dataset, phantoms.patients)
    dataset, split = make_split(known, phantoms.scan, "grouped", seed=5)
    _, asked = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=5, group_by=PATIENT)
    assert split.splits == asked.splits
    assert split.groups == asked.groups
    assert patients_in_several_splits(dataset, phantoms.patients) == 0
    description = split.to_dict()
    assert description["group_by"] == "the dataset"
    assert description["rules"]["copy"] == COPY_OF_KNOWN != COPY
    assert known.fingerprint() == phantoms.dataset.fingerprint()


def test_group_by_goes_before_what_the_reader_knows(phantoms: Scanned) -> None:
    known = with_groups(phantoms.dataset, dict.fromkeys(phantoms.scan.names, "one for all"))
    _, split = make_split(known, phantoms.scan, "grouped", group_by=PATIENT)
    assert split.summary["groups"]["count"] == 25
    with pytest.raises(DataError, match=r"form 1 group\(s\)"):
        make_split(known, phantoms.scan, "grouped")


def test_groups_of_some_slices_alone_are_refused(phantoms: Scanned) -> None:
    first, *others = phantoms.scan.names
    with pytest.raises(DataError, match=f"{first} has no group, but other slices have one"):
        make_split(with_groups(phantoms.dataset, dict.fromkeys(others, "a")), phantoms.scan, "grouped")
