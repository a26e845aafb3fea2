from __future__ import annotations

import statistics

import pytest

from bts_tune.results.optimism import mean_excess, optimism
from bts_tune.testing.runs import make_final, make_search


def test_the_final_stage_is_set_beside_the_trials_that_it_repeats() -> None:
    search = make_search()
    trials = search + make_final(search)
    found = optimism(trials)
    assert found
    by_name = {record.trial: record for record in trials}
    for one in found:
        assert by_name[one.origin.trial].stage == "search"
        assert one.excess == pytest.approx(one.configuration.dice_loss - one.searched)
    assert sum(one.first for one in found) <= 1
    assert mean_excess(found) == pytest.approx(statistics.fmean(one.excess for one in found))


def test_without_a_final_stage_there_is_nothing_to_set_beside() -> None:
    assert optimism(make_search()) == []
    assert mean_excess([]) is None
