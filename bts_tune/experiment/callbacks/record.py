"""Keeps the record of a run as its trials go on: events, rows and the models worth keeping."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bts_tune.experiment.planning.plan import PlannedTrial, from_record
from bts_tune.results.record.model_files import LAST
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import RunFolder, TrialStatus
from bts_tune.training.row import Row

_COLUMNS = frozenset(field.name for field in dataclasses.fields(Row))


def row_columns(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the record keeps of a trial's report: an epoch's losses and metrics, and what they were made with."""
    return {name: value for name, value in result.items() if name in _COLUMNS or name.startswith(("val_", "best_val_"))}


class Observer(Protocol):
    """Is told how the trials of a run go, after it is recorded."""

    def planned(self, trial: PlannedTrial) -> None:
        """A trial will be run."""

    def started(self, trial: str) -> None:
        """A trial begins."""

    def lost(self, trial: str, first: int, last: int, reason: str) -> None:
        """Epochs `first` to `last` of a trial are recorded but have to be trained again."""

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch that was not on record."""

    def retried(self, trial: str, reason: str) -> None:
        """An attempt at a trial failed, and another one follows."""

    def ended(self, trial: str, status: TrialStatus, reason: str) -> None:
        """A trial ended."""


class Models(Protocol):
    """Where a run keeps its models, if that is not in its folder."""

    def drop(self, trial: str, *names: str) -> None:
        """Remove files of a trial, or all of them."""


class Recorder:
    """The one writer of a run's record. Use as a context manager; the caller holds the run's lock.

    A trial that is taken up again reports its earlier rows first; those that the record holds are not written twice.
    """

    def __init__(
        self,
        folder: RunFolder,
        *observers: Observer,
        objective: Objective = DICE_LOSS,
        clock: Callable[[], float],
        elsewhere: Models | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._folder, self._observers, self._clock = folder, observers, clock
        self._objective = objective
        self._trials: dict[str, PlannedTrial] = {}
        self._recorded: dict[str, int] = {}
        self._running: set[str] = set()
        self._seeds: Counter[str] = Counter()
        self._keys: dict[str, tuple[float, float, float]] = {}  # of each trial's best epoch: what ranks it
        self._best: tuple[tuple[float, float, float], str, str] | None = None

    def __enter__(self) -> Recorder:
        records = self._folder.trials()
        for record in records:
            self._remember(from_record(record))
        for record in records:
            if record.full_budget and record.best_row is not None:
                self._enter(record.trial, record.best_row)
                self._find_beaten(record.trial)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            if kind is not None:  # on a full disk, which ended the run, nothing of this can be written
                stack.enter_context(contextlib.suppress(OSError))
            for trial in sorted(self._running):
                self.ended(trial, "interrupted", "the run ended before the trial did")

    def add(self, trial: PlannedTrial, *, known: bool) -> None:
        """Add a trial that will be run; one that the record does not know yet is recorded as planned."""
        if not known:
            self._folder.append_event("planned", trial.trial, **trial.event())
        self._remember(trial)
        self._recorded[trial.trial] = trial.recorded
        for observer in self._observers:
            observer.planned(trial)

    def _remember(self, trial: PlannedTrial) -> None:
        if trial.trial not in self._trials:
            self._seeds[trial.name] += trial.stage == "search"
        self._trials[trial.trial] = trial

    def started(self, trial: str) -> None:
        """A trial's process begins."""
        self._folder.append_event("started", trial, started=self._clock())
        self._running.add(trial)
        self._keys.pop(trial, None)  # it reports its earlier epochs again
        for observer in self._observers:
            observer.started(trial)

    def opened(self, trial: str, details: Mapping[str, Any]) -> None:
        """A trial's model is built, from the `kept_epochs` of its checkpoint.

        Where those are fewer than the record has, the epochs after them are trained again, and recorded again: the
        later row of an epoch counts.
        """
        self._folder.append_event("opened", trial, **details)
        kept, recorded = details["kept_epochs"], self._recorded[trial]
        if kept < recorded:
            self._recorded[trial] = kept
            for observer in self._observers:
                observer.lost(trial, kept + 1, recorded, details.get("lost") or "its checkpoint is missing or older")

    def row(self, trial: str, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        row = {"trial": trial, **row_columns(result)}
        self._enter(trial, row)
        if row["epoch"] > self._recorded[trial]:
            self._folder.append_row({**row, "time": self._clock()})
            self._recorded[trial] = row["epoch"]
            for observer in self._observers:
                observer.row(trial, row)

    def retried(self, trial: str, reason: str, node: str = "") -> None:
        """An attempt at a trial failed on a node, and another one follows; the trial keeps its state."""
        self._folder.append_event("retried", trial, reason=reason, **({"node": node} if node else {}))
        for observer in self._observers:
            observer.retried(trial, reason)

    def ended(self, trial: str, status: TrialStatus, reason: str = "", node: str = "") -> None:
        """A trial ended on a node."""
        self._folder.append_event("ended", trial, status=status, reason=reason, **({"node": node} if node else {}))
        self._running.discard(trial)
        self._tidy(trial, status)
        for observer in self._observers:
            observer.ended(trial, status, reason)

    def _enter(self, trial: str, row: Mapping[str, Any]) -> None:
        """Keep by what the best epoch of a trial ranks it; the earliest of equals, as `TrialRecord.best_row`."""
        key = self._objective.rank_of(row)
        if trial not in self._keys or key[0] < self._keys[trial][0]:
            self._keys[trial] = key

    def _tidy(self, trial: str, status: TrialStatus) -> None:
        """Drop what no resume and no reader needs: the state of an ended trial, the weights of one that is beaten."""
        if status == "interrupted":
            return
        with contextlib.suppress(FileNotFoundError):
            (self._folder.model_folder(trial) / LAST).unlink()
        if self._elsewhere is not None:
            self._elsewhere.drop(trial, LAST)
        if status == "complete" and trial in self._keys:
            beaten = self._find_beaten(trial)
            if beaten is not None:
                self._drop_model(beaten)
        else:
            self._drop_model(trial)
        self._keys.pop(trial, None)

    def _drop_model(self, trial: str) -> None:
        shutil.rmtree(self._folder.model_folder(trial), ignore_errors=True)
        if self._elsewhere is not None:
            self._elsewhere.drop(trial)

    def _find_beaten(self, trial: str) -> str | None:
        """Compare a full-budget trial with the best so far; return the one whose weights nobody needs any more.

        Of the configurations with one seed the best one is kept, by what `results.ranking` ranks them. All trainings of
        one with several seeds are kept until they are evaluated, since only their mean tells whether it wins; so are
        baselines, folds and the final stage.
        """
        planned = self._trials[trial]
        if planned.stage == "final" or planned.fold is not None or self._seeds[planned.name] > 1:
            return None
        held, key = self._best, (self._keys[trial], planned.name, trial)
        if held is not None and held < key:
            beaten = trial
        else:
            self._best = key
            if held is None:
                return None
            beaten = held[-1]
        return None if self._trials[beaten].baseline else beaten
