"""A run from Python: carried out, read, gone on with."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import bts_tune as bt
from bts_tune import api
from bts_tune.errors import ConfigError, DataError, RunError
from bts_tune.testing.runs import make_run, write_run
from tests.api.studies import OPTIONS, Study, small_space


@contextlib.contextmanager
def output_in(file: Path) -> Iterator[None]:
    """Write what this process and those that it starts print into a file."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with file.open("wb") as target:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(target.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, before in zip((1, 2), kept, strict=True):
                os.dup2(before, descriptor)
                os.close(before)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, slices: Path) -> Study:
    root = tmp_path_factory.mktemp("study")
    with output_in(root / "printed"):
        run = bt.tune(
            small_space(),
            slices,
            name="study",
            results=root / "results",
            cache=root / "cache",
            **OPTIONS,
        )
    return Study(run, (root / "printed").read_text())


def test_a_study_runs_in_this_process_and_leaves_no_ray(study: Study) -> None:
    import ray

    assert not ray.is_initialized()
    assert study.run.status == "complete"
    assert list(study.run.trials["stage"]) == ["search"] * 3
    assert set(study.run.trials["status"]) <= {"complete", "stopped"}
    assert study.run.path.name == "study"
    assert repr(study.run) == f"open_run({str(study.run.path)!r})"


def test_a_study_prints_nothing_where_no_progress_is_asked_for(study: Study) -> None:
    assert study.printed == ""


@pytest.mark.parametrize(
    ("name", "file"),
    [("leaderboard", "leaderboard.csv"), ("epochs", "epochs.csv"), ("configurations", "configurations.csv")],
)
def test_tables_are_the_files(study: Study, name: str, file: str) -> None:
    frame = getattr(bt.open_run(study.run.path), name)
    assert len(frame) > 0
    written = study.run.path / file
    read = pd.read_csv(written)
    assert list(read.columns.drop("profile")) == list(frame.columns)
    for column in frame.columns:
        assert [_cell(value) for value in frame[column]] == [_cell(value) for value in read[column]], column


def _cell(value: Any) -> Any:
    """A cell whatever type it has: missing, a number, or text."""
    if value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return float(value) if isinstance(value, int | float | np.number) else str(value)


def test_trials_are_in_the_order_of_planning_with_the_leaderboard_s_columns(study: Study) -> None:
    trials, board = study.run.trials, study.run.leaderboard
    assert list(trials.columns) == list(board.columns)
    assert list(trials["trial"])[:2] == ["unet", "fpn"]
    assert sorted(trials["trial"]) == sorted(board["trial"])


def test_the_best_model_is_a_module_that_predicts(study: Study, slices: Path) -> None:
    model = study.run.best_model(device="cpu")
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert model.config == study.run.best_config
    assert study.run.best_config.config_id == study.run.leaderboard["config_id"][0]
    file = next((slices / "test").glob("*.png"))
    array = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert array is not None
    mask = model.predict(file)
    assert mask.shape == (48, 48)
    assert mask.dtype == np.uint8
    assert set(mask.flat) <= {0, 1}
    np.testing.assert_array_equal(model.predict(array), mask)
    probability = model.probability(str(file))
    assert probability.shape == (48, 48)
    assert probability.dtype == np.float32
    np.testing.assert_array_equal(probability > 0.5, mask == 1)
    of_trials = dict(zip(study.run.trials["trial"], study.run.trials["config_id"], strict=True))
    assert study.run.best_model("unet", device="cpu").config.config_id == of_trials["unet"]
    with pytest.raises(RunError, match="kept no model of that name"):
        study.run.best_model("manet")


def test_images_are_predicted_into_a_folder(study: Study, slices: Path, tmp_path: Path) -> None:
    files = sorted((slices / "test").glob("*.png"))
    written = study.run.predict([files[0], str(files[1])], tmp_path / "two", device="cpu")
    assert [one.image for one in written] == files[:2]
    mask = cv2.imread(str(written[0].mask), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    np.testing.assert_array_equal(mask // 255, study.run.best_model(device="cpu").predict(files[0]))
    assert written[0].tumor_share == pytest.approx((mask > 0).mean())
    assert len(study.run.predict(slices / "test", "all", device="cpu")) == len(files)
    assert [one.image for one in study.run.predict(str(files[0]), "one", device="cpu")] == files[:1]
    with pytest.raises(DataError, match="no such image or folder"):
        study.run.predict("nowhere.png", "none")


def test_a_model_is_exported_into_the_run_s_folder_and_opened_again(study: Study, slices: Path, tmp_path: Path) -> None:
    # On a copy, so that the other tests find the run as it was.
    run = bt.Run(type(study.run.folder)(Path(shutil.copytree(study.run.path, tmp_path / "copy"))))
    exported = run.export("folder")
    best = run.leaderboard["trial"][0]
    assert exported.output == str(run.path / "exports" / best)
    assert all("\n" not in note for note in exported.notes)
    file = next((slices / "test").glob("*.png"))
    np.testing.assert_array_equal(
        bt.load_model(exported.output, device="cpu").predict(file), run.best_model(device="cpu").predict(file)
    )
    assert run.export("folder", "unet", trial="unet").output == "unet"
    with pytest.raises(RunError, match="unet: exists already"):
        run.export("folder", Path("unet"))
    with pytest.raises(ConfigError, match=r"unknown export 'onxx'\. Did you mean 'onnx'"):
        run.export("onxx")
    with pytest.raises(RunError, match="nowhere: the saved model cannot be read"):
        bt.load_model("nowhere")


def test_the_report_is_written_anew(study: Study) -> None:
    run = bt.open_run("study", study.run.path.parent)
    assert run.report_files is None
    page = study.run.path / "report.html"
    before = page.read_bytes()
    page.unlink()
    files = run.report()
    assert files is run.report_files
    assert files.page == page
    assert page.read_bytes() == before


def test_a_complete_run_that_goes_on_trains_nothing(study: Study) -> None:
    before = (study.run.path / "rows.jsonl").read_bytes()
    resumed = bt.resume(study.run, **OPTIONS)
    assert resumed.status == "complete"
    assert (study.run.path / "rows.jsonl").read_bytes() == before
    assert resumed.report_files is not None


def test_trials_are_added_to_a_search(study: Study, tmp_path: Path) -> None:
    # On a copy, so that the other tests find the run as it was.
    copy = tmp_path / "results" / "study"
    shutil.copytree(study.run.path, copy)
    assert len(bt.open_run("study").trials) == 3
    extended = bt.extend("study", 1, **OPTIONS)
    assert len(extended.trials) == 4
    assert extended.status == "complete"


@pytest.mark.parametrize("name", ["leaderboard", "trials", "epochs", "configurations", "best_config", "status"])
def test_of_a_folder_that_has_gone_nothing_is_told(tmp_path: Path, name: str) -> None:
    write_run(Path("results") / "run", [], make_run())
    run = bt.open_run("run")
    os.chdir(tmp_path.parent)
    with pytest.raises(RunError, match=r"results/run/run\.json: cannot be read: No such file or directory\."):
        getattr(run, name)


def test_a_run_without_a_trial_to_the_full_budget_has_no_best_configuration(tmp_path: Path) -> None:
    run = api.Run(write_run(tmp_path / "run", [], make_run(status="interrupted")))
    assert run.status == "interrupted"
    assert len(run.leaderboard) == len(run.trials) == len(run.epochs) == len(run.configurations) == 0
    with pytest.raises(RunError, match="no trial has been trained to the full budget yet"):
        _ = run.best_config
    with pytest.raises(RunError, match="no trial of this run has left a model yet"):
        run.best_model()
