from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bts_tune.results.statistics.rank_tests import (
    MIN_DATASETS,
    agreement,
    critical_difference,
    not_told_apart,
    rank_test,
    ranks,
)


def test_the_best_has_rank_1_and_equals_share_theirs() -> None:
    assert ranks([0.3, 0.1, 0.3, 0.2], lower_is_better=True).tolist() == [3.5, 1, 3.5, 2]
    assert ranks([0.3, 0.1, 0.2], lower_is_better=False).tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    ("configurations", "quantile"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_critical_difference_is_that_of_demsars_table_5a(configurations: int, quantile: float) -> None:
    found = critical_difference(configurations, 14)
    assert found / np.sqrt(configurations * (configurations + 1) / (6 * 14)) == pytest.approx(quantile, abs=1.5e-3)


def test_demsars_example_of_four_classifiers_on_fourteen_datasets() -> None:
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


@given(st.integers(0, 2000), st.integers(3, 6), st.integers(MIN_DATASETS, 12), st.booleans())
def test_the_p_value_comes_from_friedmans_statistic(seed: int, count: int, datasets: int, ties: bool) -> None:
    values = np.random.default_rng(seed).random((datasets, count))
    values = values.round(1) if ties else values
    table = np.array([ranks(row, lower_is_better=True) for row in values])
    found = rank_test(table)
    assert found is not None
    chi_squared = stats.friedmanchisquare(*values.T).statistic
    statistic = (datasets - 1) * chi_squared / (datasets * (count - 1) - chi_squared)
    expected = stats.f.sf(statistic, count - 1, (count - 1) * (datasets - 1))
    assert found.p_value == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_same_order_everywhere_and_no_order_anywhere() -> None:
    same, none = rank_test(np.tile([1.0, 2, 3], (6, 1))), rank_test(np.full((6, 3), 2.0))
    assert same is not None
    assert none is not None
    assert (same.p_value, none.p_value) == (0.0, 1.0)


def test_too_few_datasets_give_no_answer() -> None:
    assert rank_test(np.tile([1.0, 2], (MIN_DATASETS - 1, 1))) is None
    # With so few, even one that is better on each of them is not told from the other.
    always = np.arange(1.0, MIN_DATASETS)
    assert stats.wilcoxon(always).pvalue > 0.05
    assert stats.wilcoxon(np.arange(1.0, MIN_DATASETS + 1)).pvalue < 0.05


def test_bars_are_the_longest_stretches_that_do_not_differ() -> None:
    assert not_told_apart([1.0, 1.5, 2.4, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert not_told_apart([1.0, 1.5, 1.9, 4.0], 1.0) == [(0, 2)]
    assert not_told_apart([1.0, 3.0], 1.0) == []


def test_agreement_of_two_orders() -> None:
    assert agreement([1, 2, 3], [1, 2, 3]) == 1
    assert agreement([1, 2, 3], [3, 2, 1]) == -1
    assert agreement([1, 1, 1], [1, 2, 3]) is None
