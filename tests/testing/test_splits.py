"""The contract of split methods finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import Indices
from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.data.splits.methods.grouped import GroupedSplit
from bts_tune.data.splits.methods.provided import ProvidedSplit
from bts_tune.testing.splits import SplitMethodContract, example_dataset, example_groups, example_scan

Assign = Callable[[Dataset, Scan, int], dict[str, str]]


def method(assign: Assign) -> SplitMethod:
    """Return a split method that promises everything and does as `assign` does."""

    class Method(SplitMethod):
        description = "for a test"
        keeps_groups_together = True
        uses_seed = False

        def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
            return assign(dataset, scan, seed)

    return Method()


def by_place(dataset: Dataset, scan: Scan, seed: int) -> dict[str, str]:
    return {record.name: "valid" if place % 4 == 0 else "train" for place, record in enumerate(dataset)}


def by_seed(dataset: Dataset, scan: Scan, seed: int) -> dict[str, str]:
    drawn = np.random.default_rng(seed).random(len(scan.names))
    return {name: "valid" if one < 0.3 else "train" for name, one in zip(scan.names, drawn, strict=True)}


DATASET = example_dataset()
SCAN = example_scan(DATASET)
GROUPS = example_groups(SCAN)


@pytest.mark.parametrize(
    ("test", "assign"),
    [
        ("test_every_slice_is_in_one_split", lambda dataset, scan, seed: dict.fromkeys(scan.names[1:], "train")),
        ("test_every_slice_is_in_one_split", lambda dataset, scan, seed: dict.fromkeys(scan.names, "dev")),
        ("test_groups_stay_together_where_that_is_promised", by_place),
        ("test_the_same_seed_gives_the_same_split", by_seed),
    ],
)
def test_what_breaks_the_contract_is_found(test: str, assign: Assign) -> None:
    run: Any = getattr(SplitMethodContract(), test)
    run(GroupedSplit(), DATASET, SCAN, GROUPS, 0)
    with pytest.raises(AssertionError):
        run(method(assign), DATASET, SCAN, GROUPS, 0)


def test_a_split_by_the_order_of_records_is_found() -> None:
    run = SplitMethodContract().test_the_order_of_the_records_changes_nothing
    run(ProvidedSplit(), DATASET, SCAN, GROUPS)
    with pytest.raises(AssertionError):
        run(method(by_place), DATASET, SCAN, GROUPS)
