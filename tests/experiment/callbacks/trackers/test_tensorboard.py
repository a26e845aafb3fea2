from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.api_pb2 import Status
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import masked_crc32c

from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.testing.trackers import TrackerContract, row


def events(path: Path) -> list[Event]:
    """Read an event file: records of length, checksum, content, checksum."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        content = data[at + 12 : at + 12 + length]
        checksum = int.from_bytes(data[at + 12 + length : at + 16 + length], "little")
        assert checksum == masked_crc32c(content)
        found.append(Event.FromString(content))
        at += length + 16
    return found


def values(folder: Path, trial: str) -> list[tuple[int, Any]]:
    """Return what was written of a trial in order, each with its step."""
    files = sorted((folder / "tensorboard" / trial).glob("events.out.tfevents.*"))
    return [(event.step, value) for file in files for event in events(file) for value in event.summary.value]


def scalars(folder: Path, trial: str) -> list[tuple[str, int, float]]:
    return [
        (value.tag, step, value.simple_value) for step, value in values(folder, trial) if value.HasField("simple_value")
    ]


def texts(folder: Path, trial: str) -> list[tuple[int, str]]:
    return [
        (step, value.tensor.string_val[0].decode())
        for step, value in values(folder, trial)
        if value.metadata.plugin_data.plugin_name == "text"
    ]


def sessions(folder: Path, trial: str) -> list[HParamsPluginData]:
    return [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for _, value in values(folder, trial)
        if value.metadata.plugin_data.plugin_name == "hparams"
    ]


class TestTensorBoard(TrackerContract):
    name = "tensorboard"

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]]:
        return [(step, value) for tag, step, value in scalars(folder, trial) if tag == "val_dice_loss"]

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "tensorboard").write_text("a file where the folder of the logs should be")

    def test_every_number_of_an_epoch_is_a_scalar_and_what_is_none_is_left_out(self, folder: Path) -> None:
        self.play(self.make(), folder, trials=["a"], last=1)
        assert scalars(folder, "a") == [
            ("train_loss", 1, 1.0),
            ("val_dice_loss", 1, pytest.approx(0.9)),
            ("val_iou", 1, 0.5),
            ("best_val_dice_loss", 1, pytest.approx(0.9)),
            ("best_epoch", 1, 1.0),
            ("learning_rate", 1, pytest.approx(1e-3)),
            ("seconds", 1, 1.5),
        ]

    def test_a_file_begins_as_tensorboard_wants_it(self, folder: Path) -> None:
        self.play(self.make(), folder, trials=["a"], last=1)
        (file,) = (folder / "tensorboard" / "a").iterdir()
        assert events(file)[0].file_version == "brain.Event:2"

    def test_the_configuration_and_the_end_of_a_trial_are_there(self, folder: Path) -> None:
        tracker = self.make()
        tracker.start_run(folder, {})
        for trial, status, reason in (("a", "stopped", "behind the other trials"), ("b", "oom", "")):
            tracker.start_trial(trial, {"decoder": "unet", "epochs": 4, "freeze": None, "stages": [1, 2]}, 0)
            if trial == "a":
                tracker.log_epoch(trial, row(trial, 1))
            tracker.end_trial(trial, status, reason)
        begin, end = sessions(folder, "a")
        shown = begin.session_start_info.hparams
        assert {name: shown[name].WhichOneof("kind") for name in shown} == {
            "decoder": "string_value",
            "epochs": "number_value",
            "stages": "string_value",
        }
        assert (shown["decoder"].string_value, shown["epochs"].number_value) == ("unet", 4.0)
        assert end.session_end_info.status == Status.Value("STATUS_SUCCESS")
        assert texts(folder, "a") == [(1, "stopped: behind the other trials")]
        assert sessions(folder, "b")[-1].session_end_info.status == Status.Value("STATUS_FAILURE")
        assert texts(folder, "b") == [(0, "oom")]

    def test_a_trial_that_is_interrupted_has_no_end_before_it_has_gone_on(self, folder: Path) -> None:
        for resumed, status in ((0, "interrupted"), (3, "complete")):
            tracker = self.make()
            tracker.start_run(folder, {})
            tracker.start_trial("a", {"epochs": 4}, resumed)
            tracker.end_trial("a", status, "")
        assert [data.WhichOneof("data") for data in sessions(folder, "a")] == [
            "session_start_info",
            "session_start_info",
            "session_end_info",
        ]
        assert texts(folder, "a") == [(0, "interrupted"), (3, "complete")]

    def test_it_says_where_the_logs_are(self, folder: Path) -> None:
        tracker = self.make()
        tracker.start_run(folder, {})
        assert tracker.location() == f"TensorBoard logs: {folder / 'tensorboard'}"


def test_the_process_of_a_run_does_not_import_torch_for_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from bts_tune.experiment.callbacks.trackers.tensorboard import TensorBoard\n"
        "tracker = TensorBoard(); tracker.start_run(Path(sys.argv[1]), {})\n"
        "tracker.start_trial('a', {'decoder': 'unet', 'learning_rate': 0.1}, 0)\n"
        "tracker.log_epoch('a', {'epoch': 1, 'val_iou': 0.5}); tracker.end_trial('a', 'complete', '')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert scalars(tmp_path, "a") == [("val_iou", 1, 0.5)]
