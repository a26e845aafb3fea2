from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bts_tune.data.prepared.images import read_grey
from bts_tune.export.context import ExportContext
from bts_tune.export.model_card import loading_code, model_card
from bts_tune.report.sections.limits import limits
from bts_tune.results.record.leaks import LeakPair, write_leaks
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import read_scores
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.exports import example_run
from bts_tune.testing.runs import make_baselines, make_row, make_run, make_test, write_run, write_scores


def with_model(path: Path, trials: list[TrialRecord], **run: Any) -> RunFolder:
    """An invented run, the best of whose trials has a model of `example_run`."""
    folder = write_run(path, trials, make_run(**run))
    shutil.copytree(example_run().model_folder("plain"), folder.model_folder(trials[0].trial))
    return folder


def test_it_has_the_data_the_split_the_metrics_and_the_limits(tmp_path: Path) -> None:
    trials = make_baselines(epochs=4, seeds=3)
    trials[0] = replace(trials[0], test=make_test(0.31))
    folder = with_model(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record, images=30, test=20)
    card = model_card(ExportContext(folder), smp=True)
    best = trials[0].best_row
    assert best is not None
    assert f"| validation | Dice loss | {best['val_dice_loss']:.4f} |" in card
    assert "| test | Dice loss | 0.3100 |" in card
    compared = compare_configurations(folder, folder.trials()).splits["test"]
    place = next(place for place, one in enumerate(compared.configurations) if one.name == "unet-b0")
    interval = compared.resampled.dice_loss[place]
    assert interval.low is not None
    assert interval.high is not None
    assert f"| {interval.low:.4f} to {interval.high:.4f} |" in card
    assert "3 trainings" in card
    assert "1502 train, 429 valid, 215 test images" in card
    assert "LEAK: in the provided split, 86% of the validation images" in card
    assert "near-duplicate in training" in card
    assert limits(folder.read_run(), folder.trials())[:60] in card
    assert "Not for diagnosis" in card
    assert "licence" in card
    # The folder's name is enough: the rest of its path is about a computer.
    assert "'brain tumours'" in card
    assert "scans/brain tumours" not in card


def test_it_has_the_metrics_by_kind_of_image_and_those_without_copies(tmp_path: Path) -> None:
    first, *others = make_baselines(epochs=4)
    best = replace(first, rows=[make_row(first.trial, epoch, 0.1) for epoch in (1, 2, 3, 4)], test=make_test(0.11))
    trials = [best, *others]
    folder = with_model(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record, images=30, test=20)
    names = read_scores(folder.scores_file(trials[0].trial)).splits["test"].names
    kinds = ("glioma", "meningioma")
    lines = [f"{name},test,,{kinds[place % 2]}" for place, name in enumerate(names)]
    folder.split_file.write_text("\n".join(("file,split,group,tumour", *lines)))
    without = model_card(ExportContext(folder), smp=True)
    pairs = [LeakPair(name, "test", "train/0.png", 0.999, "as it is", "identical") for name in names[:8]]
    write_leaks(folder.leaks_file, pairs)
    card = model_card(ExportContext(folder), smp=True)
    assert "## By kind of tumour, plane and the like" in card
    assert "| tumour | glioma | 10 | unet-b0 |" in card
    assert "8 of the 20 test images have an identical (8)" in card
    assert "identical (8)" not in without
    # The exported folder has none of the run's tables.
    told = " ".join(card.replace("`", "").split())
    assert "leaks.csv in the run's folder names them." in told
    assert "split.csv in the run's folder has the split and the group of every slice." in told
    assert told.count(".csv") == told.count(".csv in the run's folder")


def test_a_demo_and_a_run_that_is_not_complete_are_called_so_at_the_top(tmp_path: Path) -> None:
    folder = with_model(tmp_path / "run", make_baselines(epochs=2), profile="demo", status="interrupted")
    top = model_card(ExportContext(folder), smp=True).partition("## ")[0]
    assert "DEMO: this run trained on generated phantoms" in top
    assert "PARTIAL: the run was interrupted" in top


def test_a_trial_that_was_stopped_has_its_own_metrics_alone(tmp_path: Path) -> None:
    (first, *others) = make_baselines(epochs=4)
    stopped = replace(first, status="stopped", rows=first.rows[:2], test={})
    folder = with_model(tmp_path / "run", [stopped, *others])
    card = model_card(ExportContext(folder, stopped.trial), smp=True)
    assert "not trained to its full budget: it is stopped" in card
    assert "its configuration" not in card
    assert "The test split was not scored with this model." in card


@pytest.mark.parametrize("keep", ["no record", "no metrics"])
def test_a_damaged_run_has_a_card_too(tmp_path: Path, keep: str) -> None:
    trials = make_baselines(epochs=2)
    folder = with_model(tmp_path / "run", trials)
    if keep == "no record":
        folder.model_folder(trials[0].trial).rename(folder.model_folder("other"))
        context = ExportContext(folder, "other")
    else:
        folder.rows_file.unlink()
        context = ExportContext(folder, trials[0].trial)
    assert "No metrics of this model are on record." in model_card(context, smp=True)


@pytest.mark.parametrize(
    ("equalization", "line"),
    [
        ("none", "cv2.resize(image, ("),
        ("histogram", "cv2.resize(cv2.equalizeHist(image), ("),
        ("clahe", "createCLAHE(2.0, (8"),
    ],
)
def test_the_lines_prepare_an_image_as_the_training_images_were(tmp_path: Path, equalization: str, line: str) -> None:
    folder = with_model(tmp_path / "run", make_baselines(epochs=2))
    card = folder.model_folder("unet-b0-s0") / "model.json"
    content = json.loads(card.read_text())
    content["config"]["equalization"] = equalization
    card.write_text(json.dumps(content))
    code = loading_code(ExportContext(folder), smp=True)
    assert line in code
    assert repr(content["mean"]) in code


@pytest.mark.parametrize("values", [(0, 4095), (70, 70), (300, 65535), (1, 2)])
def test_the_lines_read_16_bits_as_predict_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(values[0], values[1] + 1, (40, 50)).astype(np.uint16)
    monkeypatch.chdir(tmp_path)
    assert cv2.imwrite("scan.png", image)
    code = loading_code(ExportContext(example_run(), "plain"), smp=True)
    lines = [line for line in code.splitlines() if line.startswith(("image = cv2", "if image"))]
    names: dict[str, Any] = {"cv2": cv2}
    exec("\n".join(lines), names)
    np.testing.assert_array_equal(names["image"], read_grey(Path("scan.png")))
