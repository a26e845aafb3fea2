from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.data.splits.folds import cross_validation
from bts_tune.data.splits.leakage import measure_leak
from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.methods.grouped import GroupedSplit
from bts_tune.data.synthetic.demo import PATIENT
from bts_tune.errors import DataError
from bts_tune.testing.splits import SplitMethodContract
from tests.data.builders import write_coco
from tests.data.splits.builders import Scanned, members, patients_in_several_splits, scanned


class TestGrouped(SplitMethodContract):
    @pytest.fixture
    def method(self) -> GroupedSplit:
        return GroupedSplit()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_random_split_leaks_and_a_grouped_one_does_not(phantoms: Scanned, seed: int) -> None:
    names = np.random.default_rng(seed).permutation(phantoms.scan.names).tolist()
    drawn = (
        dict.fromkeys(names[:140], "train")
        | dict.fromkeys(names[140:180], "valid")
        | dict.fromkeys(names[180:], "test")
    )
    at_random = phantoms.dataset.with_splits(drawn)
    grouped, split = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed, group_by=PATIENT)
    blindly, _ = make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed)
    labels = split.labels(phantoms.scan)
    random_leak, grouped_leak, blind_leak = (
        measure_leak(dataset, phantoms.scan, labels) for dataset in (at_random, grouped, blindly)
    )
    assert patients_in_several_splits(at_random, phantoms.patients) > 15
    assert patients_in_several_splits(grouped, phantoms.patients) == 0
    assert all(one.related_share > 0.7 for one in random_leak.splits.values())
    assert not grouped_leak.leaks
    # Without knowing the patients, neighbouring slices find them.
    assert patients_in_several_splits(blindly, phantoms.patients) <= 2
    assert all(one.related_share < 0.1 for one in blind_leak.splits.values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
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


def test_another_seed_gives_another_split(phantoms: Scanned) -> None:
    (one, split), (two, again), (three, other) = (
        make_split(phantoms.dataset, phantoms.scan, "grouped", seed=seed) for seed in (3, 3, 4)
    )
    assert members(one) == members(two) != members(three)
    assert (split, split.hash) == (again, again.hash)
    assert other.hash != split.hash
    assert one.fingerprint() == two.fingerprint()
    assert len({one.fingerprint(), three.fingerprint(), phantoms.dataset.fingerprint()}) == 3


def test_a_large_group_stays_in_the_training_split(phantoms: Scanned) -> None:
    groups = np.arange(200)
    groups[:60] = 0
    for seed in range(5):
        splits = GroupedSplit().assign(phantoms.dataset, phantoms.scan, groups, seed)
        assert {splits[name] for name in phantoms.scan.names[:60]} == {"train"}


def test_few_groups(tmp_path: Path) -> None:
    data = scanned(write_coco(tmp_path))
    one, _ = make_split(data.dataset, data.scan, "grouped")
    assert all(records for records in one.records.values())
    with pytest.raises(DataError, match=r"form 2 group\(s\); a grouped split needs at least 3"):
        make_split(data.dataset, data.scan, "grouped", group_by="(t|v)")


def test_of_the_real_dataset_does_not_leak(real: Scanned) -> None:
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
