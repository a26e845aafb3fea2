"""Which models are measured at the end of a run, and whose weights stay."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bts_tune.config import PreprocessingPart
from bts_tune.experiment.execution.evaluation import (
    _drop_others,
    _finite,
    _kept,
    _measured,
    _variants,
    ensemble_members,
    left_to_measure,
    models_that_lack,
)
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.testing.runs import make_final, make_search, write_run


def with_models(path: Path, trials: list[TrialRecord]) -> RunFolder:
    folder = write_run(path, trials)
    for record in trials:
        model = folder.model_folder(record.trial)
        model.mkdir(parents=True, exist_ok=True)
        (model / "model.json").write_text("{}")
    return folder


def test_of_a_final_stage_all_are_measured_and_the_best_seeds_stay(tmp_path: Path) -> None:
    search = make_search()
    trials = search + make_final(search)
    folder = with_models(tmp_path / "run", trials)
    measured, kept = _measured(trials), _kept(folder, trials)
    assert {record.stage for record in measured} == {"final"}
    assert len(measured) == sum(record.stage == "final" and record.full_budget for record in trials)
    assert len({record.name for record in kept}) == len(kept)
    assert {record.trial for record in kept} < {record.trial for record in measured}


def test_of_a_search_alone_the_best_and_the_baselines_are_measured(tmp_path: Path) -> None:
    trials = make_search()
    folder = with_models(tmp_path / "run", trials)
    measured = _measured(trials)
    assert {record.name for record in trials if record.baseline} <= {record.name for record in measured}
    assert sum(not record.baseline for record in measured) <= 1
    assert _kept(folder, trials) == measured


@pytest.mark.parametrize("count", [0, 2])
def test_other_weights_are_dropped(tmp_path: Path, count: int) -> None:
    trials = make_search()
    folder = with_models(tmp_path / "run", trials)
    kept = trials[:count]
    _drop_others(folder, kept)
    assert {path.name for path in (folder.path / "models").iterdir()} == {record.trial for record in kept}


def test_an_ensemble_keeps_every_training_of_the_winner(tmp_path: Path) -> None:
    trials = make_final(make_search(epochs=3), top=1, seeds=3)
    folder = with_models(tmp_path / "run", trials)
    winner = configurations(trials)[0]
    names = {record.trial for record in winner.trials}
    assert len(names) == 3
    assert len(names & {record.trial for record in _kept(folder, trials)}) == 1
    members = ensemble_members(trials)
    assert names <= {record.trial for record in _kept(folder, trials, members)}
    found = _variants(folder, trials, members, RunOptions(space="x", tta=True, ensemble=True))
    joint = [one for one in found if one.name.startswith("ensemble")]
    assert [one.name for one in joint] == ["ensemble", "ensemble-tta"]
    assert {record.trial for record in joint[0].members} == names
    assert {one.trial for one in found if one.name == "tta"} == {record.trial for record in trials}
    assert _variants(folder, trials, [], RunOptions(space="x")) == []


def test_an_ensemble_is_measured_anew_with_more_trainings_but_not_with_fewer(tmp_path: Path) -> None:
    trials = make_final(make_search(epochs=3), top=1, seeds=3)
    folder = with_models(tmp_path / "run", trials)
    options = RunOptions(space="x", ensemble=True)
    first, *others = ensemble_members(trials)
    names = [record.trial for record in (first, *others)]

    def waiting() -> list[list[str]]:
        left = left_to_measure(folder, options)
        found = _variants(folder, left.measured, left.members, options)
        return [[record.trial for record in one.members] for one in found]

    def record_with(members: list[str]) -> None:
        metrics = {"test_dice_loss": 0.2}
        folder.append_event("variant", first.trial, variant="ensemble", metrics=metrics, seconds=1.0, members=members)

    record_with(names[:2])
    assert waiting() == [names]
    record_with(names)
    assert waiting() == []
    shutil.rmtree(folder.model_folder(names[-1]))
    assert waiting() == []
    left = left_to_measure(folder, options)
    assert [record.trial for record in left.lost] == names[-1:]
    assert names[-1] not in [record.trial for record in left.waiting]


def test_an_ensemble_of_several_configurations_sees_images_prepared_alike() -> None:
    trials = make_final(make_search(epochs=3), top=2, seeds=2)
    best, second, *_ = configurations(trials)
    alike = {name: best.best.config[name] for name in PreprocessingPart.model_fields}

    def members(**changes: Any) -> set[str]:
        fields = {**alike, **changes}
        changed = [
            replace(record, config={**record.config, **fields}) if record in second.trials else record
            for record in trials
        ]
        return {record.trial for record in ensemble_members(changed, 2)}

    assert members() == {record.trial for one in (best, second) for record in one.trials}
    assert members(image_size=2 * alike["image_size"]) == {record.trial for record in best.trials}


def test_a_model_that_should_be_there_and_is_not_is_named(tmp_path: Path) -> None:
    trials = make_search()
    folder = write_run(tmp_path / "run", trials)
    wanted = [record.trial for record in _measured(trials)]
    assert sorted(models_that_lack(folder)) == sorted(wanted)
    for trial in wanted:
        save_model(folder.model_folder(trial))
    assert models_that_lack(folder) == []
    with (folder.model_folder(wanted[0]) / "model.safetensors").open("ab") as file:
        file.write(b"?")
    assert models_that_lack(folder) == [wanted[0]]


def save_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "model.json").write_text(json.dumps({"sha256": hashlib.sha256(b"weights").hexdigest()}))


def test_a_metric_that_is_no_finite_number_is_left_empty_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"test_dice_loss": 0.5, "test_mine": float("nan"), "test_other": float("inf"), "test_empty": None}
    found = _finite(metrics, "unet-b0-s0", Console(width=200))
    assert capsys.readouterr().out == "unet-b0-s0: not a finite number, so left empty: test_mine, test_other.\n"
    folder = write_run(tmp_path / "run", make_search(epochs=3))
    trial = folder.trials()[0].trial
    folder.append_event("evaluated", trial, metrics=found)
    expected = {"test_dice_loss": 0.5, "test_mine": None, "test_other": None, "test_empty": None}
    assert next(one.test for one in folder.trials() if one.trial == trial) == expected
