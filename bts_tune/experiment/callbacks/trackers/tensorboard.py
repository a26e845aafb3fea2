"""TensorBoard: one event file a trial, below `tensorboard/` in the run's folder."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Writes every number of an epoch as a scalar, with the epoch as its step."""

    def __init__(self) -> None:
        self._folder = Path()
        self._writers: dict[str, EventsWriter] = {}

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> None:
        """Remember where to write."""
        self._folder = folder / "tensorboard"

    def location(self) -> str:
        """Return the folder."""
        return f"TensorBoard logs: {self._folder}"

    def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch; a trial's first epoch makes its file."""
        with _without_torch():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.summary import scalar

        if trial not in self._writers:
            folder = self._folder / trial
            folder.mkdir(parents=True, exist_ok=True)
            # A file is named by the second. A run that goes on at once must not write over what it logged before.
            earlier = len(list(folder.iterdir()))
            # Not `SummaryWriter`: it writes in a thread, and once that has failed, as on a full disk, it waits forever.
            self._writers[trial] = EventsWriter(str(folder / "events"), f".{earlier}" if earlier else "")
        writer = self._writers[trial]
        for name, value in row.items():
            if isinstance(value, int | float) and name != "epoch":
                writer.write_event(Event(wall_time=time.time(), step=row["epoch"], summary=scalar(name, value)))
        writer.flush()

    def end_trial(self, trial: str, status: str, reason: str) -> None:
        """Close the trial's file."""
        writer = self._writers.pop(trial, None)
        if writer is not None:
            writer.close()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let imports do without torch, as where it is not installed, unless it is loaded already.

    tensorboardX imports it to know its tensors, of which none are logged here; the process of a run needs it no sooner
    than its last evaluation.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]
