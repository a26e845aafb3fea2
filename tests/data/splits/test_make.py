from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.data.scan.scan import Scan, scan_dataset
from bts_tune.data.splits.groups import COPY, COPY_OF_KNOWN
from bts_tune.data.splits.make import make_split
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.errors import DataError
from tests.data.builders import write_pairs
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


def test_where_errors_leave_too_few_slices_to_split_the_first_one_is_told(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 2)
    dataset = open_dataset(root)
    with pytest.raises(DataError, match="a grouped split needs at least 3"):
        make_split(dataset, scan_dataset(dataset))
    (root / "images" / "s000.png").write_bytes(b"no image")
    dataset = open_dataset(root)
    with pytest.raises(DataError, match=r"1 error to mend before its 2 slices can be split; .* images/s000\.png: "):
        make_split(dataset, scan_dataset(dataset))


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


def without_splits(dataset: Dataset, *own: str) -> Dataset:
    """Return a dataset as a reader gives it that found no splits, or only some."""
    moved = dataset.with_splits({one.name: one.split if one.split in own else "train" for one in dataset})
    return replace(moved, own_splits=own)


def test_a_dataset_without_a_split_is_split_by_groups(phantoms: Scanned) -> None:
    bare = without_splits(phantoms.dataset)
    dataset, split = make_split(bare, phantoms.scan, seed=3)
    assert split.method == "grouped"
    assert all(dataset.records[name] for name in SPLITS)
    assert not split.summary["leak"]["leaks"]
    assert not dataset.needs_splitting
    with pytest.raises(DataError, match="--split provided: the dataset has no split of its own; leave the option out"):
        make_split(bare, phantoms.scan, "provided")


def test_a_dataset_with_its_own_split_keeps_it(phantoms: Scanned) -> None:
    dataset, split = make_split(phantoms.dataset, phantoms.scan)
    assert (dataset, split.method) == (phantoms.dataset, "provided")


def test_a_missing_validation_split_is_taken_from_training_by_groups(phantoms: Scanned) -> None:
    given = without_splits(phantoms.dataset, "train", "test")
    dataset, split = make_split(given, phantoms.scan, seed=3)
    assert split.method == "provided"
    assert dataset.records["test"] == given.records["test"]
    count = len(given.records["train"])
    assert len(dataset.records["train"]) + len(dataset.records["valid"]) == count
    assert 0.1 * count < len(dataset.records["valid"]) < 0.35 * count
    assert split.summary["leak"]["splits"]["valid"]["related"] == 0
    assert split.summary["validation_from"] == "train"
    assert "validation taken from train by groups, seed 3" in split.sentence()
    assert make_split(given, phantoms.scan, seed=3)[1].hash == split.hash


def test_a_single_group_for_training_gives_no_validation_split(phantoms: Scanned) -> None:
    given = without_splits(with_groups(phantoms.dataset, dict.fromkeys(phantoms.scan.names, "one")), "train", "test")
    with pytest.raises(DataError, match="training slices form one group of related slices"):
        make_split(given, phantoms.scan)


@pytest.mark.parametrize("own", [(), ("train", "test"), SPLITS])
def test_the_order_of_the_scan_changes_nothing(phantoms: Scanned, own: tuple[str, ...]) -> None:
    dataset = without_splits(phantoms.dataset, *own)
    names = random.Random(1).sample(phantoms.scan.names, len(phantoms.scan.names))
    other = Scan({name: phantoms.scan.slices[name] for name in names})
    method = "grouped" if own == SPLITS else None
    assert make_split(dataset, other, method)[1].splits == make_split(dataset, phantoms.scan, method)[1].splits


def test_kinds_of_tumours_are_in_equal_parts_in_all_splits(phantoms: Scanned) -> None:
    dataset = without_splits(phantoms.dataset)
    kinds = {
        patient: ("glioma", "pituitary")[number % 2]
        for number, patient in enumerate(sorted(set(phantoms.patients.values())))
    }
    records = tuple(
        replace(one, group=phantoms.patients[one.name], strata=(("tumour", kinds[phantoms.patients[one.name]]),))
        for one in dataset.records["train"]
    )
    moved, _ = make_split(replace(dataset, records={**dataset.records, "train": records}), phantoms.scan)
    for members in moved.records.values():
        share = sum(one.strata[0][1] == "glioma" for one in members) / len(members)
        assert 0.25 < share < 0.75


def test_none_in_place_of_patients_leaves_those_of_the_reader_out(phantoms: Scanned) -> None:
    names = phantoms.scan.names
    known = with_groups(phantoms.dataset, {name: str(place % 2) for place, name in enumerate(names)})
    with pytest.raises(DataError, match="where these groups are no patients, --group-by none"):
        make_split(known, phantoms.scan, "grouped")
    _, split = make_split(known, phantoms.scan, "grouped", group_by="none")
    _, plain = make_split(phantoms.dataset, phantoms.scan, "grouped")
    assert (split.hash, split.group_by) == (plain.hash, None)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_one_sentence(phantoms: Scanned, seed: int) -> None:
    with pytest.raises(DataError, match=rf"^--split-seed {seed}: must be from 0 to 2147483647\.$"):
        make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed)
