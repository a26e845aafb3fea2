"""What the callback makes of what Ray Tune tells it; runs of the whole command show it inside of Tune."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import ActorDiedError
from ray.tune.experiment import Trial
from ray.tune.utils import flatten_dict

from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.trials.faults import BrokenProcessError
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.execution.trials.retries import RetryPolicy
from bts_tune.experiment.execution.trials.tune_callback import StopTuning, TuneCallback, UnwritableRecord
from bts_tune.experiment.planning.plan import Plan
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.results.record.run_folder import RunFolder
from tests.experiment.builders import planned, result


class Run:
    """A run of one trial, `a`, as far as Tune's callback sees it."""

    def __init__(self, path: Path, **changed: Any) -> None:
        self.folder = RunFolder.create(path / "run", {"run": "run"})
        self.recorder = Recorder(self.folder, clock=lambda: 0.0)
        self.recorder.__enter__()
        trial = planned("a")
        self.recorder.add(trial, known=False)
        plan = Plan((trial,), (), 0, 0)
        self.searcher = PlanSearcher(plan, None, lambda trial: {"trial": trial.trial}, lambda trial: None)
        self.requested, self.lost = threading.Event(), threading.Event()
        self.callback = TuneCallback(
            self.recorder,
            self.searcher,
            None,
            RetryPolicy(1),
            self.requested,
            changed.get("deadline"),
            None,
            self.lost,
            changed.get("nodes"),
        )
        self.attempts = 0
        self._errors = path

    def start(self) -> Any:
        """Begin an attempt at the trial."""
        self.attempts += 1
        identifier = f"ray-{self.attempts}"
        config = self.searcher.suggest(identifier)
        assert isinstance(config, dict)
        trial = SimpleNamespace(
            trial_id=identifier,
            config=config,
            last_result={},
            metric_analysis=defaultdict(dict, val_iou={"max": 1.0}),
            metric_n_steps=defaultdict(dict),
            run_metadata=SimpleNamespace(invalidate_cache=lambda: None, last_result={}),
            evaluated_params={},
            set_experiment_tag=lambda tag: None,
            pickled_error_file=None,
            error_file=None,
        )
        self.callback.on_trial_start(0, [], trial)
        return trial

    def report(self, trial: Any, epoch: int, outcome: str = "running", **more: Any) -> None:
        """Report an epoch."""
        trial.last_result = {**result(epoch, 0.5), "outcome": outcome, **more}
        self.callback.on_trial_result(0, [], trial, trial.last_result)

    def fail(self, trial: Any, error: Exception) -> None:
        """End an attempt with an error."""
        path = self._errors / f"{trial.trial_id}.pkl"
        path.write_bytes(cloudpickle.dumps(error))
        trial.pickled_error_file = str(path)
        self.callback.on_trial_error(0, [], trial)


@pytest.mark.parametrize(("epochs", "words"), [(1, "1 epoch"), (2, "2 epochs")])
def test_a_trial_that_the_scheduler_stops_has_a_reason(tmp_path: Path, epochs: int, words: str) -> None:
    run = Run(tmp_path)
    run.callback._scheduler = SimpleNamespace(reason=lambda name: "behind the other trials")  # type: ignore[assignment]
    trial = run.start()
    for epoch in range(1, epochs + 1):
        run.report(trial, epoch)
    run.callback.on_trial_complete(0, [], trial)
    (record,) = run.folder.trials()
    assert (record.status, record.reason) == ("stopped", f"behind the other trials after {words}")


@pytest.mark.parametrize("why", ["interrupted", "out-of-time", "lost"])
def test_the_loop_is_left_when_the_run_has_to_end(tmp_path: Path, why: str) -> None:
    run = Run(tmp_path, deadline=time.monotonic() + (0 if why == "out-of-time" else 3600))
    if why == "interrupted":
        run.requested.set()
    elif why == "lost":
        run.lost.set()
    with pytest.raises(StopTuning) as stopped:
        run.callback.on_step_end(0, [])
    assert stopped.value.outcome == why


def test_nothing_ends_a_run_without_a_reason(tmp_path: Path) -> None:
    Run(tmp_path, deadline=time.monotonic() + 3600).callback.on_step_end(0, [])


def test_epochs_and_the_end_are_recorded(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trial = run.start()
    run.report(trial, 1, opened={"kept_epochs": 0, "device": "cpu"})
    run.report(trial, 2, outcome="complete")
    run.callback.on_trial_complete(0, [], trial)
    (record,) = run.folder.trials()
    assert (record.status, len(record.rows), record.started["device"]) == ("complete", 2, "cpu")


def test_of_an_ended_trial_tune_keeps_next_to_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    suggested = run.searcher.suggest("ray-1")
    assert isinstance(suggested, dict)
    config = {**suggested, "attempt": 1, "protected": True, "config": {f"field {number}": 0.5 for number in range(50)}}
    tag = str(config)
    trial = Trial("trial", stub=True, config=config, evaluated_params=flatten_dict(config), experiment_tag=tag)
    run.callback.on_trial_start(0, [], trial)
    for epoch, outcome in ((1, "running"), (2, "complete")):
        reported = {**result(epoch, 0.5), "outcome": outcome, "opened": {"kept_epochs": 0} if epoch == 1 else {}}
        run.callback.on_trial_result(0, [], trial, reported)
        trial.update_last_result({**reported, "trial_id": "ray-1"})
    before = len(cloudpickle.dumps(trial))
    run.callback.on_trial_complete(0, [], trial)
    assert run.folder.trials()[0].status == "complete"
    assert trial.config == {"trial": "a", "attempt": 1, "protected": True}
    assert trial.last_result == {"trial_id": trial.trial_id, "done": True}
    assert not trial.evaluated_params
    assert len(cloudpickle.dumps(trial)) < before / 2


def test_a_process_that_dies_is_retried_and_then_failed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(2):
        run.fail(run.start(), ActorDiedError())
    (record,) = run.folder.trials()
    assert record.status == "failed"
    assert len(record.retries) == 1
    assert record.reason.endswith("(2 attempts)")


class TakenBack(NodeWatch):
    """Nodes that are all taken back."""

    def __init__(self) -> None:
        pass

    def name(self, node: str) -> str:
        return f"host of {node}"

    def is_taken_back(self, node: str) -> bool:
        return node == "a1b2"

    def update(self, running: int, silence: str = "") -> None:
        pass


def test_a_trial_on_a_node_that_is_taken_back_goes_on_elsewhere_uncharged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr("ray.kill", killed.append)
    run = Run(tmp_path, nodes=TakenBack())
    for epoch in range(1, 4):  # more often than the policy allows a trial to die
        trial = run.start()
        trial.temporary_state = SimpleNamespace(ray_actor=f"actor {epoch}")
        run.report(trial, epoch, opened={"kept_epochs": epoch - 1, "node_id": "a1b2"})
        assert len(killed) == epoch - 1
        run.callback.on_step_end(0, [])
        assert killed[-1] == f"actor {epoch}"
        run.fail(trial, ActorDiedError())
    last = run.start()
    run.report(last, 4, outcome="complete", opened={"kept_epochs": 3, "node_id": "c3d4"})
    run.callback.on_trial_complete(0, [], last)
    run.callback.on_step_end(0, [])
    assert len(killed) == 3
    (record,) = run.folder.trials()
    assert record.status == "complete"
    assert record.retries == ["its node was taken back"] * 3
    assert '"node": "host of a1b2"' in run.folder.trials_file.read_text()


def test_an_error_that_would_come_again_is_not_retried(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.fail(run.start(), BrokenProcessError("ValueError: no inverse"))
    (record,) = run.folder.trials()
    assert (record.status, record.reason, record.retries) == ("failed", "ValueError: no inverse", [])


def test_a_trial_that_cannot_write_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trial = run.start()
    with pytest.raises(UnwritableRecord, match="No space left"):
        run.report(trial, 1, outcome="unwritable", reason="OSError: No space left on device")


def test_a_record_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path)
    trial = run.start()
    run.folder.rows_file.mkdir()
    with pytest.raises(UnwritableRecord, match=r"rows\.jsonl: Is a directory"):
        run.report(trial, 1)
