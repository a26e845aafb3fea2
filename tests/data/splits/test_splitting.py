from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.checks.scan import Scan, scan_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.records import SPLITS, Dataset
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.data.splits.splitting import (
    cross_validation,
    folded,
    make_split,
    read_folds,
    read_split,
    reassigned,
    split_hash,
)
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.errors import DataError
from tests.data.builders import write_coco


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


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    root = tmp_path_factory.mktemp("phantoms") / "d"
    write_phantom(root, count=200, image_size=64, slices_per_patient=8, workers=1)
    return scanned(root)


def members(dataset: Dataset) -> dict[str, set[str]]:
    return {split: {record.name for record in records} for split, records in dataset.records.items()}


def torn_apart(dataset: Dataset, patients: dict[str, str]) -> int:
    """Return how many patients have slices in several splits."""
    splits: dict[str, set[str]] = {}
    for record in dataset:
        splits.setdefault(patients[record.name], set()).add(record.split)
    return sum(len(one) > 1 for one in splits.values())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_random_split_leaks_and_a_grouped_one_does_not(phantoms: Scanned, seed: int) -> None:
    names = np.random.default_rng(seed).permutation(phantoms.scan.names).tolist()
    drawn = (
        dict.fromkeys(names[:140], "train")
        | dict.fromkeys(names[140:180], "valid")
        | dict.fromkeys(names[180:], "test")
    )
    at_random = reassigned(phantoms.dataset, drawn)
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed, group_by=PATIENT)
    blindly, _ = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed)
    labels = split.labels(phantoms.scan)
    random_leak, grouped_leak, blind_leak = (
        measure_leak(dataset, phantoms.scan, labels) for dataset in (at_random, grouped, blindly)
    )
    assert torn_apart(at_random, phantoms.patients) > 15
    assert torn_apart(grouped, phantoms.patients) == 0
    assert all(one.related_share > 0.9 for one in random_leak.splits.values())
    assert not grouped_leak.leaks
    # Without knowing the patients, neighbouring slices find them.
    assert torn_apart(blindly, phantoms.patients) <= 2
    assert all(one.related_share < 0.1 for one in blind_leak.splits.values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_sizes_and_tumour_areas_are_balanced(phantoms: Scanned, seed: int) -> None:
    _, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed, group_by=PATIENT)
    sizes = {name: one["images"] for name, one in split.summary["splits"].items()}
    assert sizes == {
        "train": pytest.approx(140, abs=8),
        "valid": pytest.approx(40, abs=8),
        "test": pytest.approx(20, abs=8),
    }
    areas = [one["tumor_share"] for one in split.summary["splits"].values()]
    assert max(areas) < 2.5 * min(areas)


def test_the_same_seed_gives_the_same_split_and_another_one_another(phantoms: Scanned) -> None:
    (one, split), (two, again), (three, other) = (
        make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed) for seed in (3, 3, 4)
    )
    assert members(one) == members(two) != members(three)
    assert (split, split.hash) == (again, again.hash)
    assert other.hash != split.hash
    assert one.fingerprint() == two.fingerprint()
    assert len({one.fingerprint(), three.fingerprint(), phantoms.dataset.fingerprint()}) == 3


def test_the_provided_split_is_kept(phantoms: Scanned) -> None:
    dataset, split = make_split(phantoms.dataset, phantoms.scan, group_by=PATIENT)
    assert dataset is phantoms.dataset
    assert split.summary["groups"] == {"count": 25, "largest": 8, "median": 8, "in_several_splits": 0}
    assert not split.summary["leak"]["leaks"]


def test_the_description_is_json(phantoms: Scanned) -> None:
    _, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=2, group_by=PATIENT)
    description = split.to_dict()
    assert json.loads(json.dumps(description, allow_nan=False)) == description
    assert (description["method"], description["seed"], description["group_by"]) == ("grouped", 2, PATIENT)
    assert description["hash"] == split.hash
    assert sum(one["groups"] for one in description["splits"].values()) == description["groups"]["count"] == 25


def test_it_is_read_back_from_its_file(phantoms: Scanned, tmp_path: Path) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=2)
    split.write(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "file,split,group"
    again = reassigned(phantoms.dataset, read_split(tmp_path / "split.csv"))
    assert again.fingerprint() == grouped.fingerprint()


@pytest.mark.parametrize(
    ("content", "message"),
    [("file,group\na,1\n", "is no CSV file with the columns"), ("file,split\na,dev\n", "a split is 'dev'")],
)
def test_files_that_are_no_split(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_split(tmp_path / "other.csv")


def test_a_split_of_another_dataset_is_refused(phantoms: Scanned) -> None:
    splits = {record.name: record.split for record in phantoms.dataset}
    first = next(iter(splits))
    with pytest.raises(DataError, match="train/more is split but not there"):
        reassigned(phantoms.dataset, {**splits, "train/more": "train"})
    with pytest.raises(DataError, match=f"{first} has no split"):
        reassigned(phantoms.dataset, {name: one for name, one in splits.items() if name != first})


def test_counts_of_annotations_move_with_their_slices(phantoms: Scanned) -> None:
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped")
    report = check_dataset(grouped, scan=phantoms.scan, groups=split.labels(phantoms.scan))
    for name in SPLITS:
        drawn = Counter(one.category_id for record in grouped.records[name] for one in record.annotations)
        assert report.splits[name].annotations[1] == drawn[1] > 0


def test_few_groups_and_unknown_methods(tmp_path: Path) -> None:
    data = scanned(write_coco(tmp_path))
    one, _ = make_split(data.dataset, data.scan, "grouped")
    assert all(records for records in one.records.values())
    with pytest.raises(DataError, match=r"form 2 group\(s\); a grouped split needs at least 3"):
        make_split(data.dataset, data.scan, "grouped", group_by="(t|v)")
    with pytest.raises(DataError, match="must be one of provided, grouped"):
        make_split(data.dataset, data.scan, "random")  # type: ignore[arg-type]


class TestCrossValidation:
    @pytest.mark.parametrize("folds", [2, 5])
    def test_every_group_is_validated_once(self, phantoms: Scanned, folds: int) -> None:
        grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
        datasets, _ = cross_validation(grouped, split, phantoms.scan, folds)
        assert len(datasets) == folds
        assert all(members(one)["test"] == members(grouped)["test"] for one in datasets)
        assert all(torn_apart(one, phantoms.patients) == 0 for one in datasets)
        validated = Counter(record.name for one in datasets for record in one.records["valid"])
        assert validated == Counter(members(grouped)["train"] | members(grouped)["valid"])
        sizes = [len(one.records["valid"]) for one in datasets]
        assert max(sizes) - min(sizes) <= 8
        assert len({one.fingerprint() for one in datasets}) == folds

    def test_the_folds_are_recorded_and_read_back(self, phantoms: Scanned, tmp_path: Path) -> None:
        grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
        datasets, crossed = cross_validation(grouped, split, phantoms.scan, 3)
        crossed.write(tmp_path / "split.csv")
        assert read_split(tmp_path / "split.csv") == split.splits
        folds = read_folds(tmp_path / "split.csv")
        assert folds == crossed.folds
        assert [one.fingerprint() for one in folded(grouped, folds)] == [one.fingerprint() for one in datasets]
        assert crossed.hash == split_hash(split.splits, folds) != split.hash
        described = crossed.to_dict()["folds"]
        assert [one["images"] for one in described] == [
            {name: len(records) for name, records in one.records.items()} for one in datasets
        ]
        assert all(one["leak"]["valid"]["related"] == 0 for one in described)
        assert "3 folds" in crossed.sentence()

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("file,split,group\na,train,0\n", "is no CSV file with the columns"),
            ("file,split,group,fold\na,train,0,x\n", "is no CSV file with the columns"),
            ("file,split,group,fold\na,train,0,1\n", "at least 2, numbered from 1"),
            ("file,split,group,fold\na,train,0,1\nb,train,0,3\n", "at least 2, numbered from 1"),
        ],
    )
    def test_broken_folds_are_refused(self, tmp_path: Path, text: str, sentence: str) -> None:
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(DataError, match=sentence):
            read_folds(tmp_path / "split.csv")

    @pytest.mark.parametrize("folds", [1, 26])
    def test_too_few_and_too_many(self, phantoms: Scanned, folds: int) -> None:
        grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", group_by=PATIENT)
        with pytest.raises(DataError, match=f"--folds {folds}: must be from 2 to"):
            cross_validation(grouped, split, phantoms.scan, folds)


class TestRealDataset:
    @pytest.fixture(scope="class")
    def real(self, brain_tumor_coco: Path) -> Scanned:
        return scanned(brain_tumor_coco)

    def test_the_provided_split_leaks(self, real: Scanned) -> None:
        _, split = make_split(real.dataset, real.scan)
        leak = split.summary["leak"]["splits"]
        assert leak["valid"]["look_alike_share"] == pytest.approx(0.720, abs=0.01)
        assert leak["test"]["look_alike_share"] == pytest.approx(0.684, abs=0.01)
        assert leak["valid"]["related_share"] == pytest.approx(0.956, abs=0.01)
        assert split.summary["groups"]["count"] == pytest.approx(389, abs=3)
        assert split.summary["groups"]["largest"] == pytest.approx(69, abs=3)
        assert split.summary["groups"]["median"] == 5
        assert split.summary["outside"] == pytest.approx(0.174, abs=0.01)

    def test_the_grouped_split_does_not(self, real: Scanned) -> None:
        dataset, split = make_split(real.dataset, real.scan, "grouped")
        assert split.summary["groups"]["count"] == pytest.approx(341, abs=3)
        assert split.summary["groups"]["largest"] == pytest.approx(553, abs=20)
        assert [len(records) / 2146 for records in dataset.records.values()] == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
        assert all(one["look_alikes"] == one["related"] == 0 for one in split.summary["leak"]["splits"].values())
        areas = [one["tumor_share"] for one in split.summary["splits"].values()]
        assert areas == pytest.approx([0.0365] * 3, rel=0.15)
        assert split.summary["splits"]["test"]["largest_group"] < 30
        folds, _ = cross_validation(dataset, split, real.scan, 5)
        assert [len(one.records["valid"]) for one in folds] == pytest.approx([273] * 5, abs=5)
