from __future__ import annotations

import pickle
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from bts_tune.experiment.planning.plan import Plan, PlannedTrial
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.experiment.search.tpe import OptunaTPE
from bts_tune.results.record.objective import DICE_LOSS
from bts_tune.results.record.run_folder import TrialStatus
from bts_tune.space import ResolvedSearch, load_space
from tests.experiment.builders import planned, record


@pytest.fixture
def search() -> ResolvedSearch:
    resolved = load_space("extended").resolve(demo=True).search
    assert resolved is not None
    return resolved


@pytest.mark.parametrize("outcome", ["running", "diverged"])
def test_trials_that_ended_early_are_told_alike_live_and_from_the_record(search: ResolvedSearch, outcome: str) -> None:
    """Tune leaves out the result that a trial is stopped at; the record has it."""
    added: list[PlannedTrial] = []
    live = searcher(Plan((), (), 0, 4), search, added)
    for number in range(3):
        live.suggest(f"ray{number}")
        live.on_trial_result(f"ray{number}", {"outcome": "running", "epoch": 1, DICE_LOSS.best_column: 0.7})
        last = {"outcome": outcome, "epoch": 2, DICE_LOSS.best_column: 0.6 if outcome == "running" else DICE_LOSS.worst}
        live.on_trial_complete(f"ray{number}", last)
    status: TrialStatus = "stopped" if outcome == "running" else "diverged"
    values = [0.7, 0.6] if outcome == "running" else [0.7]
    finished = tuple(record(trial, values, status) for trial in added)
    resumed = searcher(Plan((), finished, 3, 1), search, [])
    told = [[(t.state, t.params, t.intermediate_values) for t in one._sampler._study.trials] for one in (live, resumed)]  # type: ignore[union-attr]
    assert told[0] == told[1]
    again, anew = live.suggest("ray3"), resumed.suggest("ray3")
    assert isinstance(again, dict)
    assert again == anew


def searcher(plan: Plan, search: ResolvedSearch | None, added: list[PlannedTrial]) -> PlanSearcher:
    def describe(trial: PlannedTrial) -> dict[str, Any]:
        return {"trial": trial.trial, "config": trial.config.to_dict()}

    return PlanSearcher(plan, search, describe, added.append)


def test_decided_trials_come_first_and_searched_ones_are_numbered_on(search: ResolvedSearch) -> None:
    named = planned("unet-b0", baseline=True)
    earlier = record(planned("search-0001", index=1), [0.5])
    added: list[PlannedTrial] = []
    plan = Plan(fixed=(named,), finished=(earlier,), searched=1, to_search=2)
    one = searcher(plan, search, added)
    handed = [one.suggest(f"ray{n}") for n in range(3)]
    assert [h["trial"] for h in handed if isinstance(h, dict)] == ["unet-b0", "search-0002", "search-0003"]
    assert [(a.trial, a.index) for a in added] == [("search-0002", 2), ("search-0003", 3)]
    assert one.suggest("ray3") is None, "one that runs may have to be tried again"
    for number in range(3):
        one.on_trial_complete(f"ray{number}", {"outcome": "complete", "best_val_dice_loss": 0.5})
    assert one.suggest("ray4") == Searcher.FINISHED


def test_without_a_search_only_the_plan_is_run() -> None:
    added: list[PlannedTrial] = []
    one = searcher(Plan(fixed=(planned("a"),), finished=(), searched=0, to_search=0), None, added)
    first = one.suggest("r0")
    assert isinstance(first, dict)
    assert first["trial"] == "a"
    one.on_trial_complete("r0", {"outcome": "complete", "best_val_dice_loss": 0.5})
    assert one.suggest("r1") == Searcher.FINISHED
    assert not added


def test_ray_can_pickle_it(search: ResolvedSearch) -> None:
    pickle.dumps(searcher(Plan((), (), 0, 1), search, []))


def test_a_trial_that_is_stopped_teaches_what_a_resumed_run_is_told(search: ResolvedSearch) -> None:
    added: list[PlannedTrial] = []
    live = searcher(Plan((), (), 0, 2), search, added)
    live.suggest("r0")
    live.on_trial_result("r0", {"outcome": "running", "epoch": 1, "best_val_dice_loss": 0.6})
    # Tune hands the last result, at which the scheduler stopped the trial, to this alone.
    live.on_trial_complete("r0", {"outcome": "running", "epoch": 2, "best_val_dice_loss": 0.5})
    resumed = OptunaTPE(search)
    resumed.replay(record(added[0], [0.6, 0.5], "stopped"))
    assert live._sampler is not None
    (told,), (replayed,) = live._sampler._study.trials, resumed._study.trials
    assert told.intermediate_values == replayed.intermediate_values == {1: 0.6, 2: 0.5}
    assert (told.state, told.params) == (replayed.state, replayed.params)


def test_a_trial_is_handed_out_again_before_all_others_and_stays_one_trial_to_the_sampler(
    search: ResolvedSearch,
) -> None:
    added: list[PlannedTrial] = []
    one = searcher(Plan(fixed=(), finished=(), searched=0, to_search=2), search, added)
    first = one.suggest("r0")
    for epoch in (1, 2):
        one.on_trial_result("r0", {"outcome": "running", "epoch": epoch, "best_val_dice_loss": 0.5})
    one.on_trial_complete("r0", error=True)
    one.retry("r0")
    assert one.suggest("r1") == first
    for epoch in (1, 2, 3):
        one.on_trial_result("r1", {"outcome": "running", "epoch": epoch, "best_val_dice_loss": 0.5})
    assert len(added) == 1
    assert one._sampler is not None
    (trial,) = one._sampler._study.trials
    assert trial.state == TrialState.RUNNING
    one.on_trial_complete("r1", {"outcome": "complete", "best_val_dice_loss": 0.5})
    (trial,) = one._sampler._study.trials
    assert (trial.state, sorted(trial.intermediate_values)) == (TrialState.COMPLETE, [1, 2, 3])


def test_a_trial_that_is_given_up_is_told_as_failed(search: ResolvedSearch) -> None:
    one = searcher(Plan(fixed=(), finished=(), searched=0, to_search=1), search, [])
    one.suggest("r0")
    one.on_trial_complete("r0", error=True)
    one.fail("r0")
    assert one._sampler is not None
    assert [trial.state for trial in one._sampler._study.trials] == [TrialState.FAIL]
    assert one.suggest("r1") == Searcher.FINISHED
