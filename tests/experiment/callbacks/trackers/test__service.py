"""A service that may be out of reach: the run never waits for long, and nothing is lost."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.callbacks.sending import send_run
from bts_tune.experiment.callbacks.trackers import _service
from bts_tune.experiment.callbacks.trackers._service import RUN, ServiceTracker, without_secrets
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.experiment.callbacks.trackers.mlflow import MLflow
from bts_tune.experiment.callbacks.trackers.wandb import WandB
from bts_tune.experiment.callbacks.tracking import Tracking, choose_trackers
from bts_tune.testing.trackers import TrackerContract, planned, row
from tests.experiment.callbacks.trackers.services import small_run

EPOCHS = list[tuple[int, float]]


class Shelf(ServiceTracker):
    """A service that keeps what it is sent in the memory of the tests, and answers where it is told to."""

    package = "json"
    answers: ClassVar[threading.Event] = threading.Event()
    trials: ClassVar[dict[str, dict[str, Any]]] = {}
    files: ClassVar[list[str]] = []
    place: ClassVar[str] = "https://here"
    seconds: ClassVar[float] = 0.0
    made: ClassVar[list[Shelf]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)

    def _ask(self) -> None:
        if not self.answers.is_set():
            raise ConnectionError("nobody answers")

    def address(self) -> str:
        return self.place

    def connect(self) -> None:
        self._ask()

    def open(self, trial: str, config: Mapping[str, Any], identifier: str | None) -> str:
        self._ask()
        identifier = identifier or f"id-{len(self.trials)}"
        kept = self.trials.setdefault(identifier, {"trial": trial, "config": dict(config), "epochs": {}})
        kept["status"] = "running"
        return identifier

    def log(self, trial: str, identifier: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._ask()
        assert self.trials[identifier]["status"] == "running"
        self.trials[identifier]["epochs"] |= {one["epoch"]: self.numbers(one) for one in rows}

    def close(self, trial: str, identifier: str, status: str, reason: str) -> None:
        self._ask()
        self.trials[identifier] |= {"status": status, "reason": reason, "times": (self.began(trial), self.ended(trial))}

    def attach(self, identifier: str, files: Sequence[tuple[Path, str]]) -> None:
        self._ask()
        time.sleep(self.seconds)
        self.files.extend(f"{folder}/{file.name}" if folder else file.name for file, folder in files)


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The service, empty, answering, and forgotten after the test."""
    TRACKERS.all()
    monkeypatch.setattr(TRACKERS, "_entries", dict(TRACKERS._entries))
    TRACKERS.register("shelf")(Shelf)
    monkeypatch.setattr(_service, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_service, "_LONGEST_PAUSE", 0.05)
    Shelf.trials.clear()
    Shelf.files.clear()
    Shelf.answers.set()
    yield
    for tracker in Shelf.made:  # of a run that left no report, the thread goes on until the process ends
        tracker._over = True
        tracker._wake.set()
        if tracker._thread is not None:
            tracker._thread.join(10)
    Shelf.made.clear()


def kept(trial: str) -> dict[str, Any]:
    (found,) = (one for one in Shelf.trials.values() if one["trial"] == trial)
    return found


class TestContract(TrackerContract):
    name = "shelf"

    def logged(self, folder: Path, trial: str) -> EPOCHS | None:
        return [
            (epoch, numbers["val_dice_loss"])
            for one in Shelf.trials.values()
            if one["trial"] == trial
            for epoch, numbers in one["epochs"].items()
        ]

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Shelf.answers.clear()


def play(folder: Path, *, epochs: range, status: str = "complete") -> tuple[Tracking, list[str]]:
    warnings: list[str] = []
    tracking = Tracking([TRACKERS.get("shelf")()], warnings.append)
    plugins = [{"name": "/my own/shelf.py", "kind": "file", "sha256": "0"}]
    tracking.start_run(folder, {"run": folder.name, "plugins": plugins})
    for trial in ("a", "b"):
        tracking.planned(planned(trial, recorded=epochs[0] - 1))
        tracking.started(trial)
    for epoch in epochs:
        for trial in ("a", "b"):
            tracking.row(trial, row(trial, epoch))
    for trial in ("a", "b"):
        tracking.ended(trial, status, "")  # type: ignore[arg-type]
    tracking.end_run(status)
    return tracking, warnings


def test_a_service_that_is_out_of_reach_is_told_once_and_sent_everything_later(tmp_path: Path) -> None:
    Shelf.answers.clear()
    folder = small_run(tmp_path / "mine")
    tracking, warnings = play(folder.path, epochs=range(1, 4))
    tracking.report_written(folder.path)
    (warning,) = warnings
    assert warning.startswith("tracker 'shelf': ConnectionError: nobody answers. The run goes on;")
    assert f"bts-tune export {folder.path} --to shelf --plugin '/my own/shelf.py'" in warning
    with pytest.raises(RunError, match=r"^tracker 'shelf': ConnectionError: nobody answers\. .*the same command"):
        send_run(folder, "shelf")
    assert not Shelf.trials
    Shelf.answers.set()
    send_run(folder, "shelf")
    assert list(kept("a")["epochs"]) == list(kept("b")["epochs"]) == [1, 2, 3]
    assert (kept("a")["status"], kept("b")["status"]) == ("complete", "failed")
    assert kept(RUN)["status"] == "complete"
    assert {"report.html", "run.json", "figures/curve.png"} <= set(Shelf.files)


def test_what_it_missed_is_sent_when_it_is_back(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine", epochs=0)
    warnings: list[str] = []
    tracking = Tracking([TRACKERS.get("shelf")()], warnings.append)
    tracking.start_run(folder.path, {"run": "mine"})
    tracking.planned(planned("a"))
    tracking.started("a")
    Shelf.answers.clear()
    for epoch in (1, 2, 3):
        tracking.row("a", row("a", epoch))
    Shelf.answers.set()
    tracking.row("a", row("a", 4))
    tracking.ended("a", "stopped", "")
    tracking.end_run("complete")
    assert list(kept("a")["epochs"]) == [1, 2, 3, 4]
    assert kept("a")["status"] == "stopped"


def test_a_run_that_goes_on_uses_the_same_identifiers(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine", epochs=0, statuses=("interrupted", "interrupted"))
    play(folder.path, epochs=range(1, 3), status="interrupted")
    assert kept("a")["status"] == "interrupted"
    play(folder.path, epochs=range(3, 5))
    assert len(Shelf.trials) == 3
    assert list(kept("a")["epochs"]) == [1, 2, 3, 4]
    assert kept("a")["status"] == "complete"


def test_the_thread_ends_with_the_run(tmp_path: Path) -> None:
    Shelf.answers.clear()
    folder = small_run(tmp_path / "mine")
    tracking, _ = play(folder.path, epochs=range(1, 2))
    tracking.report_written(folder.path)
    (tracker,) = Shelf.made
    assert tracker._thread is not None
    tracker._thread.join(10)
    assert not tracker._thread.is_alive()


def test_sending_twice_sends_nothing_anew(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine")
    send_run(folder, "shelf")
    kept("a")["epochs"].clear()
    send_run(folder, "shelf")
    assert not kept("a")["epochs"]
    assert len(Shelf.trials) == 3


def test_another_address_is_sent_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_run(tmp_path / "mine")
    send_run(folder, "shelf")
    Shelf.trials.clear()
    Shelf.files.clear()
    monkeypatch.setattr(Shelf, "place", "https://there")
    send_run(folder, "shelf")
    assert list(kept("a")["epochs"]) == [1, 2, 3]
    assert "report.html" in Shelf.files


def test_a_list_of_an_earlier_version_names_no_address(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine")
    send_run(folder, "shelf")
    state = folder.path / "trackers" / "shelf.json"
    content = json.loads(state.read_text())
    assert content.pop("address") == "https://here"
    state.write_text(json.dumps(content))
    send_run(folder, "shelf")
    assert len(Shelf.trials) == 3


@pytest.mark.parametrize("patience", [1.0, 0.1])
def test_files_that_take_long_arrive_and_none_is_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(_service, "PATIENCE", patience)
    monkeypatch.setattr(Shelf, "seconds", 0.4)
    folder = small_run(tmp_path / "mine")
    if patience < Shelf.seconds:  # a file outlasts it: what was sent stays sent
        with pytest.raises(RunError, match="has not answered"):
            send_run(folder, "shelf")
        Shelf.made[-1]._thread.join(10)  # type: ignore[union-attr]
        monkeypatch.setattr(_service, "PATIENCE", 1.0)
    send_run(folder, "shelf")
    assert sorted(Shelf.files) == ["figures/curve.png", "report.html", "run.json"]
    (folder.path / "report.html").write_text("<p>another report</p>")
    send_run(folder, "shelf")
    assert Shelf.files[3:] == ["report.html"]


def test_a_large_file_may_take_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_service, "PATIENCE", 0.1)
    monkeypatch.setattr(_service, "_SLOWEST", 1000)
    monkeypatch.setattr(Shelf, "seconds", 0.4)
    folder = small_run(tmp_path / "mine")
    (folder.path / "report.html").write_bytes(b"x" * 2000)
    send_run(folder, "shelf")
    assert "report.html" in Shelf.files


def test_a_run_that_was_killed_is_interrupted(tmp_path: Path) -> None:
    send_run(small_run(tmp_path / "mine", status="running", statuses=("running",)), "shelf")
    assert (kept(RUN)["status"], kept("a")["status"]) == ("interrupted", "interrupted")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@example.org/mlflow", "https://example.org/mlflow"),
        ("http://127.0.0.1:7860/?write_token=secret", "http://127.0.0.1:7860/"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("team/space", "team/space"),
    ],
)
def test_an_address_is_kept_without_secrets(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    "address", ["http://[::1]:5000", "https://host/[a]", "sqlite:////x/[a]/b.db", "", "scope://a:b"]
)
def test_an_address_with_brackets_where_they_may_be_is_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SHELF_SERVER", address)
    monkeypatch.setattr(Shelf, "variable", "SHELF_SERVER")
    assert Shelf().server == (address or None)


@pytest.mark.parametrize("address", ["http://[host]:5000", "http://[::1", "https://me:sec[r]et@host/"])
def test_an_address_that_is_none_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SHELF_SERVER", address)
    monkeypatch.setattr(Shelf, "variable", "SHELF_SERVER")
    with pytest.raises(ConfigError, match=r"tracker 'shelf': SHELF_SERVER: '.*' cannot be read .* %5B and %5D\.") as no:
        choose_trackers(["shelf"], None)
    assert "sec" not in str(no.value)


@pytest.mark.parametrize("tracker", [MLflow, WandB])
def test_a_command_that_is_shown_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tracker: type[ServiceTracker]
) -> None:
    for variable in (tracker.variable, "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tracker, "package", "json")
    made = tracker()
    made.folder = tmp_path / "scans [2] of May" / "run"
    assert "scans [2] of May" in shlex.split(made.location())[-1]


def test_a_run_that_has_no_reason_is_sent_none(tmp_path: Path) -> None:
    send_run(small_run(tmp_path / "mine", status="complete", reason=None), "shelf")
    assert (kept("")["status"], kept("")["reason"]) == ("complete", "")


def test_a_trial_without_an_epoch_is_sent_the_times_of_the_record(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine", epochs=0, statuses=("failed",))
    folder.append_event("started", "a", time=1000.0)
    folder.append_event("ended", "a", status="failed", reason="", time=1060.0)
    send_run(folder, "shelf")
    assert kept("a")["times"] == (1000.0, 1060.0)


def test_one_trial_that_cannot_be_sent_leaves_the_record_as_it_is(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine")
    before = folder.rows_file.read_bytes(), folder.trials_file.read_bytes()
    send_run(folder, "shelf")
    assert (folder.rows_file.read_bytes(), folder.trials_file.read_bytes()) == before


def test_a_broken_list_of_what_was_sent_is_one_sentence(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "mine")
    (folder.path / "trackers").mkdir()
    (folder.path / "trackers" / "shelf.json").write_text("[")
    with pytest.raises(RunError, match=r"trackers/shelf\.json: cannot be read"):
        send_run(folder, "shelf")


def test_a_package_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shelf, "package", "no_such_package")
    with pytest.raises(
        ConfigError,
        match=r"^tracker 'shelf': needs a package that is not installed; pip install 'bts-tune\[shelf\]'\.$",
    ):
        choose_trackers(["shelf"], None)
