from __future__ import annotations

import numpy as np
import pytest

from bts_tune.data.scan.scan import Scan, SliceScan
from bts_tune.data.splits.stratified import stratified_folds, tumor_areas


@pytest.mark.parametrize("seed", range(5))
def test_folds_hold_whole_groups_and_are_alike_in_size_and_area(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), 5)
    areas = np.repeat(drawn.uniform(0.01, 0.1, 60), 5)
    areas[:50] = 0
    fold = stratified_folds(groups, areas, 4, seed)
    assert set(fold.tolist()) == {0, 1, 2, 3}
    assert len({(group, one) for group, one in zip(groups.tolist(), fold.tolist(), strict=True)}) == 60
    assert np.bincount(fold).tolist() == pytest.approx([75] * 4, abs=15)
    tumor_free = np.bincount(fold[areas == 0], minlength=4)
    assert tumor_free.min() >= 5
    means = [areas[fold == number].mean() for number in range(4)]
    assert max(means) < 1.5 * min(means)


def test_the_seed_decides() -> None:
    groups, areas = np.arange(40), np.linspace(0, 1, 40)
    one, again, other = (stratified_folds(groups, areas, 4, seed).tolist() for seed in (0, 0, 1))
    assert one == again != other


def test_slices_without_any_tumour_are_one_stratum() -> None:
    assert np.bincount(stratified_folds(np.arange(12), np.zeros(12), 3, 0)).tolist() == [4, 4, 4]


def test_a_slice_that_cannot_be_read_has_no_area() -> None:
    scan = Scan({"a": SliceScan((), tumor_share=0.25), "b": SliceScan(()), "c": SliceScan((), tumor_share=0.0)})
    assert tumor_areas(scan).tolist() == [0.25, 0.0, 0.0]


@pytest.mark.parametrize(("count", "kinds"), [(12, 4), (36, 12), (7, 7), (20, 5)])
def test_few_slices_of_many_kinds_are_balanced_as_far_as_they_can_be(count: int, kinds: int) -> None:
    kind = np.arange(count) % kinds
    areas = np.where(np.arange(count) % 3 == 0, 0.0, np.linspace(0.01, 0.1, count))
    for number in (3, 5):
        fold = stratified_folds(np.arange(count), areas, number, 0, kind)
        assert sorted(np.unique(fold).tolist()) == list(range(number))
        assert np.ptp(np.bincount(fold)) <= number


def test_kinds_are_balanced_where_kinds_and_areas_together_are_too_fine() -> None:
    kind, areas = np.repeat([0, 1], 6), np.where(np.arange(12) % 6 < 3, 0.0, 0.05)
    fold = stratified_folds(np.arange(12), areas, 6, 0, kind)
    assert [sorted(np.bincount(fold[kind == one], minlength=6).tolist()) for one in (0, 1)] == [[1] * 6, [1] * 6]
