"""How many trials a run is to do: what its record says, in the words of the space."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.experiment.planning.preview import cost
from bts_tune.results.trial_count import TrialCount, count_trials
from bts_tune.space import load_space
from bts_tune.testing.runs import make_final, make_run, make_search, make_trial


def killed(space: str = "extended", **options: Any) -> dict[str, Any]:
    return make_run(status="running", space=load_space(space).document, options=options)


@pytest.mark.parametrize("demo", [False, True])
@pytest.mark.parametrize(
    ("space", "options"),
    [
        ("extended", {}),
        ("extended", {"num_trials": 5, "final_top": 1}),
        ("extended", {"seeds": 2, "final_seeds": 4}),
        ("extended", {"only": ["unet-b0"], "overrides": {"seed": 7}}),
        ("extended", {"final_top": 0}),
        ("baseline", {"seeds": 3}),
        ("baseline", {"final_top": 5}),
    ],
)
def test_a_run_that_was_killed_early_counts_what_a_dry_run_tells(
    space: str, options: dict[str, Any], demo: bool
) -> None:
    run = killed(space, **options) | {"profile": "demo" if demo else "data"}
    seeds = options.get("seeds")
    given = {**options, "seeds": list(range(seeds)) if seeds else None}
    assert count_trials(run, [make_trial("unet-b0")]) == TrialCount(
        1, cost(load_space(space).resolve(demo=demo, **given))[0]
    )


def test_each_fold_counts() -> None:
    assert count_trials(killed("baseline", folds=5), []).trials == 15


def test_a_search_with_a_time_budget_may_end_with_fewer() -> None:
    count = count_trials(killed(num_trials=5, final_top=0, time_budget=1.0), [])
    assert (count.trials, count.of) == (8, "at most 8")
    assert not count_trials(killed("baseline", time_budget=1.0), []).at_most


def test_what_is_planned_last_is_the_truth() -> None:
    search = make_search(epochs=2)
    both = search + make_final(search)
    assert count_trials(killed(), both).trials == len(both)
    assert count_trials(killed(num_trials=20) | {"extensions": [{}]}, both).trials > len(both)
    assert count_trials(killed(time_budget=1.0) | {"status": "complete"}, search).trials == len(search)


@pytest.mark.parametrize(
    "space", [{}, {"trials": 3}, {"trials": {"a": {}}, "seeds": [0], "search": {"num_trials": "x"}}]
)
def test_without_a_space_on_record_what_is_planned_is_counted(space: dict[str, Any]) -> None:
    assert count_trials(killed() | {"space": space}, [make_trial("a", status="running")]) == TrialCount(0, 1)
