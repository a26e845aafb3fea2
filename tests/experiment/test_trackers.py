"""A run with trackers that its space names, of a plugin, one of which fails."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiment.conftest import Command, Finished


def test_trackers_of_plugins_and_one_that_fails(with_options: Finished) -> None:
    folder, output = with_options.folder, with_options.output
    assert "CSV files: results/options/csv\n" in output
    assert output.count("tracker 'failing' failed and is left out for the rest of the run: OSError: ") == 1
    for record in folder.trials():
        with (folder.path / "csv" / f"{record.trial}.csv").open(newline="") as file:
            logged = [(int(row["epoch"]), float(row["val_dice_loss"])) for row in csv.DictReader(file)]
        assert logged == [(row["epoch"], row["val_dice_loss"]) for row in record.rows]
        assert record.status == "complete"
    assert not (folder.path / "tensorboard").exists()


def test_several_trackers_of_services_at_a_time(
    command: Command, space_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow without a server, beside TensorBoard; a run that goes on uses the runs that are there."""
    mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    space = space_file(epochs=2, extra="trackers: [tensorboard, mlflow]\n")
    code, output, errors = command(*command.run_arguments(space, "one", "--only", "plain"), timeout=400)
    assert code == 0, errors
    folder = command.record("one")
    store = f"sqlite:///{folder.path.parent.absolute()}/mlflow.db"
    assert f"MLflow: mlflow ui --backend-store-uri {store}" in output
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("one").experiment_id
    listed = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(listed) == {"one", "plain"}
    (record,) = folder.trials()
    history = client.get_metric_history(listed["plain"].info.run_id, "val_dice_loss")
    assert [(one.step, one.value) for one in history] == [(row["epoch"], row["val_dice_loss"]) for row in record.rows]
    assert {run.info.status for run in listed.values()} == {"FINISHED"}
    kept = {file.path for file in client.list_artifacts(listed["one"].info.run_id)}
    assert {"report.html", "figures", "model"} <= kept
    assert (folder.path / "tensorboard" / "plain").exists()
