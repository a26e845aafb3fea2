"""The final stage: what it trains again, in which order, and whole runs with one."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bts_tune.experiment.execution.final_stage import (
    configurations_to_repeat,
    describe_final_stage,
    fresh_seeds,
    plan_final,
)
from bts_tune.experiment.planning.plan import PlannedTrial, plan_rest_of_final, plan_search
from bts_tune.results.find import best_model, ensemble_models
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import FINISHED, RunFolder, TrialRecord, TrialStatus
from bts_tune.results.record.scores import read_scores
from bts_tune.results.trial_count import search_was_extended
from bts_tune.space import Final, load_space
from tests.experiment.builders import planned, record, result
from tests.experiment.conftest import Command, Finished, with_final_stage
from tests.experiment.test_run import wait_for_rows


def a_search() -> list[TrialRecord]:
    """Two baselines, and searched trials that ended in every way there is."""
    named: list[tuple[PlannedTrial, list[float], TrialStatus]] = [
        (planned("base", baseline=True), [0.5, 0.45, 0.44, 0.43], "complete"),
        (planned("lame", index=1, baseline=True, freeze="all"), [], "failed"),
    ]
    searched: list[tuple[dict[str, Any], list[float], TrialStatus]] = [
        ({"learning_rate": 0.01}, [0.6, 0.5, 0.4, 0.35], "complete"),
        ({"learning_rate": 0.02}, [0.30], "stopped"),
        ({"learning_rate": 0.03}, [0.9, 0.4, 0.4, 0.31], "complete"),
        ({"learning_rate": 0.03}, [0.9, 0.4, 0.4, 0.33], "complete"),
        ({"learning_rate": 0.04}, [0.1], "diverged"),
        ({"learning_rate": 0.05}, [0.1], "failed"),
        ({"learning_rate": 0.06}, [0.2, 0.25], "interrupted"),
        ({"learning_rate": 0.07}, [], "waiting"),
        ({}, [0.2, 0.2, 0.2, 0.2], "complete"),  # the recipe of a baseline
    ]
    trials = [record(*one) for one in named]
    for number, (fields, values, status) in enumerate(searched, start=1):
        trial = planned(f"search-{number:04d}", index=number + 1, **fields)
        trials.append(record(trial, values, status))
    return trials


def written(folder: RunFolder, trials: list[TrialRecord]) -> RunFolder:
    """Write records as a run would have."""
    for one in trials:
        fields = {name: getattr(one, name) for name in ("name", "index", "baseline", "changed", "published")}
        fields |= {name: getattr(one, name) for name in ("config", "config_id", "recipe_id", "stage", "origin", "fold")}
        folder.append_event("planned", one.trial, **fields)
        for row in one.rows:
            folder.append_row(row)
        if one.status != "waiting":
            folder.append_event("ended", one.trial, status=one.status, reason="")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"run": "run", "options": {}})


def test_baselines_and_the_best_that_were_trained_are_repeated_each_recipe_once() -> None:
    trials = a_search()
    assert [one.trial for one in configurations_to_repeat(trials, 0)] == ["base", "lame"]
    # First those with the full budget, then those that were stopped or cut off, by their best epoch.
    chosen = [one.trial for one in configurations_to_repeat(trials, 99)]
    assert chosen == ["base", "lame", "search-0003", "search-0001", "search-0007", "search-0002"]
    assert [one.trial for one in configurations_to_repeat(trials, 2)] == chosen[:4]
    assert (
        configurations_to_repeat(
            [one for one in trials if one.status in ("failed", "diverged") and not one.baseline], 2
        )
        == []
    )


def test_a_baseline_with_several_seeds_is_repeated_once() -> None:
    trials = [
        record(PlannedTrial(f"base-seed{seed}", "base", seed, True, planned("x", seed=seed).config), [loss])
        for seed, loss in ((0, 0.5), (1, 0.4))
    ]
    assert [one.trial for one in configurations_to_repeat(trials, 2)] == ["base-seed1"]
    assert fresh_seeds(trials, 2) == [2, 3]


def test_what_a_lower_fidelity_made_alike_is_repeated_in_full(folder: RunFolder) -> None:
    trials = [
        replace(planned(f"t{size}", index=place, image_size=32), full={"image_size": size, "train_share": 1.0})
        for place, size in enumerate((64, 96))
    ]
    for trial in trials:
        folder.append_event("planned", trial.trial, **trial.event())
        folder.append_row({"trial": trial.trial, **result(4, 0.5)})
        folder.append_event("ended", trial.trial, status="complete")
    assert [one.full for one in folder.trials()] == [trial.full for trial in trials]
    plan_final(folder, Final(top=2, seeds=1), "it was closed")
    final = [one for one in folder.trials() if one.stage == "final"]
    assert [one.config["image_size"] for one in final] == [64, 96]
    assert [one.config_id for one in final] == [
        planned("x", image_size=size, seed=1).config.config_id for size in (64, 96)
    ]
    assert not any(one.full for one in final)


def test_fresh_seeds_chose_nothing() -> None:
    trials = [record(planned(f"t{seed}", index=seed, seed=seed), [0.5]) for seed in (0, 2, 3)]
    assert fresh_seeds(trials, 3) == [1, 4, 5]
    assert fresh_seeds(trials, 1) == [1]


def test_the_stage_is_planned_seed_by_seed_and_the_search_is_closed(folder: RunFolder) -> None:
    written(folder, a_search())
    folder.model_folder("search-0007").mkdir(parents=True)
    plan_final(folder, Final(top=1, seeds=2), "enough of it")
    trials = {one.trial: one for one in folder.trials()}
    final = [one for one in trials.values() if one.stage == "final"]
    assert [(one.trial, one.name, one.origin, one.config["seed"]) for one in final] == [
        (f"final-{name}-s{seed}", name, name, seed) for seed in (1, 2) for name in ("base", "lame", "search-0003")
    ]
    assert all(one.status == "waiting" and one.recipe_id == trials[str(one.origin)].recipe_id for one in final)
    assert len({one.config_id for one in trials.values()}) >= len(final)
    assert trials["search-0007"].status == trials["search-0008"].status == "stopped"
    assert trials["search-0007"].reason == "after 2 of 4 epochs: enough of it"
    assert trials["search-0008"].reason == "before its first epoch ended: enough of it"
    assert trials["search-0005"].status == "diverged"
    assert not folder.model_folder("search-0007").exists()
    assert [one.trial for one in plan_rest_of_final(folder).fixed] == [one.trial for one in final]
    assert (
        describe_final_stage(folder.trials()) == "Final stage: 1 configuration and 2 baselines, 2 seeds each: 6 trials"
    )
    folder.append_event("ended", final[0].trial, status="complete", reason="")
    assert describe_final_stage(folder.trials()).endswith("6 trials, 5 left to run")


def test_planning_again_adds_only_what_is_missing(folder: RunFolder) -> None:
    written(folder, a_search())
    plan_final(folder, Final(top=1, seeds=1), "")
    before = folder.trials_file.read_bytes()
    plan_final(folder, Final(top=1, seeds=1), "")
    assert folder.trials_file.read_bytes() == before
    plan_final(folder, Final(top=2, seeds=2), "")
    final = [one for one in folder.trials() if one.stage == "final"]
    assert [one.trial for one in final[:3]] == ["final-base-s1", "final-lame-s1", "final-search-0003-s1"]
    added = {f"final-{name}-s2" for name in ("base", "lame", "search-0001", "search-0003")}
    assert {one.trial for one in final[3:]} == {"final-search-0001-s1", *added}


def test_planning_that_was_cut_off_anywhere_ends_the_same(folder: RunFolder) -> None:
    written(folder, a_search())
    before = len(folder.trials_file.read_bytes().splitlines())
    plan_final(folder, Final(top=4, seeds=2), "closed")
    whole = [(one.trial, one.status, one.reason) for one in folder.trials()]
    lines = folder.trials_file.read_bytes().splitlines(keepends=True)
    for kept in range(before, len(lines)):
        write_atomically(folder.trials_file, b"".join(lines[:kept]) + lines[kept][:9])
        plan_final(folder, Final(top=4, seeds=2), "closed")
        assert [(one.trial, one.status, one.reason) for one in folder.trials()] == whole, kept


def test_the_search_is_not_reopened(folder: RunFolder) -> None:
    space = load_space("extended").resolve(num_trials=3)
    plan_search(folder, space)
    folder.append_event("planned", "search-0001", **planned("search-0001", index=3).event())
    folder.append_row({"trial": "search-0001", **result(1, 0.5)})
    folder.append_event("ended", "search-0001", status="interrupted", reason="")
    assert plan_search(folder, space).trials == 6
    plan_final(folder, Final(top=1, seeds=1), "closed")
    plan = plan_search(folder, space)
    assert (plan.fixed, plan.to_search, plan.trials) == ((), 0, 0)
    assert plan_rest_of_final(folder).trials == 4


def test_an_extension_opens_the_search_until_it_has_tried_what_was_added(folder: RunFolder) -> None:
    space = load_space("extended").resolve(num_trials=3)
    plan_search(folder, space)
    for number in (1, 2, 3):
        one = planned(f"search-000{number}", index=2 + number)
        if number == 3:
            assert plan_search(folder, space).trials == 0, "what was closed stays closed"
            folder.update_run(extensions=[{"time": "2026-01-01", "trials": 1}])
            plan = plan_search(folder, space)
            assert (plan.fixed, plan.searched, plan.to_search) == ((), 2, 1)
        folder.append_event("planned", one.trial, **one.event())
        folder.append_row({"trial": one.trial, **result(1, 0.5)})
        assert number < 3 or [trial.trial for trial in plan_search(folder, space).fixed] == [one.trial]
        folder.append_event("ended", one.trial, status="stopped", reason="")
        if number == 2:
            plan_final(folder, Final(top=1, seeds=1), "closed by a time budget")
    assert plan_search(folder, space).trials == 0


def test_the_best_model_is_the_winners_of_the_final_stage(folder: RunFolder) -> None:
    trials = [record(planned("search-0001"), [0.1])]
    for index, (name, seed, loss) in enumerate([("a", 1, 0.2), ("a", 2, 0.5), ("b", 1, 0.3), ("b", 2, 0.25)], start=1):
        config = planned(name, seed=seed, learning_rate=0.1 if name == "a" else 0.2).config
        trials.append(record(PlannedTrial(f"final-{name}-s{seed}", name, index, False, config, stage="final"), [loss]))
    written(folder, trials)
    for one in trials:
        folder.model_folder(one.trial).mkdir(parents=True)
        write_atomically(folder.model_folder(one.trial) / "model.json", "{}")
    assert best_model(folder).name == "final-b-s2"
    (folder.model_folder("final-b-s2") / "model.json").unlink()
    assert best_model(folder).name == "final-b-s1"


# Whole runs: real Ray, real files, real signals.


def finals(folder: RunFolder) -> list[TrialRecord]:
    return [one for one in folder.trials() if one.stage == "final"]


def check_final(folder: RunFolder, *, tops: int, seeds: int, epochs: int) -> None:
    """What holds of every run whose final stage came to its end."""
    trials = folder.trials()
    final = finals(folder)
    assert folder.read_run()["status"] == "complete"
    assert all(one.status in ("complete", "stopped", "diverged", "failed") for one in trials)
    assert [one.status for one in final] == ["complete"] * ((2 + tops) * seeds)
    assert all(len(one.rows) == epochs for one in final), "a final trial was stopped early"
    used = {one.config["seed"] for one in trials if one.stage == "search"}
    by_name: dict[str, list[int]] = {}
    for one in final:
        by_name.setdefault(one.name, []).append(one.config["seed"])
    assert len(by_name) == 2 + tops
    assert {tuple(sorted(one)) for one in by_name.values()} == {tuple(sorted({*next(iter(by_name.values()))}))}
    assert not used & {seed for one in by_name.values() for seed in one}
    # The test split is scored here and nowhere else.
    for one in trials:
        assert bool(one.test) == folder.scores_file(one.trial).is_file() == (one.stage == "final"), one.trial
    assert {*read_scores(folder.scores_file(final[0].trial)).splits} == {"valid", "test"}
    # Weights: of the winner's best seed and of each baseline's.
    ranked = configurations(trials)
    kept = {one.best.trial for place, one in enumerate(ranked) if place == 0 or one.baseline}
    kept |= {trial for one in final for trial in one.variants.get("ensemble", {}).get("members", [])}
    assert {path.name for path in (folder.path / "models").iterdir()} == kept
    assert {path.stem for path in (folder.path / "samples").iterdir()} == kept
    assert best_model(folder).name == ranked[0].best.trial
    board = pd.read_csv(folder.path / "leaderboard.csv")
    assert {one.trial for one in final} <= {*board["trial"]}


def test_a_search_with_a_final_stage(with_final: Finished) -> None:
    assert "Final stage: 1 configuration and 2 baselines, 2 seeds each: 6 trials" in with_final.output
    folder = with_final.folder
    check_final(folder, tops=1, seeds=2, epochs=1)
    search = [one for one in folder.trials() if not one.baseline and one.stage == "search"]
    assert {one.origin for one in finals(folder)} - {"plain", "frozen"} <= {one.trial for one in search}
    assert (folder.path / "report.html").is_file()
    # The trainings of the two best configurations, as one model.
    best, second = configurations(folder.trials())[:2]
    (variant,) = [one.variants["ensemble"] for one in folder.trials() if "ensemble" in one.variants]
    assert set(variant["members"]) == {record.trial for one in (best, second) for record in one.trials}
    assert {model.name for model in ensemble_models(folder)} == set(variant["members"])
    assert f"ensemble of 4, with {second.name}" in (folder.path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_final_stage_is_resumed_and_extended(command: Command, space_file: Callable[..., Path]) -> None:
    space = with_final_stage(space_file(epochs=3, search=True), trials=2, final="final: {top: 1, seeds: 2}")
    process = command.start(*command.run_arguments(space, "cut", "--concurrent", "1"))
    path = command.folder / "results" / "cut"
    wait_for_rows(path, 6, process, timeout=300)
    searched = RunFolder(path)
    while not any(one.stage == "final" and one.rows for one in searched.trials()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    folder = command.record("cut")
    assert folder.read_run()["status"] == "interrupted"
    assert len(finals(folder)) == 6, "the stage is planned before its first trial starts"
    assert not any(one.test for one in folder.trials())
    before = [one for one in folder.trials() if one.stage == "search"]

    code, output, errors = command("--resume", "cut", "--no-dashboard", timeout=400)
    assert code == 0, errors
    assert "Final stage: 1 configuration and 2 baselines, 2 seeds each: 6 trials" in output
    assert [one for one in folder.trials() if one.stage == "search"] == before
    check_final(folder, tops=1, seeds=2, epochs=3)
    lines = [json.loads(line) for line in folder.rows_file.read_text().splitlines()]
    assert len({(row["trial"], row["epoch"]) for row in lines}) == len(lines), "an epoch was recorded twice"

    scores = {one.trial: folder.scores_file(one.trial).read_bytes() for one in finals(folder)}
    code, _, errors = command("final", "cut", "--final-seeds", "3", "--no-dashboard", timeout=400)
    assert code == 0, errors
    check_final(folder, tops=1, seeds=3, epochs=3)
    assert all(folder.scores_file(trial).read_bytes() == content for trial, content in scores.items())
    assert folder.read_run()["options"]["final_seeds"] == 3
    code, _, errors = command("--resume", "cut", "--final-seeds", "4")
    assert code == 2
    assert "bts-tune final RUN --final-seeds N" in errors


@pytest.mark.slow
def test_a_run_with_a_final_stage_is_extended(command: Command, space_file: Callable[..., Path]) -> None:
    space = with_final_stage(space_file(epochs=2, search=True), trials=1, final="final: {top: 1, seeds: 1}")
    code, _, errors = command(*command.run_arguments(space, "one", "--concurrent", "1"), timeout=400)
    assert code == 0, errors
    folder = command.record("one")
    check_final(folder, tops=1, seeds=1, epochs=2)
    before = {one.trial: folder.scores_file(one.trial).read_bytes() for one in finals(folder)}

    code, _, errors = command("--extend", "one", "--num-trials", "4", "--no-dashboard", timeout=400)
    assert code == 0, errors
    run = folder.read_run()
    assert (run["status"], run["options"]["num_trials"]) == ("complete", 5)
    trials = folder.trials()
    searched = [one for one in trials if one.stage == "search"]
    assert len([one for one in searched if not one.baseline]) == 5
    # Whichever is best of all five has its final trial now; what was trained before is neither lost nor done again.
    (best,) = [one.trial for one in configurations_to_repeat(searched, 1) if not one.baseline]
    assert {one.origin for one in finals(folder)} >= {best, "plain", "frozen"}
    assert all(one.status == "complete" and len(one.rows) == 2 for one in finals(folder))
    assert len({one.config["seed"] for one in finals(folder)}) == 1
    assert before.keys() <= {one.trial for one in finals(folder)}
    assert all(folder.scores_file(trial).read_bytes() == content for trial, content in before.items())


@pytest.mark.slow
def test_a_search_that_ran_out_of_time_still_has_its_final_stage(
    command: Command, space_file: Callable[..., Path]
) -> None:
    space = with_final_stage(space_file(epochs=2, search=True), trials=500, final="final: {top: 1, seeds: 1}")
    arguments = command.run_arguments(space, "late", "--concurrent", "1", "--time-budget", "20s")
    code, _, errors = command(*arguments, timeout=500)
    assert code == 0, errors
    folder = command.record("late")
    ended = [one for one in folder.trials() if "the time budget of the search was spent" in one.reason]
    assert ended
    assert all(one.status == "stopped" for one in ended)
    check_final(folder, tops=1, seeds=1, epochs=2)
    events = folder.trials_file.read_bytes()
    code, _, errors = command("--resume", "late", "--no-dashboard")
    assert code == 0, errors
    assert folder.trials_file.read_bytes() == events, "the search was taken up again"


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_an_older_run_gets_a_final_stage(command: Command, space_file: Callable[..., Path], finished: bool) -> None:
    space = with_final_stage(space_file(epochs=2, search=True), trials=2, final="final: {top: 0}")
    process = command.start(*command.run_arguments(space, "old", "--concurrent", "1"))
    if not finished:
        wait_for_rows(command.folder / "results" / "old", 5, process)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == (0 if finished else 130), errors
    folder = command.record("old")
    cut_off = [one.trial for one in folder.trials() if one.stage == "search" and one.status not in FINISHED]
    # As a version without a final stage left it.
    run = folder.read_run()
    del run["space"]["search"]["final"], run["options"]["final_top"], run["options"]["final_seeds"]
    folder.write_run(run)
    if finished:
        assert command("--resume", "old", "--no-dashboard")[0] == 0
        assert not finals(folder), "a run goes on as it began"
    searched = {one.trial for one in folder.trials() if one.test}
    code, _, errors = command("final", "old", "--final-seeds", "1", "--no-dashboard", timeout=400)
    assert code == 0, errors
    tested = {one.trial for one in folder.trials() if one.test and one.stage == "search"}
    assert tested == searched, "a search-stage trial was scored on the test split"
    assert folder.read_run()["options"]["final_top"] == 2
    assert {one.status for one in finals(folder)} == {"complete"}
    assert all(one.test for one in finals(folder))
    trials = {one.trial: one for one in folder.trials()}
    assert all("the search was closed" in trials[trial].reason for trial in cut_off)


def test_a_search_that_was_closed_stays_closed_though_it_was_once_extended() -> None:
    assert search_was_extended({"extensions": [{}]})
    assert not search_was_extended({"extensions": [{}], "extensions_closed": 1})
    assert search_was_extended({"extensions": [{}, {}], "extensions_closed": 1})
    assert not search_was_extended({})
