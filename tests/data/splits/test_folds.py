from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.data.splits.folds import cross_validation, fold_datasets
from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.split import read_folds, read_split, split_hash
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.errors import DataError
from tests.data.splits.builders import Scanned, members, patients_in_several_splits


@pytest.mark.parametrize("folds", [2, 5])
def test_every_group_is_validated_once(phantoms: Scanned, folds: int) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
    datasets, _ = cross_validation(grouped, split, phantoms.scan, folds)
    assert len(datasets) == folds
    assert all(members(one)["test"] == members(grouped)["test"] for one in datasets)
    assert all(patients_in_several_splits(one, phantoms.patients) == 0 for one in datasets)
    validated = Counter(record.name for one in datasets for record in one.records["valid"])
    assert validated == Counter(members(grouped)["train"] | members(grouped)["valid"])
    sizes = [len(one.records["valid"]) for one in datasets]
    assert max(sizes) - min(sizes) <= 8
    assert len({one.fingerprint() for one in datasets}) == folds


def test_the_folds_are_recorded_and_read_back(phantoms: Scanned, tmp_path: Path) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
    datasets, crossed = cross_validation(grouped, split, phantoms.scan, 3)
    crossed.write(tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv") == split.splits
    folds = read_folds(tmp_path / "split.csv")
    assert folds == crossed.folds
    assert [one.fingerprint() for one in fold_datasets(grouped, folds)] == [one.fingerprint() for one in datasets]
    assert crossed.hash == split_hash(split.splits, folds) != split.hash
    described = crossed.to_dict()["folds"]
    assert [one["images"] for one in described] == [
        {name: len(records) for name, records in one.records.items()} for one in datasets
    ]
    assert all(one["leak"]["valid"]["related"] == 0 for one in described)
    assert "3 folds" in crossed.sentence()


@pytest.mark.parametrize("folds", [1, 26])
def test_too_few_and_too_many(phantoms: Scanned, folds: int) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
    with pytest.raises(DataError, match=rf"--folds {folds}: must be from 2 to \d+, since there are") as refused:
        cross_validation(grouped, split, phantoms.scan, folds)
    most = int(str(refused.value).partition(" to ")[2].partition(",")[0])
    assert len(cross_validation(grouped, split, phantoms.scan, most)[0]) == most
    with pytest.raises(DataError):
        cross_validation(grouped, split, phantoms.scan, most + 1)


def test_where_a_group_holds_nearly_all_slices_no_folds_are_possible(phantoms: Scanned) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
    others = {name for name, own in split.splits.items() if own != "test"}
    lone = min(others)
    most = max(split.groups.values())
    groups = {name: own + 3 if name not in others else most + 4 + (name == lone) for name, own in split.groups.items()}
    with pytest.raises(DataError, match=r"--folds 2: is not possible: of 2 groups of slices outside the test split"):
        cross_validation(grouped, replace(split, groups=groups), phantoms.scan, 2)
