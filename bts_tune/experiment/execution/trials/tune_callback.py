"""The callback of Ray Tune: it keeps the record, retries trials, and leaves Tune's loop when the run has to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import ray
from ray import cloudpickle, tune

from bts_tune.errors import RunStoppedError
from bts_tune.experiment.callbacks.record import Recorder
from bts_tune.experiment.execution.trials.faults import BrokenProcessError
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.execution.trials.retries import Fault, RetryPolicy, fault_of
from bts_tune.experiment.search.scheduler import ASHAWithProtectedTrials
from bts_tune.experiment.search.searcher import PlanSearcher
from bts_tune.text import plural

Outcome = Literal["complete", "interrupted", "out-of-time", "lost"]


_KEPT = {"trial", "attempt", "protected"}
"""What is still asked for of the configuration that Tune gives to a trial, once the trial has ended."""


class StopTuning(BaseException):
    """Leaves Ray Tune's loop at once; not an `Exception`, which Tune would answer by waiting for its trials."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome: Outcome = outcome


class UnwritableRecord(BaseException):
    """Leaves Ray Tune's loop because nothing more can be written; the message says why."""


class NoNodeLeft(BaseException):
    """Leaves Ray Tune's loop because no node can train; the message says why."""


class TuneCallback(tune.Callback):
    """Records what Ray Tune tells its callbacks, retries trials, and leaves Tune's loop when the run has to end.

    Args:
        recorder: keeps the record.
        searcher: is told which trials are retried.
        scheduler: says why it stopped a trial; None without a search.
        retries: decides which trials are retried.
        requested: set when a signal asked for the end.
        deadline: on the monotonic clock, when the run ends.
        trial_timeout: seconds without a new epoch after which a trial counts as hung.
        cluster_lost: set when the cluster's head is gone.
        nodes: of the cluster.
    """

    def __init__(
        self,
        recorder: Recorder,
        searcher: PlanSearcher,
        scheduler: ASHAWithProtectedTrials | None,
        retries: RetryPolicy,
        requested: threading.Event,
        deadline: float | None,
        trial_timeout: float | None,
        cluster_lost: threading.Event | None,
        nodes: NodeWatch | None = None,
    ) -> None:
        self._recorder, self._searcher, self._scheduler, self._retries = recorder, searcher, scheduler, retries
        self._requested, self._deadline, self._cluster_lost = requested, deadline, cluster_lost
        self._timeout, self._nodes = trial_timeout, nodes
        self._since: dict[str, tuple[Any, float]] = {}
        self._hung: set[str] = set()
        self._where: dict[str, str] = {}
        self._moving: dict[str, Any] = {}
        self._moved: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for the tuner's own pickle, which nothing reads

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Leave the loop when the run has to end; end trials that hang."""
        if self._requested.is_set():
            raise StopTuning("interrupted")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise StopTuning("out-of-time")
        if self._cluster_lost is not None and self._cluster_lost.is_set():
            raise StopTuning("lost")
        if self._timeout is not None:
            self._end_hung(self._timeout)
        if self._nodes is not None:
            with _node_left():
                self._nodes.update(running=len(self._since))
        self._move()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record that an attempt at a trial begins."""
        self._since[trial.trial_id] = (trial, time.monotonic())
        with _writing():
            self._recorder.started(trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        name = trial.config["trial"]
        self._since[trial.trial_id] = (trial, time.monotonic())
        if result["outcome"] == "unwritable":
            raise UnwritableRecord(result["reason"])
        with _writing():
            if result.get("opened"):
                self._recorder.opened(name, self._opened(trial, dict(result["opened"])))
            if result["outcome"] in ("running", "complete"):
                self._recorder.row(name, result)
        if result["outcome"] == "running" and self._is_taken_back(trial):
            self._moving[trial.trial_id] = trial

    def _opened(self, trial: Any, details: dict[str, Any]) -> dict[str, Any]:
        """Return what a trial says of how it runs, with its node's name."""
        node = details.pop("node_id", "")
        if self._nodes is not None and node:
            self._where[trial.trial_id] = node
            details["node"] = self._nodes.name(node)
        return details

    def _is_taken_back(self, trial: Any) -> bool:
        return self._nodes is not None and self._nodes.is_taken_back(self._where.get(trial.trial_id, ""))

    def _move(self) -> None:
        """End the processes of trials whose node is taken back, now that their epoch is stored."""
        for identifier, trial in self._moving.items():
            if identifier in self._since:  # it was not stopped after that epoch
                self._moved.add(identifier)
                ray.kill(trial.temporary_state.ray_actor)
        self._moving.clear()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record how a trial ended."""
        result = trial.last_result
        name, outcome = trial.config["trial"], result["outcome"]
        self._since.pop(trial.trial_id, None)
        self._where.pop(trial.trial_id, None)
        _forget(trial)
        with _writing():
            if outcome == "running":
                assert self._scheduler is not None  # nothing else stops a trial
                epochs = plural(result["epoch"], "epoch")
                self._recorder.ended(name, "stopped", f"{self._scheduler.reason(name)} after {epochs}")
            else:
                self._recorder.ended(name, outcome, result.get("reason", ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Retry a trial whose process died, or record that it failed."""
        self._since.pop(trial.trial_id, None)
        _forget(trial)
        cause: BaseException | None = None
        if trial.trial_id in self._hung:
            fault = Fault("hung", f"no epoch within {self._timeout:g} s")
        else:
            error = _error_of(trial)
            cause = getattr(error, "cause", error)  # Ray wraps what a process raised
            fault = Fault(cause.kind, str(cause)) if isinstance(cause, BrokenProcessError) else fault_of(error)
            left = fault.kind == "died" and self._is_taken_back(trial)
            if trial.trial_id in self._moved or left or getattr(error, "preempted", False):
                fault = Fault("taken", "its node was taken back")
        node = self._where.pop(trial.trial_id, "")
        if isinstance(cause, BrokenProcessError):
            node = cause.node or node
        with _writing():
            self._handle_fault(trial, fault, self._nodes.name(node) if node and self._nodes is not None else "")
        if fault.kind == "node" and self._nodes is not None:
            with _node_left():
                self._nodes.leave_out(node, fault.reason)

    def _handle_fault(self, trial: Any, fault: Fault, node: str) -> None:
        name = trial.config["trial"]
        if self._retries.should_retry(name, fault):
            self._recorder.retried(name, fault.reason, node)
            self._searcher.retry(trial.trial_id)
            return
        attempts = self._retries.charged_attempts(name)
        reason = fault.reason + (f" ({attempts} attempts)" if attempts > 1 else "")
        self._recorder.ended(name, "oom" if fault.kind == "oom" else "failed", reason, node=node)
        self._searcher.fail(trial.trial_id)

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


def _forget(trial: Any) -> None:
    """Drop what Tune keeps of a trial that has ended, to the end of the run, though nothing here reads it.

    That is what it gathers of every number that the trial reported, the trial's last result, and its configuration
    three times over: as it is, flattened, and as one line of text. With thousands of trials it is most of what the
    driver's memory grows by.
    """
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()
    trial.run_metadata.last_result = {"trial_id": trial.trial_id, "done": True}
    trial.run_metadata.invalidate_cache()
    trial.evaluated_params.clear()
    trial.set_experiment_tag("")
    for key in set(trial.config) - _KEPT:
        del trial.config[key]


def _error_of(trial: Any) -> Exception:
    """Return what Tune has just written; `Trial.get_error` reads from where it may put it later."""
    if trial.pickled_error_file is not None:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    # A process that ended before it could begin: Tune keeps the text alone.
    return RuntimeError(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))


@contextmanager
def _node_left() -> Iterator[None]:
    """Leave Ray Tune's loop where no node is left; Tune would take it for the trial's own error."""
    try:
        yield
    except RunStoppedError as error:
        raise NoNodeLeft(str(error)) from None


@contextmanager
def _writing() -> Iterator[None]:
    """Leave Ray Tune's loop where the record cannot be written; Tune would take it for the trial's own error."""
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise UnwritableRecord(f"{named}{error.strerror or error}") from error
