"""Weights & Biases: each trial a run, and the runs of one run of bts-tune a group of the project `bts-tune`.

Nothing leaves the machine: it works offline, and `wandb sync` sends what is in `wandb/` of the run's folder. Whoever
sets `WANDB_MODE=online` asks for more. `WANDB_PROJECT` and `WANDB_ENTITY` are listened to.
"""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.experiment.callbacks.trackers._service import ServiceTracker, artifacts_of, by_artifact, without_secrets
from bts_tune.experiment.callbacks.trackers.base import GOOD_ENDS, TRACKERS

_SETTINGS = {"WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true"}
_FLUSH = "x_transaction_log_flush_interval"


@TRACKERS.register("wandb")
class WandB(ServiceTracker):
    """Sends configurations and the numbers of epochs; `epoch` is the axis of every chart."""

    package, variable = "wandb", "WANDB_BASE_URL"

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Any] = {}

    def location(self) -> str:
        """Return the project, or the command that sends what is kept here."""
        if self._mode == "online":
            return f"Weights & Biases: project {self._project}, group {self._group}"
        return f"Weights & Biases, {self._mode}: wandb sync {shlex.quote(str(self.folder / 'wandb'))}/offline-run-*"

    def address(self) -> str:
        """Return the server and its project, or that nothing has left the run's folder."""
        if self._mode != "online":
            return self._mode
        server, entity = without_secrets(self.server or ""), os.environ.get("WANDB_ENTITY", "")
        return "/".join(filter(None, [server, entity, self._project]))

    @property
    def _mode(self) -> str:
        return os.environ.get("WANDB_MODE", "offline")

    @property
    def _project(self) -> str:
        return os.environ.get("WANDB_PROJECT", "bts-tune")

    @property
    def _group(self) -> str:
        return str(self.run.get("run", self.folder.name))

    def connect(self) -> None:
        """Nothing is reached before a run is opened."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)

    def open(self, trial: str, config: Mapping[str, Any], identifier: str | None) -> str:
        """Begin a run, or go on with one of the same identifier."""
        import wandb

        if trial not in self._runs:
            quiet: dict[str, Any] = {"silent": True, "console": "off", "x_disable_stats": True, "x_disable_meta": True}
            if _FLUSH in wandb.Settings.model_fields:  # earlier versions have no choice
                quiet[_FLUSH] = 0.5  # what a kill of all processes may cost; it would be 15 s of epochs
            run = wandb.init(
                project=self._project,
                group=self._group,
                name=trial or self._group,
                job_type="trial" if trial else "run",
                id=identifier or uuid.uuid4().hex[:12],
                resume="allow",
                mode=self._mode,
                dir=str(self.folder),
                config=dict(config),
                reinit="create_new",  # several trials at a time
                settings=wandb.Settings(**quiet),
            )
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")  # an epoch may be trained twice; steps of W&B never go back
            self._runs[trial] = run
        return str(self._runs[trial].id)

    def log(self, trial: str, identifier: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers of epochs."""
        for row in rows:
            when = {"_timestamp": row["time"]} if row.get("time") is not None else {}  # W&B would take the present
            self._runs[trial].log({**self.numbers(row), "epoch": row["epoch"], **when})

    def close(self, trial: str, identifier: str, status: str, reason: str) -> None:
        """Send how a run ended."""
        run = self._runs[trial]
        run.summary.update({"status": status, "reason": reason})
        run.finish(exit_code=0 if status in GOOD_ENDS else 1)
        del self._runs[trial]

    def portions(self, files: Sequence[tuple[Path, str]]) -> list[list[tuple[Path, str]]]:
        """Return the files of each artifact."""
        return by_artifact(files)

    def attach(self, identifier: str, files: Sequence[tuple[Path, str]]) -> None:
        """Send the report, and the best model, as an artifact each."""
        import wandb

        run = next(run for run in self._runs.values() if run.id == identifier)
        for kind, chosen in artifacts_of(files).items():
            artifact = wandb.Artifact(f"{self._group}-{kind}", type=kind)
            for file, name in chosen:
                artifact.add_file(str(file), name=name)
            run.log_artifact(artifact)
