"""Hands a plan to Ray Tune and waits until it is done, interrupted or out of time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.experiment.actor import SpentProcessError, TrialActor
from bts_tune.experiment.cluster import Share
from bts_tune.experiment.plan import Plan, PlannedTrial
from bts_tune.experiment.recorder import Recorder
from bts_tune.experiment.scheduler import METRIC, SparingASHA
from bts_tune.experiment.searcher import PlanSearcher
from bts_tune.space import ResolvedSearch
from bts_tune.store import RunFolder, TrialRecord
from bts_tune.training.weights import EncoderWeights

Outcome = Literal["complete", "interrupted", "out-of-time"]


class _StopTuning(BaseException):
    """Leaves Ray Tune's loop at once; not an `Exception`, which Tune would answer by waiting for its trials."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome: Outcome = outcome


@dataclass(frozen=True)
class Materials:
    """What trials are made from, found before the first one starts.

    Attributes:
        prepared: the folder of the prepared dataset for each preprocessing and fold (None without folds).
        weights: the encoder weights for each (encoder, encoder_weights).
    """

    prepared: Mapping[tuple[PreprocessingPart, int | None], str]
    weights: Mapping[tuple[str, str], EncoderWeights]

    def prepared_for(self, config: TrialConfig, fold: int | None) -> str:
        """Return the folder of the data that a trial is trained and validated on."""
        return self.prepared[config.part(PreprocessingPart), fold]


def tune_trials(
    folder: RunFolder,
    plan: Plan,
    search: ResolvedSearch | None,
    materials: Materials,
    share: Share,
    recorder: Recorder,
    *,
    time_budget: float | None,
    earlier: Sequence[TrialRecord] = (),
) -> Outcome:
    """Run every trial of the plan; a connected cluster and the run's lock are the caller's.

    Trials of a search are stopped early, baselines are not; without a search all run to their full budget in order.

    Args:
        time_budget: seconds after which the run ends, whatever is still running.
        earlier: trials of an earlier run, for the searcher alone.
    """

    def describe(trial: PlannedTrial) -> dict[str, Any]:
        config = trial.config
        return {
            "trial": trial.trial,
            "spared": search is None or trial.baseline,
            "config": config.to_dict(),
            "prepared": materials.prepared_for(config, trial.fold),
            "weights": materials.weights[config.encoder, config.encoder_weights].to_dict(),
            "folder": str(folder.model_folder(trial.trial).resolve()),
            "device": share.device,
            "threads": share.cpus,
            "gpus": share.gpus,
        }

    for trial in plan.fixed:
        recorder.expect(trial, known=True)
    searcher = PlanSearcher(plan, search, describe, lambda trial: recorder.expect(trial, known=False), earlier)
    scheduler: Any = FIFOScheduler()
    if search is not None:
        scheduler = SparingASHA(
            epochs=search.epochs, grace_period=search.grace_period, reduction_factor=search.reduction_factor
        )
        for record in plan.finished:
            scheduler.replay(record.trial, record.rows)
        recorded = {record.trial: record.rows for record in folder.trials()}
        for trial in plan.fixed:
            scheduler.replay(trial.trial, recorded[trial.trial])
    deadline = None if time_budget is None else time.monotonic() + time_budget
    with _signals() as requested:
        tuner = tune.Tuner(
            TrialActor,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=plan.trials,
                max_concurrent_trials=share.concurrent,
                reuse_actors=True,
                trial_name_creator=_own_name,
                trial_dirname_creator=_own_name,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
                storage_path=str((folder.path / "ray").resolve()),
                verbose=0,
                # The trial keeps its own checkpoints in the run folder, which outlive Ray's state.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[_Bridge(recorder, requested, deadline)],
            ),
        )
        try:
            tuner.fit()
        except _StopTuning as stop:
            return stop.outcome
    return "complete"


def _own_name(trial: Any) -> str:
    return str(trial.config["trial"])


class _Bridge(tune.Callback):
    """Tells the recorder what Tune tells its callbacks, and leaves Tune's loop when it is time to."""

    def __init__(self, recorder: Recorder, requested: threading.Event, deadline: float | None) -> None:
        self._recorder, self._requested, self._deadline = recorder, requested, deadline

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for the tuner's own pickle, which nothing reads

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._requested.is_set():
            raise _StopTuning("interrupted")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise _StopTuning("out-of-time")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._recorder.started(trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = trial.config["trial"]
        if result.get("opened"):
            self._recorder.opened(name, result["opened"])
        if result["outcome"] in ("running", "complete"):
            self._recorder.row(name, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        name, outcome = trial.config["trial"], result["outcome"]
        if outcome == "running":
            reason = f"behind the other trials after {result['epoch']} epochs"
            self._recorder.ended(name, "stopped", reason)
        else:
            best = result[METRIC] if outcome == "complete" else None
            self._recorder.ended(name, outcome, result.get("reason", ""), best)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # Where Tune has just put it; `get_error` reads its text, from where Tune may put it later.
        error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()) if trial.pickled_error_file else None
        cause = getattr(error, "cause", error)  # Ray wraps what a process raised
        if isinstance(cause, SpentProcessError):
            reason = str(cause)
        else:
            last = str(error).strip().splitlines()[-1:] if error is not None else []
            reason = f"its process died: {last[0] if last else 'unknown'}"
        self._recorder.ended(trial.config["trial"], "failed", reason)

    def get_state(self) -> dict[str, Any] | None:
        """Keep nothing in Ray's own state: the record is the run's."""
        return None


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; the second ends the process as it would without this."""
    requested = threading.Event()
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request(_number: int, _frame: object) -> None:
        requested.set()
        restore()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield requested
    finally:
        restore()
