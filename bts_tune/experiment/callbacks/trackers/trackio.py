"""Trackio: each trial a run of a project that is named like the run of bts-tune; `trackio show` shows them.

Everything stays where trackio keeps it on this machine, unless `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL` asks for
more.
"""

from __future__ import annotations

import contextvars
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.experiment.callbacks.trackers._service import ServiceTracker, artifacts_of, by_artifact, without_secrets
from bts_tune.experiment.callbacks.trackers.base import GOOD_ENDS, OPEN_ENDS, TRACKERS


@TRACKERS.register("trackio")
class Trackio(ServiceTracker):
    """Sends configurations and the numbers of epochs, with the epoch as their step."""

    package, variable = "trackio", "TRACKIO_SERVER_URL"

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Any] = {}

    def location(self) -> str:
        """Return the command that shows the project."""
        return f"Trackio: trackio show --project {self._project}"

    def address(self) -> str:
        """Return the server or Space that was asked for; empty for this machine."""
        return without_secrets(self.server or os.environ.get("TRACKIO_SPACE_ID") or "")

    @property
    def _project(self) -> str:
        return re.sub(r"[^\w-]", "-", str(self.run.get("run", self.folder.name)))

    def connect(self) -> None:
        """Nothing is reached before a run is opened; what trackio prints of itself is left out."""
        import trackio

        for module in (trackio, trackio.run, trackio.utils):
            vars(module)["print"] = lambda *_, **__: None

    def open(self, trial: str, config: Mapping[str, Any], identifier: str | None) -> str:
        """Begin a run, or go on with the one of the same name."""
        import trackio

        name = identifier or trial or "report"
        if trial not in self._runs:
            # In a context of its own, because it would end the run before it.
            self._runs[trial] = contextvars.Context().run(
                trackio.init,
                self._project,
                name=name,
                config=dict(config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return name

    def log(self, trial: str, identifier: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send the numbers of epochs."""
        for row in rows:
            self._runs[trial].log(self.numbers(row), step=row["epoch"])

    def close(self, trial: str, identifier: str, status: str, reason: str) -> None:
        """Send how a run ended, as a message."""
        from trackio import AlertLevel

        run = self._runs.pop(trial)
        if not self._sent[trial]["epochs"]:
            run.log({}, step=0)  # trackio lists a run, and has its configuration, with what is logged first
        level = AlertLevel.INFO if status in GOOD_ENDS else AlertLevel.WARN if status in OPEN_ENDS else AlertLevel.ERROR
        run.alert(f"{identifier}: {status}", text=reason or None, level=level)
        run.finish()

    def portions(self, files: Sequence[tuple[Path, str]]) -> list[list[tuple[Path, str]]]:
        """Return the files of each artifact."""
        return by_artifact(files)

    def attach(self, identifier: str, files: Sequence[tuple[Path, str]]) -> None:
        """Send the report, and the best model, as an artifact each."""
        import trackio

        run = next(run for trial, run in self._runs.items() if (trial or "report") == identifier)
        for kind, chosen in artifacts_of(files).items():
            artifact = trackio.Artifact(f"{self._project}-{kind}", type=kind)
            for file, name in chosen:
                artifact.add_file(str(file), name=name)
            run.log_artifact(artifact)
