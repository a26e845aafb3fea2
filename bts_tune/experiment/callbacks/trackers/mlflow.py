"""MLflow: each trial a run of an experiment named like the run of bts-tune; report and model are in a run above them.

The server is the one that `MLFLOW_TRACKING_URI` names. Without it, everything stays in `mlflow.db` beside the run's
folder: `mlflow ui --backend-store-uri sqlite:///results/mlflow.db` shows it.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.experiment.callbacks.trackers._service import RUN, ServiceTracker, without_secrets
from bts_tune.experiment.callbacks.trackers.base import TRACKERS
from bts_tune.results.storage.sqlite import sqlite_url

_LONGEST_VALUE = 500
_PARAMS, _METRICS = 100, 1000
"""How many the server takes in one request."""

_STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "out-of-time": "FINISHED"}

# A server that does not answer is asked again by the tracker itself; nothing is told to anybody else; and the lines
# of whoever watches a run are not broken by a database's new tables, or by the page of each trial.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_REASON = "bts_tune.reason"


@TRACKERS.register("mlflow")
class MLflow(ServiceTracker):
    """Sends configurations as parameters and the numbers of epochs as metrics, with the epoch as their step."""

    package, variable = "mlflow", "MLFLOW_TRACKING_URI"

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, str] = {}
        self._ended: dict[str, float] = {}

    def location(self) -> str:
        """Return the server, or the command that shows what is kept here."""
        if self.server is None:
            return f"MLflow: mlflow ui --backend-store-uri {shlex.quote(self._own_store)}"
        return f"MLflow: {without_secrets(self.server)}, experiment {self._experiment_name}"

    def problem(self, error: BaseException) -> str:
        """Say of a server that is out of reach no more than that; MLflow's sentence is five lines long."""
        cause = error.__cause__ or error.__context__
        if self.server is None or not isinstance(cause, OSError):  # those of requests are
            return super().problem(error)
        return f"{without_secrets(self.server)} does not answer."

    def address(self) -> str:
        """Return the server, or the database beside the run."""
        return without_secrets(self.server or self._own_store)

    @property
    def _own_store(self) -> str:
        return sqlite_url(self.folder.parent.absolute() / "mlflow.db")

    @property
    def _experiment_name(self) -> str:
        return os.environ.get("MLFLOW_EXPERIMENT_NAME") or str(self.run.get("run", self.folder.name))

    def connect(self) -> None:
        """Find or make the experiment."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient(self.server or self._own_store)
        found = self._client.get_experiment_by_name(self._experiment_name)
        files = None if self.server else (self.folder.parent.absolute() / "mlflow-files").as_uri()
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(self._experiment_name, files)
        )

    def open(self, trial: str, config: Mapping[str, Any], identifier: str | None) -> str:
        """Make a run with the configuration as its parameters, or set one to running again."""
        from mlflow.entities import Param

        if identifier is not None:
            self._client.update_run(identifier, status="RUNNING")
            if _REASON in self._client.get_run(identifier).data.tags:
                self._client.delete_tag(identifier, _REASON)
            return identifier
        if trial not in self._made:
            name = trial or str(self.run.get("run", self.folder.name))
            tags = {"bts_tune.run": str(self.run.get("run", self.folder.name)), "mlflow.source.name": "bts-tune"}
            if trial != RUN:
                tags["mlflow.parentRunId"] = self._sent[RUN]["id"]
            began = self.began(trial)
            started = None if began is None else int(1000 * began)
            made = self._client.create_run(self._experiment, start_time=started, tags=tags, run_name=name)
            self._made[trial] = made.info.run_id
        params = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in config.items()]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._made[trial], params=params[start : start + _PARAMS])
        return self._made[trial]

    def log(self, trial: str, identifier: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers of epochs."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(1000 * (row.get("time") or time.time())), row["epoch"])
            for row in rows
            for name, value in self.numbers(row).items()
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(identifier, metrics=metrics[start : start + _METRICS])
        if rows[-1].get("time") is not None:
            self._ended[identifier] = rows[-1]["time"]

    def close(self, trial: str, identifier: str, status: str, reason: str) -> None:
        """Set how a run ended; MLflow knows fewer words, so that ours is a tag."""
        self._client.set_tag(identifier, "bts_tune.status", status)
        if reason:
            self._client.set_tag(identifier, _REASON, reason)
        # Whenever it is sent: one that nobody saw end has ended with its last epoch.
        ended = self.ended(trial) or self._ended.get(identifier)
        self._client.set_terminated(
            identifier, _STATUS.get(status, "FAILED"), None if ended is None else int(1000 * ended)
        )

    def attach(self, identifier: str, files: Sequence[tuple[Path, str]]) -> None:
        """Send files as artifacts."""
        for file, folder in files:
            self._client.log_artifact(identifier, str(file), folder or None)
