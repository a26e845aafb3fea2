from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.planning.plan import PlannedTrial, from_record
from bts_tune.metrics.base import objective
from bts_tune.results.ranking.leaderboard import ranking
from bts_tune.results.record.run_folder import RunFolder, TrialStatus
from tests.experiment.builders import planned, result


class Silent:
    def planned(self, trial: PlannedTrial) -> None: ...
    def started(self, trial: str) -> None: ...
    def lost(self, trial: str, first: int, last: int, reason: str) -> None: ...
    def row(self, trial: str, row: Mapping[str, Any]) -> None: ...
    def retried(self, trial: str, reason: str) -> None: ...
    def ended(self, trial: str, status: TrialStatus, reason: str) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"run": "run"})


def run_trial(folder: RunFolder, recorder: Recorder, trial: PlannedTrial, values: list[float], status: str) -> None:
    recorder.add(trial, known=False)
    recorder.started(trial.trial)
    model = folder.model_folder(trial.trial)
    model.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "model.json", "last.pt"):
        (model / name).write_text("x")
    for epoch, value in enumerate(values, start=1):
        recorder.row(trial.trial, result(epoch, value))
    recorder.ended(trial.trial, status)  # type: ignore[arg-type]


def test_the_record_holds_what_happened(folder: RunFolder) -> None:
    with Recorder(folder, Silent(), clock=lambda: 7.0) as recorder:
        run_trial(folder, recorder, planned("a", baseline=True), [0.5, 0.4], "complete")
    (record,) = folder.trials()
    assert record.status == "complete"
    assert record.started["started"] == 7.0
    assert [row["val_dice_loss"] for row in record.rows] == [0.5, 0.4]


def test_rows_that_a_trial_reports_again_are_not_written_again(folder: RunFolder) -> None:
    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        recorder.add(planned("a"), known=False)
        recorder.started("a")
        for epoch in (1, 2, 1, 2, 3):
            recorder.row("a", result(epoch, 0.5))
        recorder.ended("a", "complete")
    assert folder.rows_file.read_bytes().count(b"\n") == 3


def test_epochs_that_a_checkpoint_has_lost_are_recorded_again_and_told(folder: RunFolder) -> None:
    told = []

    class Telling(Silent):
        def lost(self, trial: str, first: int, last: int, reason: str) -> None:
            told.append((trial, first, last, reason))

    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        recorder.add(planned("a"), known=False)
        recorder.started("a")
        recorder.opened("a", {"kept_epochs": 0})
        for epoch in (1, 2, 3):
            recorder.row("a", result(epoch, 0.5))
    with Recorder(folder, Telling(), clock=lambda: 0.0) as recorder:
        recorder.add(from_record(folder.trials()[0]), known=True)
        recorder.started("a")
        recorder.opened("a", {"kept_epochs": 1, "lost": "its checkpoint is broken"})
        for epoch in (1, 2, 3):
            recorder.row("a", result(epoch, 0.4))
        recorder.ended("a", "complete")
    assert told == [("a", 2, 3, "its checkpoint is broken")]
    assert [row["val_dice_loss"] for row in folder.trials()[0].rows] == [0.5, 0.4, 0.4]


def test_what_still_runs_when_the_run_ends_is_interrupted_and_keeps_its_state(folder: RunFolder) -> None:
    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        recorder.add(planned("a"), known=False)
        recorder.started("a")
        state = folder.model_folder("a") / "last.pt"
        state.parent.mkdir(parents=True)
        state.write_text("x")
    assert folder.trials()[0].status == "interrupted"
    assert state.is_file()


def test_only_models_worth_keeping_stay(folder: RunFolder) -> None:
    def kept() -> set[str]:
        return {path.name for path in (folder.path / "models").iterdir()}

    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        run_trial(folder, recorder, planned("baseline", baseline=True), [0.6], "complete")
        run_trial(folder, recorder, planned("s1", index=1), [0.5], "complete")
        run_trial(folder, recorder, planned("stopped", index=2), [0.1], "stopped")
        run_trial(folder, recorder, planned("diverged", index=3), [0.1], "diverged")
        assert kept() == {"baseline", "s1"}
        run_trial(folder, recorder, planned("worse", index=4), [0.55], "complete")
        assert kept() == {"baseline", "s1"}
    with Recorder(folder, Silent(), clock=lambda: 0.0) as resumed:
        run_trial(folder, resumed, planned("better", index=5), [0.4], "complete")
    assert kept() == {"baseline", "better"}
    assert not list((folder.path / "models").rglob("last.pt"))


def test_of_equals_by_the_objective_the_one_that_is_ranked_first_stays(tmp_path: Path) -> None:
    rate = objective("empty-false-positive-rate")
    folder = RunFolder.create(tmp_path / "run", {"run": "run", "objective": rate.to_dict()})
    with Recorder(folder, Silent(), objective=rate, clock=lambda: 0.0) as recorder:
        for index, (name, dice_loss) in enumerate((("a", 0.6), ("b", 0.2), ("c", 0.4))):
            one = planned(name, index=index, objective="empty-false-positive-rate", learning_rate=0.1 / (index + 1))
            recorder.add(one, known=False)
            recorder.started(name)
            folder.model_folder(name).mkdir(parents=True)
            recorder.row(name, {**result(1, dice_loss), "val_empty_false_positive_rate": 0.0})
            recorder.ended(name, "complete")
    assert ranking(folder.trials())[0].trial == "b"
    assert [path.name for path in (folder.path / "models").iterdir()] == ["b"]


def test_all_seeds_of_a_configuration_stay_until_they_are_measured(folder: RunFolder) -> None:
    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        seeds = [replace(planned(f"a-seed{seed}", index=seed), name="a") for seed in range(3)]
        for one in seeds:
            recorder.add(one, known=False)
        for one, value in zip(seeds, (0.5, 0.4, 0.6), strict=True):
            run_trial(folder, recorder, one, [value], "complete")
    assert {path.name for path in (folder.path / "models").iterdir()} == {"a-seed0", "a-seed1", "a-seed2"}


def test_a_trial_that_is_tried_again_keeps_its_state_and_says_why(folder: RunFolder) -> None:
    with Recorder(folder, Silent(), clock=lambda: 0.0) as recorder:
        recorder.add(planned("a"), known=False)
        recorder.started("a")
        recorder.row("a", result(1, 0.5))
        state = folder.model_folder("a") / "last.pt"
        state.parent.mkdir(parents=True)
        state.write_text("x")
        recorder.retried("a", "its process was killed")
        assert state.is_file()
        recorder.started("a")
        for epoch in (1, 2):
            recorder.row("a", result(epoch, 0.5))
        recorder.ended("a", "complete")
    (record,) = folder.trials()
    assert (record.status, record.retries) == ("complete", ["its process was killed"])
    assert [row["epoch"] for row in record.rows] == [1, 2]
    assert folder.rows_file.read_bytes().count(b"\n") == 2
