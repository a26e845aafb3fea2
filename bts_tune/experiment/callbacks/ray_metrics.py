"""Figures of a run for Prometheus and Grafana, through Ray's own metrics: every node exports them beside Ray's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import FINISHED, STATUSES, TrialStatus

GAUGES = {
    "bts_tune_best": "best value of the run's objective so far",
    "bts_tune_epochs": "epochs on record",
    "bts_tune_trials": "trials by status",
    "bts_tune_images_per_second": "images a second that the running trials train together",
}
"""What is exported, without the `ray_` that Ray puts before each name."""


class RayMetrics:
    """An `Observer` of the record, while Ray is connected.

    Args:
        run: the run's name, by which each figure is marked.
        objective: of the run.
        trials: what is on record already.
    """

    def __init__(self, run: str, objective: Objective, trials: Sequence[TrialRecord] = ()) -> None:
        from ray.util.metrics import Gauge

        tags = {"bts_tune_best": ("run", "metric"), "bts_tune_trials": ("run", "status")}
        self._gauges = {
            name: Gauge(name, description=text, tag_keys=tags.get(name, ("run",))).set_default_tags({"run": run})
            for name, text in GAUGES.items()
        }
        self._objective = objective
        self._status: dict[str, TrialStatus] = {
            record.trial: record.status if record.status in FINISHED else "waiting" for record in trials
        }
        self._speed: dict[str, float] = {}
        self._epochs = sum(len(record.rows) for record in trials)
        rows = [record.best_row for record in trials if record.best_row is not None]
        self._best = min((self._value(row) for row in rows), key=objective.cost, default=None)
        self._export()

    def planned(self, trial: PlannedTrial) -> None:
        """A trial will be run."""
        self._status[trial.trial] = "waiting"
        self._export()

    def started(self, trial: str) -> None:
        """A trial begins."""
        self._status[trial] = "running"
        self._export()

    def lost(self, trial: str, first: int, last: int, reason: str) -> None:
        """Epochs that are recorded have to be trained again."""
        self._epochs -= last - first + 1
        self._export()

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        self._epochs += 1
        self._speed[trial] = row["images_per_second"]
        value = self._value(row)
        if self._best is None or self._objective.cost(value) < self._objective.cost(self._best):
            self._best = value
        self._export()

    def retried(self, trial: str, reason: str) -> None:
        """An attempt at a trial failed, and another one follows."""
        self._ended(trial, "waiting")

    def ended(self, trial: str, status: TrialStatus, reason: str) -> None:
        """A trial ended."""
        self._ended(trial, status)

    def _ended(self, trial: str, status: TrialStatus) -> None:
        self._status[trial] = status
        self._speed.pop(trial, None)
        self._export()

    def _value(self, row: Mapping[str, Any]) -> float:
        return float(self._objective.value(row))

    def _export(self) -> None:
        self._gauges["bts_tune_epochs"].set(self._epochs)
        self._gauges["bts_tune_images_per_second"].set(sum(self._speed.values()))
        counts = Counter(self._status.values())
        for status in STATUSES:
            self._gauges["bts_tune_trials"].set(counts[status], tags={"status": status})
        if self._best is not None:
            self._gauges["bts_tune_best"].set(self._best, tags={"metric": self._objective.title})
