"""What is worked out of a snapshot once is kept, and is what anybody else would find."""

from __future__ import annotations

from collections.abc import Sequence

from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.leaderboard import ordered, ranking
from bts_tune.results.ranking.memo import FrozenTrials, memoized
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_search


def test_a_snapshot_answers_as_its_trials_do() -> None:
    trials = make_search()
    snapshot = FrozenTrials(trials)
    assert list(snapshot) == trials
    for _ in range(2):
        assert ordered(snapshot) == ordered(trials)
        assert ranking(snapshot) == ranking(trials)
        assert configurations(snapshot, "search") == configurations(trials, "search")
        assert configurations(snapshot, "final") == configurations(trials, "final") == []


def test_work_is_done_once_for_a_snapshot_and_anew_for_a_list() -> None:
    done = []

    @memoized
    def first(trials: Sequence[TrialRecord], letters: int = 1) -> str:
        done.append(letters)
        return trials[0].trial[:letters]

    trials = make_search()
    snapshot = FrozenTrials(trials)
    for asked in (snapshot, FrozenTrials(snapshot), trials, trials, FrozenTrials(trials)):
        assert first(asked, letters=2) == trials[0].trial[:2]
    assert done == [2, 2, 2, 2]
    assert (first(snapshot), first(snapshot, 1), done) == (trials[0].trial[:1],) * 2 + ([2, 2, 2, 2, 1, 1],)
