"""What a tracker is: it is told how the trials of a run go, and sends that to one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bts_tune.registry import TRACKERS

__all__ = ["GOOD_ENDS", "OPEN_ENDS", "TRACKERS", "Tracker"]

GOOD_ENDS, OPEN_ENDS = ("complete", "stopped", "out-of-time"), ("interrupted",)
"""Ends of trials and runs that are no fault, and those of what may go on."""


class Tracker(ABC):
    """Sends the progress of a run to one place, such as TensorBoard, MLflow or Weights & Biases.

    One instance serves one invocation of a run. Its methods are called in the driver process, never two at a time, in
    this order:

        start_run                                  once
            start_trial, log_epoch …, end_trial    for each trial; several trials go on at a time
        end_run                                    once
        report_written                             once, where the run leaves a report

    A trial whose process died and that is retried is not started again. A run that goes on after a crash or Ctrl-C is a
    new invocation: `start_trial` says how many epochs of the trial are on record, and only newer ones follow. Where a
    checkpoint was lost, epochs are trained again and logged again; the later one counts.

    `__init__` takes no arguments and is called before anything is trained; what it raises refuses the run, so this is
    the place to look for a package or an address. What any other method raises never stops the run: it is printed as
    one warning, and the tracker is left out for the rest of the run. Trials do not wait for a tracker, but the driver
    does: a method should return quickly.

    Attributes:
        name: the name that it is registered under; set by the registry.
        warn: prints a warning; the run sets it. For a tracker that goes on after something went wrong.
    """

    name: ClassVar[str]
    warn: Callable[[str], None] = print

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> None:  # noqa: B027 (optional)
        """A run begins or goes on.

        Args:
            folder: the run's folder, where a tracker may make a folder of its own name.
            run: the content of `run.json`: the run's name, command, dataset, space, options, versions, …
        """

    def location(self) -> str:
        """Return a line that says where people find what is logged; asked for once, after `start_run`."""
        return ""

    def start_trial(self, trial: str, config: Mapping[str, Any], resumed_epochs: int) -> None:  # noqa: B027 (optional)
        """A trial begins or goes on.

        Args:
            trial: its identifier, unique in the run and safe as a file name.
            config: the fields of its `TrialConfig`, seed included.
            resumed_epochs: how many of its epochs an earlier invocation has logged.
        """

    @abstractmethod
    def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch.

        Args:
            trial: its identifier.
            row: a row of `rows.jsonl`: `epoch` (from 1), losses, metrics, seconds, … A metric that is not defined on
                the data is None.
        """

    def end_trial(self, trial: str, status: str, reason: str) -> None:  # noqa: B027 (optional)
        """A trial ended.

        Args:
            trial: its identifier.
            status: complete, stopped, diverged, oom, failed or interrupted.
            reason: one sentence where there is something to say, else empty.
        """

    def end_run(self, status: str) -> None:  # noqa: B027 (optional)
        """The run ended: complete, interrupted, out-of-time or failed; every trial has ended before."""

    def report_written(self, folder: Path) -> None:  # noqa: B027 (optional)
        """The report, its tables and the models that are kept are in the run's folder."""
