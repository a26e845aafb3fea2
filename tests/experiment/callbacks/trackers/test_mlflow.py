"""MLflow, with a real server on the loopback address."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.callbacks.sending import send_run
from bts_tune.experiment.callbacks.trackers import _service
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.experiment.callbacks.tracking import Tracking
from bts_tune.registry import TRACKERS
from bts_tune.testing.trackers import TrackerContract, planned, row
from tests.experiment.callbacks.trackers.services import small_run

mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow, for its server")
pytest.importorskip("flask", reason="needs the package mlflow, for its server; mlflow-skinny has none")


class Server:
    """A server, which may be taken down and come back at the same address with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folder = self.folder
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder / 'files'}"]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", "1", *stores],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        until = time.monotonic() + 120
        while not _answers(self.address):
            waiting = self.process.poll() is None and time.monotonic() < until
            assert waiting, (folder / "log").read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def runs(experiment: str) -> dict[str, Any]:
    """Return the runs of an experiment by name; there is one of each name."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    listed = client.search_runs([found.experiment_id]) if found else []
    by_name = {run.info.run_name: run for run in listed}
    assert len(by_name) == len(listed)
    return by_name


def epochs(run: Any, metric: str = "val_dice_loss") -> list[tuple[int, float]]:
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)]


class TestMLflow(TrackerContract):
    name = "mlflow"

    @pytest.fixture(autouse=True)
    def _experiment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", str(tmp_path))

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]]:
        found = runs(str(folder.parent)).get(trial)
        return epochs(found) if found else []

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_each_trial_is_a_run_with_its_configuration_and_its_end(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "spring")
    location = send_run(folder, "mlflow")
    assert location == f"MLflow: {os.environ['MLFLOW_TRACKING_URI']}, experiment spring"
    found = runs("spring")
    assert set(found) == {"spring", "a", "b"}
    a, b = found["a"], found["b"]
    assert [step for step, _ in epochs(a)] == [1, 2, 3]
    assert [value for _, value in epochs(a)] == pytest.approx([0.9, 0.45, 0.3])
    assert a.data.params["learning_rate"] == "0.001"
    assert a.data.params["decoder"] == "unet"
    assert (a.info.status, a.data.tags["bts_tune.status"]) == ("FINISHED", "complete")
    assert (b.info.status, b.data.tags["bts_tune.status"]) == ("FAILED", "failed")
    assert "bts_tune.reason" not in a.data.tags
    assert a.data.tags["mlflow.parentRunId"] == found["spring"].info.run_id
    files = {one.path for one in mlflow.MlflowClient().list_artifacts(found["spring"].info.run_id)}
    assert {"report.html", "figures", "run.json"} <= files


def test_what_is_sent_later_has_the_times_of_the_record(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "winter", created="2023-11-14T22:13:20+00:00", ended="2023-11-14T22:20:00+00:00")
    send_run(folder, "mlflow")
    found = runs("winter")
    rows = {record.trial: record.rows for record in folder.trials()}["a"]
    a, whole = found["a"].info, found["winter"].info
    assert a.start_time == pytest.approx(1000 * (rows[0]["time"] - rows[0]["seconds"]), abs=1)
    assert a.end_time == pytest.approx(1000 * rows[-1]["time"], abs=1)
    assert (whole.start_time, whole.end_time) == (1_700_000_000_000, 1_700_000_400_000)


def test_a_trial_that_failed_before_its_first_epoch_ended_when_the_record_says(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "frost", epochs=0, statuses=("failed",), reason=None)
    folder.append_event("started", "a", time=1_700_000_000.0)
    folder.append_event("ended", "a", status="failed", reason="no memory", time=1_700_000_060.0)
    send_run(folder, "mlflow")
    found = runs("frost")
    assert (found["a"].info.start_time, found["a"].info.end_time) == (1_700_000_000_000, 1_700_000_060_000)
    assert found["a"].data.tags["bts_tune.reason"] == "no memory"
    assert "bts_tune.reason" not in found["frost"].data.tags


def test_sending_again_adds_nothing(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "autumn", epochs=2)
    send_run(folder, "mlflow")
    send_run(folder, "mlflow")
    assert [step for step, _ in epochs(runs("autumn")["a"])] == [1, 2]


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow")
    tracker = TRACKERS.get("mlflow")()
    tracker.folder, tracker.run = tmp_path, {"run": "x"}
    assert tracker.location() == "MLflow: https://example.org/mlflow, experiment x"


def test_without_a_server_everything_stays_beside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    folder = small_run(tmp_path / "winter")
    assert send_run(folder, "mlflow") == f"MLflow: mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    found = client.get_experiment_by_name("winter")
    assert len(client.search_runs([found.experiment_id])) == 3
    assert list((tmp_path / "mlflow-files").rglob("report.html"))


def test_a_run_that_was_tracked_here_can_be_sent_to_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_run(tmp_path / "thaw", status="running", statuses=("complete", "interrupted"))
    address = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    send_run(folder, "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    send_run(folder, "mlflow")
    found = runs("thaw")
    assert set(found) == {"thaw", "a", "b"}
    assert [step for step, _ in epochs(found["a"])] == [1, 2, 3]
    assert found["thaw"].info.status == "KILLED"  # its process died before it could say how it ended


@pytest.mark.slow
def test_a_server_that_goes_away_for_a_while_misses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_service, "_LONGEST_PAUSE", 1.0)
    folder = small_run(tmp_path / "flood", epochs=0, statuses=("running",))
    warnings: list[str] = []
    tracking = Tracking([TRACKERS.get("mlflow")()], warnings.append)
    tracking.start_run(folder.path, {"run": "flood"})
    tracking.planned(planned("a"))
    tracking.started("a")

    def sent(epoch: int) -> None:
        """Log an epoch, and wait for it to be at the server."""
        tracking.row("a", row("a", epoch))
        until = time.monotonic() + 60
        while (found := runs("flood").get("a")) is None or epoch not in dict(epochs(found)):
            assert time.monotonic() < until
            time.sleep(0.2)

    sent(1)
    server.stop()
    try:
        for epoch in range(2, 40):  # the first to be told that nobody answers is later than the first that is missed
            tracking.row("a", row("a", epoch))
            time.sleep(0.5)
            if warnings:
                break
        tracking.row("a", row("a", epoch + 1))
    finally:
        server.start()
    sent(epoch + 2)
    tracking.ended("a", "complete", "")
    tracking.end_run("complete")
    tracking.report_written(folder.path)
    assert [step for step, _ in epochs(runs("flood")["a"])] == list(range(1, epoch + 3))
    assert runs("flood")["a"].info.status == "FINISHED"
    assert warnings == [
        f"tracker 'mlflow': {server.address} does not answer. The run goes on; what is missed is sent when it answers, "
        f"or by: bts-tune export {shlex.quote(str(folder.path))} --to mlflow"
    ]
    assert capfd.readouterr().out == ""
