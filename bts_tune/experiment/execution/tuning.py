"""Hands a plan to Ray Tune and waits until it is done, interrupted or out of time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler

from bts_tune.errors import RunStoppedError
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.cluster import Share, cores_of_largest_node
from bts_tune.experiment.execution.retries import Attempts, Fault, fault_of, is_unwritable
from bts_tune.experiment.execution.signals import ending_signals, restore, terminal_closed
from bts_tune.experiment.execution.trainable import SpentProcessError, TrialActor
from bts_tune.experiment.planning.materials import Materials
from bts_tune.experiment.planning.options import DEFAULT_MAX_FAILURES
from bts_tune.experiment.planning.plan import Plan, PlannedTrial
from bts_tune.experiment.search.scheduler import METRIC, SparingASHA
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.plugins import plugins_to_restore
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.space import ResolvedSearch
from bts_tune.text import first_line

Outcome = Literal["complete", "interrupted", "out-of-time", "lost"]


class _StopTuning(BaseException):
    """Leaves Ray Tune's loop at once; not an `Exception`, which Tune would answer by waiting for its trials."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome: Outcome = outcome


class _Unwritable(BaseException):
    """Leaves Ray Tune's loop because nothing more can be written; the message says why."""


def tune_trials(
    folder: RunFolder,
    plan: Plan,
    search: ResolvedSearch | None,
    materials: Materials,
    share: Share,
    recorder: Recorder,
    *,
    time_budget: float | None,
    max_failures: int = DEFAULT_MAX_FAILURES,
    trial_timeout: float | None = None,
    cluster_lost: threading.Event | None = None,
    earlier: Sequence[TrialRecord] = (),
) -> Outcome:
    """Run every trial of the plan; a connected cluster and the run's lock are the caller's.

    Trials of a search are stopped early, baselines are not; without a search all run to their full budget in order.

    Args:
        time_budget: seconds after which the run ends, whatever is still running.
        max_failures: how often a trial is tried again after its process died or hung.
        trial_timeout: seconds without a new epoch after which a trial counts as hung; the first epoch includes
            building the model.
        cluster_lost: set when the cluster's head is gone.
        earlier: trials of an earlier run, for the searcher alone.

    Raises:
        RunStoppedError: nothing more can be written, or the cluster is gone; what was recorded is intact.
    """
    attempts = Attempts(max_failures)
    plugins = plugins_to_restore()

    def describe(trial: PlannedTrial) -> dict[str, Any]:
        config = trial.config
        alone = attempts.alone(trial.trial)
        return {
            "trial": trial.trial,
            "attempt": attempts.number(trial.trial) + 1,
            "spared": search is None or trial.baseline,
            "config": config.to_dict(),
            "plugins": plugins,
            "prepared": materials.prepared_for(config, trial.fold),
            "weights": materials.weights[config.encoder, config.encoder_weights].to_dict(),
            "folder": str(folder.model_folder(trial.trial).resolve()),
            "device": share.device,
            "threads": share.cpus,
            "cpus": cores_of_largest_node() if alone and not share.gpus else share.cpus,
            "gpus": max(1.0, share.gpus) if alone and share.gpus else share.gpus,
        }

    for trial in plan.fixed:
        recorder.expect(trial, known=True)
    searcher = PlanSearcher(plan, search, describe, lambda trial: recorder.expect(trial, known=False), earlier)
    scheduler = None
    if search is not None:
        scheduler = SparingASHA(
            epochs=search.epochs,
            grace_period=search.grace_period,
            reduction_factor=search.reduction_factor,
            outlook_after=search.outlook_after,
        )
        for record in plan.finished:
            scheduler.replay(record.trial, record.rows)
        recorded = {record.trial: record.rows for record in folder.trials()}
        for trial in plan.fixed:
            # The last epoch is decided on when the trial reports it again: a process may have been killed between
            # recording it and ending the trial there.
            scheduler.replay(trial.trial, recorded[trial.trial][:-1])
    deadline = None if time_budget is None else time.monotonic() + time_budget
    with _signals() as requested:
        tuner = tune.Tuner(
            TrialActor,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FIFOScheduler() if scheduler is None else scheduler,
                num_samples=-1,  # the searcher knows when there is no more, which depends on what is tried again
                max_concurrent_trials=share.concurrent,
                reuse_actors=True,
                trial_name_creator=_own_name,
                trial_dirname_creator=_name_of_attempt,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
                storage_path=str((folder.path / "ray").resolve()),
                verbose=0,
                # The trial keeps its own checkpoints in the run folder, which outlive Ray's state.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[
                    _Bridge(recorder, searcher, scheduler, attempts, requested, deadline, trial_timeout, cluster_lost)
                ],
            ),
        )
        try:
            tuner.fit()
        except _StopTuning as stop:
            return stop.outcome
        except _Unwritable as error:
            raise _unwritable(folder, str(error)) from None
        except Exception as error:
            if is_unwritable(error):  # Ray's own state lies in the run folder too
                raise _unwritable(folder, first_line(error)) from None
            if isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
                raise RunStoppedError(
                    f"{folder}: the run was stopped: the cluster's memory monitor ended a trial's process, which Ray "
                    "Tune cannot go on after; start the cluster with RAY_memory_monitor_refresh_ms=0, or run fewer "
                    f"trials at a time. What was recorded is intact; go on with: {folder.resume_command}"
                ) from None
            raise
        # A signal may have come after the last step.
        return "interrupted" if requested.is_set() else "complete"


def _unwritable(folder: RunFolder, reason: str) -> RunStoppedError:
    return RunStoppedError(
        f"{folder}: the run was stopped, because it cannot write any more ({reason.rstrip('.')}); what it recorded is "
        f"intact. Make room, then go on with: {folder.resume_command}"
    )


def _error_of(trial: Any) -> Exception:
    """Return what Tune has just written; `Trial.get_error` reads from where it may put it later."""
    if trial.pickled_error_file is not None:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    # A process that ended before it could begin: Tune keeps the text alone.
    return RuntimeError(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))


def _own_name(trial: Any) -> str:
    return str(trial.config["trial"])


def _name_of_attempt(trial: Any) -> str:
    return f"{trial.config['trial']}-attempt-{trial.config['attempt']}"


class _Bridge(tune.Callback):
    """Tells the recorder what Tune tells its callbacks, and leaves Tune's loop when it is time to."""

    def __init__(
        self,
        recorder: Recorder,
        searcher: PlanSearcher,
        scheduler: SparingASHA | None,
        attempts: Attempts,
        requested: threading.Event,
        deadline: float | None,
        trial_timeout: float | None,
        cluster_lost: threading.Event | None,
    ) -> None:
        self._recorder, self._searcher, self._scheduler, self._attempts = recorder, searcher, scheduler, attempts
        self._requested, self._deadline, self._cluster_lost = requested, deadline, cluster_lost
        self._timeout = trial_timeout
        self._since: dict[str, tuple[Any, float]] = {}
        self._hung: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for the tuner's own pickle, which nothing reads

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._requested.is_set():
            raise _StopTuning("interrupted")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise _StopTuning("out-of-time")
        if self._cluster_lost is not None and self._cluster_lost.is_set():
            raise _StopTuning("lost")
        if self._timeout is not None:
            self._end_hung(self._timeout)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._since[trial.trial_id] = (trial, time.monotonic())
        with _writing():
            self._recorder.started(trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = trial.config["trial"]
        self._since[trial.trial_id] = (trial, time.monotonic())
        if result["outcome"] == "unwritable":
            raise _Unwritable(result["reason"])
        with _writing():
            if result.get("opened"):
                self._recorder.opened(name, result["opened"])
            if result["outcome"] in ("running", "complete"):
                self._recorder.row(name, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        name, outcome = trial.config["trial"], result["outcome"]
        self._since.pop(trial.trial_id, None)
        _forget_statistics(trial)
        with _writing():
            if outcome == "running":
                assert self._scheduler is not None  # nothing else stops a trial
                self._recorder.ended(name, "stopped", f"{self._scheduler.reason(name)} after {result['epoch']} epochs")
            else:
                best = result[METRIC] if outcome == "complete" else None
                self._recorder.ended(name, outcome, result.get("reason", ""), best)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._since.pop(trial.trial_id, None)
        _forget_statistics(trial)
        if trial.trial_id in self._hung:
            fault = Fault("hung", f"no epoch within {self._timeout:g} s")
        else:
            error = _error_of(trial)
            cause = getattr(error, "cause", error)  # Ray wraps what a process raised
            fault = Fault(cause.kind, str(cause)) if isinstance(cause, SpentProcessError) else fault_of(error)
        with _writing():
            self._fault(trial, fault)

    def _fault(self, trial: Any, fault: Fault) -> None:
        name = trial.config["trial"]
        if self._attempts.again(name, fault):
            self._recorder.retried(name, fault.reason)
            self._searcher.try_again(trial.trial_id)
            return
        attempts = self._attempts.number(name)
        reason = fault.reason + (f" ({attempts} attempts)" if attempts > 1 else "")
        self._recorder.ended(name, "oom" if fault.kind == "oom" else "failed", reason)
        self._searcher.give_up(trial.trial_id)

    def _end_hung(self, timeout: float) -> None:
        """End the process of every trial that has been silent for too long; its death comes back as an error."""
        now = time.monotonic()
        for identifier, (trial, since) in list(self._since.items()):
            if now - since > timeout:
                self._hung.add(identifier)
                del self._since[identifier]
                ray.kill(trial.temporary_state.ray_actor)

    def get_state(self) -> dict[str, Any] | None:
        """Keep nothing in Ray's own state: the record is the run's."""
        return None


def _forget_statistics(trial: Any) -> None:
    """Drop what Tune gathers of every number that a trial reports.

    Nothing here reads it, and kept to the end of the run it is nine tenths of what the driver's memory grows by with
    each trial.
    """
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()
    trial.run_metadata.invalidate_cache()


@contextmanager
def _writing() -> Iterator[None]:
    """Leave Ray Tune's loop where the record cannot be written; Tune would take it for the trial's own error."""
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise _Unwritable(f"{named}{error.strerror or error}") from error


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Yield an event that the first signal to end sets; the second ends the process as it would without this."""
    requested = threading.Event()
    previous: dict[int, Any] = {}

    def request(number: int, _frame: object) -> None:
        requested.set()
        if number == signal.SIGHUP:
            terminal_closed()
        restore(previous)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *ending_signals()):
            previous[number] = signal.signal(number, request)
    try:
        yield requested
    finally:
        restore(previous)
