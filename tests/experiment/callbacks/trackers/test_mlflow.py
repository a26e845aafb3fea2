"""MLflow, with a real server on the loopback address."""

from __future__ import annotations

import os
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
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.registry import TRACKERS
from bts_tune.testing.trackers import TrackerContract
from tests.experiment.callbacks.trackers.services import small_run

mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow, for its server")
pytest.importorskip("flask", reason="needs the package mlflow, for its server; mlflow-skinny has none")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *stores], stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not _answers(address):
            waiting = process.poll() is None and time.monotonic() < until
            assert waiting, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
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
