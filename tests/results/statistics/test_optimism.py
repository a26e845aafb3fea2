"""What a search promised, beside what the final stage came to."""

from __future__ import annotations

import statistics

import pytest

from bts_tune.results.ranking.leaderboard import ranking
from bts_tune.results.statistics.optimism import mean_excess, optimism
from bts_tune.testing.runs import make_final, make_search

SEARCH = make_search(epochs=5)


def test_each_configuration_has_the_trial_of_the_search_that_it_repeats() -> None:
    found = optimism(SEARCH + make_final(SEARCH))
    assert len(found) == 5
    assert [one.origin.trial for one in found if one.first] == [ranking(SEARCH)[0].trial]
    for one in found:
        assert one.excess == pytest.approx(one.configuration.dice_loss - (one.origin.best_row or {})["val_dice_loss"])
    assert mean_excess(found) == pytest.approx(statistics.fmean(one.excess for one in found))


def test_without_a_final_stage_there_is_none() -> None:
    assert optimism(SEARCH) == []
    assert mean_excess([]) is None
