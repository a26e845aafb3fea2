from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bts_tune.results.statistics import rank_tests
from bts_tune.results.statistics.rank_tests import (
    LEVEL,
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


@pytest.mark.parametrize(
    ("better", "worse", "exact"),
    [(6, 0, 2 / 2**6), (7, 0, 2 / 2**7), (7, 1, 18 / 2**8), (8, 1, 20 / 2**9), (5, 5, 1.0)],
)
def test_of_two_configurations_the_p_value_is_that_of_the_sign_test(better: int, worse: int, exact: float) -> None:
    found = rank_test(np.array([[1.0, 2.0]] * better + [[2.0, 1.0]] * worse))
    assert found is not None
    assert found.p_value == pytest.approx(exact)
    assert exact == pytest.approx(stats.binomtest(better, better + worse).pvalue)


def test_of_three_configurations_it_is_that_of_friedmans_exact_table() -> None:
    """Hollander and Wolfe, 'Nonparametric Statistical Methods': k = 3, n = 6, P(S >= 7) = 0.029, P(S >= 9) = 0.008."""
    orders = np.array([[1.0, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]])
    found = {}
    for places in itertools.combinations_with_replacement(range(6), 5):
        table = np.vstack([orders[0], orders[list(places)]])
        test = rank_test(table)
        assert test is not None
        found[round(stats.friedmanchisquare(*table.T).statistic, 6)] = round(test.p_value, 3)
    assert (found[7.0], found[9.0], found[12.0]) == (0.029, 0.008, 0.0)


@given(st.integers(0, 2000), st.booleans())
@settings(max_examples=10)
def test_permutations_that_are_drawn_agree_with_all_of_them(seed: int, ties: bool) -> None:
    values = np.random.default_rng(seed).random((MIN_DATASETS, 3))
    table = np.array([ranks(row, lower_is_better=True) for row in (values.round(1) if ties else values)])
    every = rank_test(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_tests, "MAX_PERMUTATIONS", 4000)
        drawn = rank_test(table)
        assert drawn == rank_test(table)
    assert every is not None
    assert drawn is not None
    assert drawn.p_value == pytest.approx(every.p_value, abs=0.04)
    assert (every.critical_difference is None) == (every.p_value >= LEVEL)


def test_the_same_order_everywhere_and_no_order_anywhere() -> None:
    same, none = rank_test(np.tile([1.0, 2, 3], (6, 1))), rank_test(np.full((6, 3), 2.0))
    assert same is not None
    assert none is not None
    assert same.p_value == pytest.approx(1 / 6**5)
    assert (none.p_value, none.critical_difference) == (1.0, None)


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
