"""Trackio, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.experiment.callbacks.sending import send_run
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.testing.trackers import TrackerContract
from tests.experiment.callbacks.trackers.services import small_run

trackio = pytest.importorskip("trackio", reason="needs the package trackio")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where trackio keeps its runs."""
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    import trackio.sqlite_storage
    import trackio.utils

    for module in (trackio, trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")


def logs(project: str, trial: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    return list(SQLiteStorage.get_logs(project, trial)) if trial in SQLiteStorage.get_runs(project) else []


class TestTrackio(TrackerContract):
    name = "trackio"

    def logged(self, folder: Path, trial: str) -> list[tuple[int, float]]:
        return [(row["step"], row["val_dice_loss"]) for row in logs("fabricated", trial) if row["step"]]

    def break_back_end(self, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("trackio.init", fail)


def test_each_trial_is_a_run_of_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_run(tmp_path / "spring")
    assert send_run(folder, "trackio") == "Trackio: trackio show --project spring"
    assert [row["step"] for row in logs("spring", "a")] == [1, 2, 3]
    (run,) = [run for run in trackio.Api().runs("spring") if run.name == "b"]
    assert run.config["learning_rate"] == 0.001
    levels = {one.name: [alert["level"] for alert in one.alerts()] for one in trackio.Api().runs("spring")}
    assert (levels["a"], levels["b"]) == (["info"], ["error"])
    assert any("b: failed" in alert["title"] for alert in run.alerts())
    assert capsys.readouterr().out == ""


def test_a_trial_without_an_epoch_is_listed_with_its_configuration(tmp_path: Path) -> None:
    send_run(small_run(tmp_path / "winter", epochs=0, statuses=("failed",)), "trackio")
    (run,) = [run for run in trackio.Api().runs("winter") if run.name == "a"]
    assert run.config["learning_rate"] == 0.001
