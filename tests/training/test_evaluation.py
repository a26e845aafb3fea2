from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bts_tune.errors import RunError
from bts_tune.losses.dice_bce import DiceBCE
from bts_tune.metrics.base import ImageStatistics, metrics_in_use
from bts_tune.results.record.scores import SUMS, Shapes, read_scores
from bts_tune.training.checkpoint import load_model
from bts_tune.training.device import MixedPrecision
from bts_tune.training.evaluation import choose_samples, evaluate_model
from bts_tune.training.measure import SplitMeter
from bts_tune.training.prediction.segmenter import Segmenter
from tests.training.builders import data, opened, split, tiny, trained

CPU = MixedPrecision.choose(torch.device("cpu"), "auto")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained(tiny(dice_weight=0.5, batch_norm_momentum=0.3, head_dropout=0.5), data(), folder)
    return folder


def samples(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def logits_of(folder: Path, images: np.ndarray) -> torch.Tensor:
    saved = load_model(folder)
    with torch.no_grad():
        return saved.model(torch.from_numpy((images - saved.mean) / saved.std).float().unsqueeze(1))


def test_test_metrics_are_those_of_a_direct_evaluation(folder: Path) -> None:
    prepared = data(test=7)
    object.__setattr__(prepared, "test", split(7, seed=9, empty=(1, 5)))
    found = evaluate_model(folder, prepared, device="cpu", threads=1).test
    truth = torch.from_numpy(prepared.test.masks).unsqueeze(1)
    meter = SplitMeter(DiceBCE(tiny(dice_weight=0.5)))
    meter.add(logits_of(folder, prepared.test.images), truth.float())
    assert found == pytest.approx(meter.result().columns("test"), abs=1e-5)


def test_the_saved_models_validation_is_its_best_row(folder: Path) -> None:
    """Its test metrics on the validation split are what its best row says."""
    prepared = data()
    object.__setattr__(prepared, "test", prepared.valid)
    found = evaluate_model(folder, prepared, device="cpu", threads=1).test
    trial = opened(load_model(folder).config, prepared, folder)
    best = min(trial.done, key=lambda row: row.val_dice_loss).to_dict()
    trial.close()
    assert found == {name.replace("val_", "test_"): value for name, value in best.items() if name.startswith("val_")}


def test_a_dataset_without_a_test_split_has_no_test_metrics(folder: Path) -> None:
    evaluation = evaluate_model(folder, data(test=0), device="cpu", threads=1)
    assert evaluation.test == {}
    assert 1 <= len(samples(evaluation.samples)["images"]) <= 5


def test_scores_of_each_image_give_the_metrics_of_the_split(folder: Path, tmp_path: Path) -> None:
    prepared = data(valid=9, test=7, empty=(3,))
    evaluation = evaluate_model(folder, prepared, device="cpu", threads=1)
    file = tmp_path / "scores.npz"
    file.write_bytes(evaluation.scores.to_bytes())
    found = read_scores(file)
    assert found.epoch == load_model(folder).epoch
    assert found.pixels == 32**2
    for name, part in (("valid", prepared.valid), ("test", prepared.test)):
        split_scores = found.splits[name]
        assert split_scores.names == tuple(part.names)
        truth = split_scores.sums[:, SUMS.index("truth")]
        np.testing.assert_array_equal(truth, part.masks.sum(axis=(1, 2)))
        np.testing.assert_allclose(split_scores.brightness, part.images.mean(axis=(1, 2)) / 255)
        np.testing.assert_allclose(split_scores.contrast, part.images.std(axis=(1, 2)) / 255)
    images = ImageStatistics(SUMS, found.splits["test"].sums)
    for metric in metrics_in_use():
        assert metric.compute(images) == evaluation.test[f"test_{metric.key()}"]


def test_scores_of_a_dataset_without_a_test_split(folder: Path) -> None:
    assert set(evaluate_model(folder, data(test=0), device="cpu", threads=1).scores.splits) == {"valid"}


def test_samples_are_the_slices_that_they_say(folder: Path) -> None:
    prepared = data(valid=20, empty=(3, 4))
    evaluation = evaluate_model(folder, prepared, device="cpu", threads=1)
    found = samples(evaluation.samples)
    valid = evaluation.scores.splits["valid"]
    assert valid.shapes is not None
    picked = choose_samples(valid.sums, valid.shapes)
    assert list(found["kind"]) == [kind for _, kind in picked]
    assert found["images"].dtype == found["truths"].dtype == np.uint8
    assert found["probabilities"].dtype == np.float16
    places = [prepared.valid.names.index(name) for name in found["names"]]
    assert places == [place for place, _ in picked]
    assert np.array_equal(found["images"], prepared.valid.images[places])
    assert np.array_equal(found["truths"], prepared.valid.masks[places])
    for truth, probability, iou in zip(found["truths"], found["probabilities"], found["iou"], strict=True):
        cut = probability > 0.5
        if (cut | (truth == 1)).any():
            assert (cut & (truth == 1)).sum() / (cut | (truth == 1)).sum() == pytest.approx(iou, abs=0.02)


def sums_of(*images: tuple[float, float, float]) -> np.ndarray:
    """Sums of images from their true positives, false positives and false negatives."""
    return np.array([(tp, fp, fn, tp, tp + fp, tp + fn, 1.0) for tp, fp, fn in images])


def shapes_of(*false_positive_area: float) -> Shapes:
    count = len(false_positive_area)
    return Shapes(
        2.0, np.zeros(count), np.zeros(count), np.array(false_positive_area), np.zeros((0, 5)), np.zeros((0, 6))
    )


def test_samples_are_the_best_the_median_the_worst_the_missed_and_the_false_alarms() -> None:
    hits = [(90.0 - 10 * number, 0.0, 10.0 + 10 * number) for number in range(9)]  # IoU from 0.9 down to 0.1
    others = [
        (0.0, 0.0, 50.0),
        (0.0, 20.0, 70.0),
        (0.0, 0.0, 60.0),
        (0.0, 30.0, 0.0),
        (0.0, 40.0, 0.0),
        (0.0, 0.0, 0.0),
    ]
    picked = choose_samples(sums_of(*hits, *others), shapes_of(*[0.0] * 8, 99, 0, 20, 0, 30, 40, 0))
    assert picked == [
        (0, "best"),
        (1, "best"),
        (3, "median"),
        (4, "median"),
        (7, "worst"),
        (8, "worst"),
        (10, "missed"),
        (11, "missed"),
        (12, "false alarm"),
        (13, "false alarm"),
    ]


def test_no_slice_is_shown_twice() -> None:
    assert choose_samples(sums_of((9, 0, 1)), shapes_of(0)) == [(0, "best")]
    assert choose_samples(sums_of((9, 0, 1), (5, 3, 5), (1, 9, 9)), shapes_of(0, 0, 9)) == [
        (0, "best"),
        (1, "best"),
        (2, "worst"),
    ]
    assert choose_samples(sums_of((0, 9, 5)), shapes_of(9)) == [(0, "missed")]
    assert choose_samples(sums_of((0, 0, 0), (0, 2, 0)), shapes_of(0, 2)) == [(1, "false alarm")]
    assert choose_samples(sums_of((0, 0, 0)), shapes_of(0)) == [(0, "tumour-free")]


def test_samples_of_a_split_without_tumours(folder: Path) -> None:
    prepared = data(valid=2, empty=(0, 1))
    kinds = samples(evaluate_model(folder, prepared, device="cpu", threads=1).samples)["kind"]
    assert set(kinds) <= {"false alarm", "tumour-free"}
    assert len(kinds)


def test_probabilities(folder: Path) -> None:
    images = data().valid.images
    found = Segmenter.load(folder, "cpu").prepared_probabilities(images)
    assert found.shape == images.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch.sigmoid(logits_of(folder, images))[:, 0].numpy(), atol=1e-5)


def test_evaluating_twice_gives_the_same(folder: Path) -> None:
    one, other = (evaluate_model(folder, data(), device="cpu", threads=1) for _ in range(2))
    assert one.test == other.test


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the saved model cannot be read"):
        evaluate_model(tmp_path, data(), device="cpu")
