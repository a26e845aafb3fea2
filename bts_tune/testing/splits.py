"""What every split method must do: see `bts_tune.data.splits.methods.base.SplitMethod`."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.records import SPLITS, Dataset, SliceRecord
from bts_tune.data.scan.scan import Scan, SliceScan
from bts_tune.data.scan.similarity import SIDE, Indices, signatures
from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.registry import SPLIT_METHODS

SEEDS = (0, 1, 2)


def example_dataset() -> Dataset:
    """Return 234 slices of 60 groups in their own split, named by their group; there are no files."""
    records: dict[str, list[SliceRecord]] = {split: [] for split in SPLITS}
    for group in range(60):
        split = "train" if group % 10 < 7 else "valid" if group % 10 < 9 else "test"
        for number in range(1 + group % 7):
            name = f"{split}/images/g{group:02}_{number}.png"
            records[split].append(SliceRecord(name, split, Path("dataset") / name, name, mask=Path("mask.png")))
    return Dataset(Path("dataset"), "folders", {}, {split: tuple(members) for split, members in records.items()})


def example_scan(dataset: Dataset) -> Scan:
    """Return what opening the slices would show: different images, some of them without a tumour."""
    drawn = np.random.default_rng(0)
    slices = {}
    for record in dataset:
        share = max(0.0, float(drawn.normal(0.03, 0.02)))
        signature = signatures(drawn.random((1, SIDE, SIDE), dtype=np.float32))[0]
        slices[record.name] = SliceScan((), record.name, "64 x 64", "grey 8-bit", share, signature)
    return Scan(slices)


def example_groups(scan: Scan) -> Indices:
    """Return the group that a slice's name tells, int64 [N], in the order of the scan."""
    names = [name.partition("_")[0] for name in scan.names]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


class SplitMethodContract:
    """Tests of a split method. A subclass named `Test…` overrides the fixture `method`.

    The slices are those of `example_dataset`; a method that needs other ones overrides `dataset`, `scan` and `groups`.
    """

    @pytest.fixture
    def method(self) -> SplitMethod:
        """Return the method, which is registered."""
        raise NotImplementedError("the fixture `method` must return the split method that is tested")

    @pytest.fixture
    def dataset(self) -> Dataset:
        """Return a dataset in its own split."""
        return example_dataset()

    @pytest.fixture
    def scan(self, dataset: Dataset) -> Scan:
        """Return what opening its slices would show."""
        return example_scan(dataset)

    @pytest.fixture
    def groups(self, scan: Scan) -> Indices:
        """Return the group of each slice, int64 [N], in the order of the scan."""
        return example_groups(scan)

    def test_it_is_registered_and_described(self, method: SplitMethod) -> None:
        """A method is found by its name, and the report can describe it."""
        assert SPLIT_METHODS.get(method.name) is type(method)
        assert method.description

    @pytest.mark.parametrize("seed", SEEDS)
    def test_every_slice_is_in_one_split(
        self, method: SplitMethod, dataset: Dataset, scan: Scan, groups: Indices, seed: int
    ) -> None:
        """No slice is left out or invented, and there is something to train and to validate on."""
        splits = method.assign(dataset, scan, groups, seed)
        assert splits.keys() == set(scan.names)
        assert {"train", "valid"} <= set(splits.values()) <= set(SPLITS)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_groups_stay_together_where_that_is_promised(
        self, method: SplitMethod, dataset: Dataset, scan: Scan, groups: Indices, seed: int
    ) -> None:
        """No group has slices in several splits."""
        if not method.keeps_groups_together:
            pytest.skip("the method does not promise to keep groups together")
        splits = method.assign(dataset, scan, groups, seed)
        found = {(group, splits[name]) for group, name in zip(groups.tolist(), scan.names, strict=True)}
        assert len(found) == len(set(groups.tolist()))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_same_seed_gives_the_same_split(
        self, method: SplitMethod, dataset: Dataset, scan: Scan, groups: Indices, seed: int
    ) -> None:
        """A split can be made again; without an effect of the seed, it is the same for any."""
        splits = method.assign(dataset, scan, groups, seed)
        assert method.assign(dataset, scan, groups, seed) == splits
        if not method.uses_seed:
            assert method.assign(dataset, scan, groups, seed + 1) == splits

    def test_the_order_of_the_records_changes_nothing(
        self, method: SplitMethod, dataset: Dataset, scan: Scan, groups: Indices
    ) -> None:
        """A slice is known by its name, not by its place in the dataset."""
        shuffled = {
            split: tuple(random.Random(1).sample(records, len(records))) for split, records in dataset.records.items()
        }
        assert shuffled != dataset.records
        reordered = replace(dataset, records=shuffled)
        assert method.assign(reordered, scan, groups, 0) == method.assign(dataset, scan, groups, 0)

    def test_it_makes_a_split_that_is_described(self, method: SplitMethod, dataset: Dataset, scan: Scan) -> None:
        """A run can use it: the dataset is moved, and sizes and leakage are on record."""
        moved, split = make_split(dataset, scan, method.name, seed=1, group_by=r"(g\d+)_")
        assert {record.name: record.split for record in moved} == split.splits
        assert split.summary["splits"] == {
            name: {**one, "images": len(moved.records[name])} for name, one in split.summary["splits"].items()
        }
        if method.keeps_groups_together:
            assert not split.summary["leak"]["leaks"]
        assert make_split(dataset, scan, method.name, seed=1, group_by=r"(g\d+)_")[1].hash == split.hash
