"""Sending a run that is there already, or what a service has missed of one, to a tracker."""

from __future__ import annotations

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.callbacks.trackers._service import ServiceTracker
from bts_tune.experiment.callbacks.trackers.base import TRACKERS
from bts_tune.experiment.callbacks.tracking import make_tracker
from bts_tune.results.record.run_folder import RunFolder


def trackers_to_send_to() -> list[str]:
    """Return the names of the trackers that a run can be sent to later, those of plugins too."""
    return [name for name in TRACKERS.names() if issubclass(TRACKERS.get(name), ServiceTracker)]


def send_run(folder: RunFolder, name: str) -> str:
    """Send a service what it lacks of a run: trials, epochs, the report and the best model; return where it is found.

    Raises:
        ConfigError: the tracker cannot be used, or keeps no count of what it has.
        RunError: the service does not answer, or the record cannot be read.
    """
    tracker = make_tracker(name, "--to")
    if not isinstance(tracker, ServiceTracker):
        can = ", ".join(trackers_to_send_to())
        raise ConfigError(f"--to {name}: is told of a run as it goes on, and not later. Allowed: {can}.")
    tracker.warn = lambda text: None  # what goes wrong is raised
    with folder.locked():
        tracker.start_run(folder.path, folder.read_run())
        tracker.end_run(str(folder.read_run().get("status", "")))
        tracker.report_written(folder.path)
    if problem := tracker.missing():
        raise RunError(f"tracker {name!r}: {problem} What was sent stays; the same command sends the rest.")
    return tracker.location()
