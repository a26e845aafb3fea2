"""The section on the optimism of the search."""

from __future__ import annotations

from dataclasses import replace

from bts_tune.testing.runs import make_final, make_search
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestSearchOptimism(SectionContract):
    name = "search-optimism"


def test_a_trial_that_did_not_reach_its_budget_is_left_out_of_the_means() -> None:
    search = make_search(epochs=4)
    final = make_final(search)
    search[3] = replace(search[3], status="stopped")
    text = section(page(search + final), "Optimism of the search")
    assert "; left out of the means: 1 trial of the search, stopped early." in text
