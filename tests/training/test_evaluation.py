from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bts_tune.config import OptimizationPart
from bts_tune.errors import RunError
from bts_tune.training.checkpoint import load_model
from bts_tune.training.device import Arithmetic
from bts_tune.training.evaluation import SAMPLES, evaluate_model, probabilities
from bts_tune.training.metrics import image_sums, metrics_from_sums
from bts_tune.training.scores import SUMS, read_scores
from tests.training.builders import data, opened, split, tiny, trained

CPU = Arithmetic.choose(torch.device("cpu"), "auto")


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
    sums = image_sums(logits_of(folder, prepared.test.images), truth).numpy()
    assert found == pytest.approx(
        metrics_from_sums(sums, 32**2, OptimizationPart(dice_weight=0.5)).columns("test"), abs=1e-5
    )
    assert set(found) == {f"test_{name}" for name in vars(metrics_from_sums(sums, 1, OptimizationPart()))}


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
    assert len(samples(evaluation.samples)["images"]) == 5


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
    metrics = metrics_from_sums(found.splits["test"].sums, found.pixels, OptimizationPart(dice_weight=0.5))
    assert metrics.columns("test") == evaluation.test


def test_scores_of_a_dataset_without_a_test_split(folder: Path) -> None:
    assert set(evaluate_model(folder, data(test=0), device="cpu", threads=1).scores.splits) == {"valid"}


def test_samples_go_from_the_best_predicted_to_the_worst(folder: Path) -> None:
    prepared = data(valid=20, empty=(3, 4))
    found = samples(evaluate_model(folder, prepared, device="cpu", threads=1).samples)
    assert {name: array.shape for name, array in found.items()} == {
        "images": (SAMPLES, 32, 32),
        "truths": (SAMPLES, 32, 32),
        "probabilities": (SAMPLES, 32, 32),
        "names": (SAMPLES,),
        "iou": (SAMPLES,),
    }
    assert found["images"].dtype == found["truths"].dtype == np.uint8
    assert found["probabilities"].dtype == np.float16
    assert list(found["iou"]) == sorted(found["iou"], reverse=True)
    places = [prepared.valid.names.index(name) for name in found["names"]]
    assert not {3, 4} & set(places)
    assert np.array_equal(found["images"], prepared.valid.images[places])
    assert np.array_equal(found["truths"], prepared.valid.masks[places])
    for truth, probability, iou in zip(found["truths"], found["probabilities"], found["iou"], strict=True):
        cut = probability > 0.5
        assert (cut & (truth == 1)).sum() / (cut | (truth == 1)).sum() == pytest.approx(iou, abs=0.02)


def test_samples_of_a_split_without_tumours(folder: Path) -> None:
    prepared = data(valid=2, empty=(0, 1))
    assert len(samples(evaluate_model(folder, prepared, device="cpu", threads=1).samples)["images"]) == 2


def test_probabilities(folder: Path) -> None:
    images = data().valid.images
    found = probabilities(load_model(folder), images, CPU)
    assert found.shape == images.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch.sigmoid(logits_of(folder, images))[:, 0].numpy(), atol=1e-5)


def test_evaluating_twice_gives_the_same(folder: Path) -> None:
    one, other = (evaluate_model(folder, data(), device="cpu", threads=1) for _ in range(2))
    assert one.test == other.test


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the saved model cannot be read"):
        evaluate_model(tmp_path, data(), device="cpu")
