"""TensorBoard: a folder of event files for each trial, below `tensorboard/` in the run's folder."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bts_tune.experiment.callbacks.trackers.base import GOOD_ENDS, OPEN_ENDS, TRACKERS, Tracker

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.summary_pb2 import Summary


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Writes every number of an epoch as a scalar, with the epoch as its step.

    The page HParams has the configurations, the page Text how each trial ended.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._writers: dict[str, EventsWriter] = {}
        self._epochs: dict[str, int] = {}

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> None:
        """Remember where to write."""
        self._folder = folder / "tensorboard"
        with _without_torch():
            import tensorboardX  # noqa: F401

    def location(self) -> str:
        """Return the folder."""
        return f"TensorBoard logs: {self._folder}"

    def start_trial(self, trial: str, config: Mapping[str, Any], resumed_epochs: int) -> None:
        """Write the configuration."""
        from tensorboardX.summary import hparams

        self._epochs[trial] = resumed_epochs
        shown = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in config.items()
            if value is not None
        }
        _, configuration, _ = hparams(shown, {})
        self._write(trial, configuration)
        self._writers[trial].flush()

    def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch."""
        from tensorboardX.summary import scalar

        self._epochs[trial] = row["epoch"]
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("epoch", "time"):
                self._write(trial, scalar(name, value))
        self._writers[trial].flush()

    def end_trial(self, trial: str, status: str, reason: str) -> None:
        """Write how the trial ended, and close its file."""
        from tensorboardX.summary import text

        self._write(trial, text("status", f"{status}: {reason}" if reason else status))
        if status not in OPEN_ENDS:  # TensorBoard keeps the first that it reads, and this trial goes on
            self._write(trial, _end(good=status in GOOD_ENDS))
        self._writers.pop(trial).close()

    def _write(self, trial: str, summary: Summary) -> None:
        """Write one thing of a trial; the first makes its file."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if trial not in self._writers:
            folder = self._folder / trial
            folder.mkdir(parents=True, exist_ok=True)
            # A file is named by the second. A run that goes on at once must not write over what it logged before.
            earlier = len(list(folder.iterdir()))
            # Not `SummaryWriter`: it writes in a thread, and once that has failed, as on a full disk, it waits forever.
            self._writers[trial] = EventsWriter(str(folder / "events"), f".{earlier}" if earlier else "")
        self._writers[trial].write_event(Event(wall_time=time.time(), step=self._epochs.get(trial, 0), summary=summary))


def _end(*, good: bool) -> Summary:
    """Return what tells the page HParams that a trial has ended, and whether it is of use."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    end = SessionEndInfo(status=Status.Value("STATUS_SUCCESS" if good else "STATUS_FAILURE"))
    content = HParamsPluginData(session_end_info=end, version=0).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    value = Summary.Value(tag="_hparams_/session_end_info", metadata=SummaryMetadata(plugin_data=plugin))
    return Summary(value=[value])


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let imports do without torch, as where it is not installed, unless it is loaded already.

    tensorboardX imports it to know its tensors, of which none are logged here. The process of a run has no other use
    for it while trials train.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]
