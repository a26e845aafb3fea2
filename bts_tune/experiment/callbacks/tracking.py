"""The trackers of a run: which ones, and that none of them can stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bts_tune.errors import BtsTuneError, ConfigError
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.results.record.run_folder import TrialStatus
from bts_tune.text import first_line

DEFAULT = ("tensorboard",)

NONE = "none"
"""The name that stands for no tracker."""


def choose_trackers(option: Sequence[str] | None, space: Sequence[str] | None, source: object = "") -> list[Tracker]:
    """Return the trackers of a run, each once.

    Args:
        option: names that `--tracker` gives; None where the option is not given.
        space: names that the space file gives, for a run without the option; None where the file does not say.
        source: the space file, for the errors' sentences.

    Raises:
        ConfigError: a name is not known, or a tracker cannot be used.
    """
    if option is not None:
        where, names = "--tracker", option
    elif space is not None:
        where, names = f"{source}: trackers", space
    else:
        where, names = "", DEFAULT
    names = list(dict.fromkeys(names))
    if names == [NONE]:
        return []
    if NONE in names:
        raise ConfigError(f"{where}: {NONE!r} cannot go with other trackers, got {', '.join(names)}.")
    return [make_tracker(name, where) for name in names]


def make_tracker(name: str, where: str) -> Tracker:
    """Return a tracker by its name, which `where` gave.

    Raises:
        ConfigError: the name is not known, or the tracker cannot be used.
    """
    if name not in TRACKERS:
        raise ConfigError(f"{where}: unknown tracker {name!r}. Allowed: {', '.join(TRACKERS.names())}, {NONE}.")
    try:
        tracker: Tracker = TRACKERS.get(name)()
    except BtsTuneError as error:
        raise ConfigError(f"tracker {name!r}: {error}") from None
    except Exception as error:
        raise ConfigError(
            f"tracker {name!r}: cannot be used: {type(error).__name__}: {first_line(error).rstrip('.')}."
        ) from None
    return tracker


class Tracking:
    """Tells the trackers of a run how it goes; an `Observer` of its trials.

    A tracker that raises is left out for the rest of the run, with one warning. Every trial that was started is ended
    before the run is.

    Args:
        trackers: the trackers, in the order in which they are told.
        warn: prints a warning.
    """

    def __init__(self, trackers: Sequence[Tracker], warn: Callable[[str], None]) -> None:
        self._trackers, self._warn = list(trackers), warn
        for tracker in self._trackers:
            tracker.warn = warn
        self._planned: dict[str, PlannedTrial] = {}
        self._running: set[str] = set()
        self._started = False

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> list[str]:
        """The run begins or goes on; return a line for each tracker that says where people find what it logs."""
        self._started = True
        self._tell(lambda tracker: tracker.start_run(folder, run))
        locations: list[str] = []
        self._tell(lambda tracker: locations.append(tracker.location()))
        return [location for location in locations if location]

    def planned(self, trial: PlannedTrial) -> None:
        """A trial will be run."""
        self._planned[trial.trial] = trial

    def started(self, trial: str) -> None:
        """A trial, or another attempt at it, begins."""
        if trial not in self._running:
            self._running.add(trial)
            planned = self._planned[trial]
            config = planned.config.to_dict()
            self._tell(lambda tracker: tracker.start_trial(trial, config, planned.recorded))

    def lost(self, trial: str, first: int, last: int, reason: str) -> None:
        """Epochs are trained again; they are logged again."""

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        self._tell(lambda tracker: tracker.log_epoch(trial, row))

    def retried(self, trial: str, reason: str) -> None:
        """An attempt at a trial failed, and another one follows: the trial goes on."""

    def ended(self, trial: str, status: TrialStatus, reason: str) -> None:
        """A trial ended."""
        if trial in self._running:
            self._running.discard(trial)
            self._tell(lambda tracker: tracker.end_trial(trial, status, reason))

    def end_run(self, status: str) -> None:
        """The run ended; does nothing where it had not begun."""
        if self._started:
            self._started = False
            for trial in sorted(self._running):
                self.ended(trial, "interrupted", "the run ended before the trial did")
            self._tell(lambda tracker: tracker.end_run(status))

    def report_written(self, folder: Path) -> None:
        """The run has ended, and its report is in its folder."""
        self._tell(lambda tracker: tracker.report_written(folder))

    def _tell(self, event: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                event(tracker)
            except (Exception, SystemExit) as error:
                self._trackers.remove(tracker)
                self._warn(
                    f"tracker {tracker.name!r} failed and is left out for the rest of the run: "
                    f"{type(error).__name__}: {first_line(error)}"
                )
