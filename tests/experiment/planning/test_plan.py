from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.experiment.planning.plan import encoders, models, plan_rest_of_final, plan_search, preprocessings
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import load_space
from tests.experiment.builders import planned, result


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"run": "run"})


def test_a_new_run_plans_the_named_trials_and_the_whole_search(folder: RunFolder) -> None:
    space = load_space("extended").resolve(num_trials=7)
    plan = plan_search(folder, space)
    assert [t.trial for t in plan.fixed] == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5"]
    assert (plan.to_search, plan.searched, plan.trials) == (7, 0, 10)
    assert [r.status for r in folder.trials()] == ["waiting"] * 3


def test_planning_twice_changes_nothing(folder: RunFolder) -> None:
    space = load_space("baseline").resolve(seeds=[0, 1])
    first = plan_search(folder, space)
    events = folder.trials_file.read_bytes()
    assert plan_search(folder, space) == first
    assert folder.trials_file.read_bytes() == events


def test_what_is_finished_is_not_run_again_and_the_search_goes_on_where_it_was(folder: RunFolder) -> None:
    space = load_space("extended").resolve(num_trials=3)
    plan_search(folder, space)
    folder.append_event("started", "unet-b0")
    folder.append_event("ended", "unet-b0", status="complete")
    folder.append_event("planned", "search-0001", **planned("search-0001", index=3).event())
    folder.append_event("started", "search-0001")
    folder.append_row({"trial": "search-0001", **result(1, 0.5)})
    folder.append_event("ended", "unet-b0-frozen", status="failed", reason="out of memory")
    plan = plan_search(folder, space)
    assert [(t.trial, t.recorded) for t in plan.fixed] == [("unetplusplus-b5", 0), ("search-0001", 1)]
    assert [r.trial for r in plan.finished] == ["unet-b0", "unet-b0-frozen"]
    assert (plan.searched, plan.to_search) == (1, 2)


def test_everything_that_a_trial_can_need_is_known_beforehand() -> None:
    space = load_space("extended").resolve()
    assert {part.equalization for part in preprocessings(space)} == {"none", "histogram", "clahe"}
    assert {part.image_size for part in preprocessings(space)} == {224}
    assert ("efficientnet-b5", "imagenet") in encoders(space)
    assert len(set(encoders(space))) == len(encoders(space))


def test_every_model_of_a_search_is_known_beforehand() -> None:
    found = models(load_space("extended").resolve())
    assert ("unetplusplus", "efficientnet-b5") in found
    assert len(set(found)) == len(found)
    assert {decoder for decoder, _ in found} >= {"unet", "unetplusplus", "manet", "fpn"}


def test_what_failed_is_run_again_where_that_is_asked_for(folder: RunFolder) -> None:
    space = load_space("baseline").resolve()
    plan_search(folder, space)
    for trial, status in (("unet-b0", "failed"), ("unet-b0-frozen", "oom"), ("unetplusplus-b5", "diverged")):
        folder.append_event("started", trial)
        folder.append_event("ended", trial, status=status)
    assert plan_search(folder, space).fixed == ()
    plan = plan_search(folder, space, retry_failed=True)
    assert [trial.trial for trial in plan.fixed] == ["unet-b0", "unet-b0-frozen"]
    assert [record.trial for record in plan.finished] == ["unetplusplus-b5"]


def test_of_a_final_stage_too(folder: RunFolder) -> None:
    folder.append_event("planned", "final-a-s1", **planned("final-a-s1").event() | {"stage": "final", "origin": "a"})
    folder.append_event("ended", "final-a-s1", status="failed")
    assert plan_rest_of_final(folder).trials == 0
    assert plan_rest_of_final(folder, retry_failed=True).trials == 1
