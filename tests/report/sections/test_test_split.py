"""The section on the test split."""

from __future__ import annotations

from bts_tune.testing.runs import make_search, make_test
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestTestSplit(SectionContract):
    name = "test-split"


def test_test_split_shows_the_best_trial_and_the_baselines() -> None:
    trials = make_search()
    trials[4].test = make_test(0.2)  # t0001, the best
    text = section(page(trials), "Test split")
    assert "| 1 | t0001 | best | 0.2000 |" in text
    assert "t0000" not in text  # evaluated while it was the best, but no longer is
    assert text.count("| baseline |") == 3
