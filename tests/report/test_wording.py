"""The writing of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.report.wording import count, duration, gained, interval, mean_and_spread, metric, share, spread_words
from bts_tune.results.statistics.intervals import Interval


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.2, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (725, "12m05s"),
        (3599.9, "1h00m"),
        (3 * 3600 + 250, "3h04m"),
        (51 * 3600, "2d03h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 99 * 86400))
def test_durations_are_short(seconds: float) -> None:
    assert len(duration(seconds)) <= 7


def test_numbers() -> None:
    assert (metric(None), metric(0.12345), metric(1)) == ("–", "0.1235", "1.0000")
    assert (count(None), count(950), count(6_251_469), count(12_345)) == ("–", "950", "6.25 M", "12.3 k")
    assert (count(999_499), count(999_500), count(999_999_999)) == ("999 k", "1 M", "1 G")


def test_spreads_of_one_two_and_more() -> None:
    assert [mean_and_spread(values) for values in ([], [0.2], [0.2, 0.3], [0.2, 0.3, 0.4])] == [
        *("–", "0.2000", "0.2500 (0.2000, 0.3000)", "0.3000 ± 0.1000")
    ]
    assert "range" not in spread_words([3])
    assert "range" in spread_words([2])
    assert spread_words([2, 3]).startswith("mean ± sample standard deviation, of two")


def test_intervals_and_differences() -> None:
    assert gained(-0.5) == "−0.5000"
    assert interval(Interval(0.2, 0.1, 0.3)) == "0.1000 to 0.3000"
    assert interval(Interval(0.0, -0.1, 0.3), signed=True) == "−0.1000 to +0.3000"
    assert interval(Interval(0.2, None, None)) == "–"


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    assert [share(one) for one in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        *("0\u00a0%", "< 1\u00a0%", "50\u00a0%", "> 99\u00a0%", "100\u00a0%")
    ]
    assert (share(0.005), share(0.995)) == ("< 1\u00a0%", "> 99\u00a0%")
