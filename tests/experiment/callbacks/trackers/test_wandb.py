"""Weights & Biases, offline: what it keeps in the run's folder is read again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.callbacks.sending import send_run
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.testing.trackers import RUN, TrackerContract, planned, row
from tests.experiment.callbacks.trackers.services import small_run

pytest.importorskip("wandb", reason="needs the package wandb")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user has it who has set nothing."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def log_of(data: bytes) -> Iterator[bytes]:
    """Yield the entries of a log as LevelDB has them: blocks of 32 KiB, in which an entry may be in parts."""
    at, entry, block = 7, b"", 32 * 1024
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part = data[at + 7 : at + 7 + length]
        entry = part if kind in (1, 2) else entry + part
        at += 7 + length
        if kind in (1, 4):
            yield entry


def records(folder: Path) -> list[tuple[str, list[Any]]]:
    """Return the records of each offline run, oldest first, with the run's name."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        read = [Record.FromString(content) for content in log_of(file.read_bytes())]
        names = {record.run.display_name for record in read if record.WhichOneof("record_type") == "run"}
        assert len(names) == 1, f"{file} has the runs {names}"
        found.append((names.pop(), read))
    return found


def history(read: list[Any]) -> list[dict[str, Any]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in read
        if record.WhichOneof("record_type") == "history"
    ]


class TestWandB(TrackerContract):
    name = "wandb"

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]]:
        return [
            (int(row["epoch"]), row["val_dice_loss"])
            for name, read in records(folder)
            if name == trial
            for row in history(read)
        ]

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("wandb.init", fail)


def test_each_trial_is_a_run_of_one_group(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "spring")
    location = send_run(folder, "wandb")
    assert location == f"Weights & Biases, offline: wandb sync {folder.path}/wandb/offline-run-*"
    found = dict(records(folder.path))
    assert set(found) == {"spring", "a", "b"}
    (run,) = [record.run for record in found["b"] if record.WhichOneof("record_type") == "run"][:1]
    assert (run.run_group, run.project, run.job_type) == ("spring", "bts-tune", "trial")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["learning_rate"] == 0.001
    summary = {
        item.key: json.loads(item.value_json)
        for record in found["b"]
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["status"] == "failed"
    (left,) = [record.exit.exit_code for record in found["b"] if record.WhichOneof("record_type") == "exit"]
    assert left == 1
    times = [row["_timestamp"] for row in history(found["a"])]
    assert times == [row["time"] for row in folder.trials()[0].rows]  # not when they were sent
    artifacts = [record.artifact.name for record in found["spring"] if record.WhichOneof("record_type") == "artifact"]
    assert artifacts == ["spring-report"]


def test_an_epoch_is_on_disk_soon_after_it_ended(tmp_path: Path) -> None:
    """Whoever kills the run and all its processes shall not find that W&B lacks what it was sent."""
    folder = small_run(tmp_path / "spring", epochs=0, statuses=("interrupted",))
    tracker = TRACKERS.get("wandb")()
    tracking = Tracking([tracker], print)
    tracking.start_run(folder.path, RUN)
    tracking.planned(planned("a"))
    tracking.started("a")
    tracking.row("a", row("a", 1))
    until = time.monotonic() + 12  # W&B itself writes every 15 s
    while time.monotonic() < until and not _epochs(folder.path):
        time.sleep(0.1)
    found = _epochs(folder.path)
    tracking.end_run("complete")
    tracking.report_written(folder.path)
    assert found == [1]


def _epochs(folder: Path) -> list[int]:
    """Return the epochs that are in files by now; one may be written at this moment."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record

    files = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    try:
        read = [Record.FromString(content) for file in files for content in log_of(file.read_bytes())]
    except DecodeError:
        return []
    return [row["epoch"] for row in history(read)]


def test_a_resumed_trial_keeps_its_identifier(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "spring", epochs=1, statuses=("interrupted",))
    send_run(folder, "wandb")
    (before,) = json.loads((folder.path / "trackers" / "wandb.json").read_text())["trials"]["a"]["id"].split()
    folder.append_row({**folder.trials()[0].rows[0], "epoch": 2, "best_epoch": 2})
    send_run(folder, "wandb")
    identifiers = {
        record.run.run_id
        for name, read in records(folder.path)
        if name == "a"
        for record in read
        if record.WhichOneof("record_type") == "run"
    }
    assert identifiers == {before}
