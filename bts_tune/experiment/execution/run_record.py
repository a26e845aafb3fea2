"""How a run gets its folder, and what its `run.json` says when it begins or goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.planning.changes import changed_run_error, code_hash, device_changes
from bts_tune.experiment.planning.environment import hardware, versions
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.plugins import loaded_plugins
from bts_tune.results.record.run_folder import RunExistsError, RunFolder


@dataclass(frozen=True)
class NewRun:
    """A run that has not begun.

    Attributes:
        path: where its folder will be.
        record: the content of its `run.json`, but for its name.
        fill: writes what else the folder holds from the beginning.
        named: whether the user has chosen the name; another one is taken otherwise, where somebody else has it.
    """

    path: Path
    record: dict[str, Any]
    fill: Callable[[RunFolder], None]
    named: bool

    def create_folder(self) -> RunFolder:
        """Make the folder.

        Raises:
            RunError: its name is taken, or it cannot be written.
        """
        path = self.path
        while True:
            try:
                return RunFolder.create(path, {"run": path.name, **self.record}, self.fill)
            except RunExistsError:
                if self.named:
                    raise
                path = free_path(self.path)


@dataclass(frozen=True)
class ResumedRun:
    """What the `run.json` of a run that goes on is to say besides.

    Attributes:
        changed: what is not as it was when the run began, a clause each.
        allow_changed: whether the run goes on in spite of that.
        extended_by: how many trials are added to the search.
        dataset, weights: as they are now.
        retry_failed: whether trials that failed are run again.
    """

    changed: list[str]
    allow_changed: bool
    extended_by: int | None
    dataset: dict[str, Any]
    weights: list[dict[str, Any]]
    retry_failed: bool = False


def free_path(path: Path) -> Path:
    """Return `path`, or what follows it by number where something is there already."""
    number, free = 2, path
    while os.path.lexists(free):
        number, free = number + 1, path.with_name(f"{path.name}_{number}")
    return free


def record_start(
    folder: RunFolder, options: RunOptions, resources: TrialResources | None, resumed: ResumedRun | None
) -> None:
    """Record that the run goes on from here, on what, and with what changed.

    Args:
        folder: the run.
        options: how it is carried out.
        resources: of each trial; None where there is nothing to compute.
        resumed: of a run that goes on.

    Raises:
        RunError: trials would run on another kind of device than before.
    """
    run = folder.read_run()
    updates: dict[str, Any] = {"status": "running", "ended": None, "reason": None}
    other_device = []
    if resources is not None:
        updates["device"] = _device(resources)
        other_device = device_changes(run, updates["device"])
    if resumed is not None:
        changed = resumed.changed + other_device
        if changed and not resumed.allow_changed:
            raise changed_run_error(folder, changed)
        updates |= {"options": options.to_dict(), "dataset": resumed.dataset}
        if changed:
            updates["changes"] = [*run.get("changes", []), {"time": now(), "changed": changed}]
            # What is there now is what the next resume is compared with; `changes` tells what was there before.
            updates |= {"versions": versions(), "code": code_hash(), "weights": resumed.weights}
            updates["plugins"] = [plugin.describe() for plugin in loaded_plugins()]
        if resumed.extended_by is not None:
            extension = {"time": now(), "trials": resumed.extended_by}
            updates["extensions"] = [*run.get("extensions", []), extension]
    folder.update_run(**updates)


def _device(resources: TrialResources) -> str:
    gpus = sorted({gpu["name"] for gpu in hardware()["gpus"]}) if resources.device == "cuda" else []
    return f"{resources.device} ({', '.join(gpus)})" if gpus else resources.device


def now() -> str:
    """Return the time as `run.json` has it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
