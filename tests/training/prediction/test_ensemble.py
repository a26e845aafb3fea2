"""Means of probabilities against ones made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bts_tune.config import AugmentationPart
from bts_tune.errors import RunError
from bts_tune.training.evaluation import evaluate_model, evaluate_postprocessed, evaluate_variant
from bts_tune.training.loop import rows
from bts_tune.training.prediction.ensemble import Ensemble, TestTimeAugmented, load_segmenter, views
from bts_tune.training.prediction.segmenter import Segmenter
from tests.training.builders import data, opened, tiny


def saved(folder: Path, **fields: Any) -> Path:
    trial = opened(tiny(epochs=1, **fields), folder=folder)
    list(rows(trial))
    trial.close()
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [saved(tmp_path_factory.mktemp(f"seed{seed}"), seed=seed) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 2),
        ({"augmentation": "light"}, 2),
        ({"augmentation": "strong"}, 4),
        ({"augmentation": "strong", "augmentation_kind": "intensity"}, 2),
        ({"augmentation": "none+vertical-flip"}, 4),
    ],
)
def test_the_views_are_the_flips_that_a_network_knows_and_go_back(fields: dict[str, Any], count: int) -> None:
    images = torch.arange(2 * 16, dtype=torch.float32).reshape(2, 1, 4, 4)
    found = list(views(images, [tiny(**fields).part(AugmentationPart)]))
    assert len({tuple(view.flatten().tolist()) for view, _ in found}) == count
    assert torch.equal(found[0][0], images)
    for view, back in found:
        assert torch.equal(back(view), images)


def test_several_networks_are_shown_what_all_of_them_know() -> None:
    parts = [tiny(augmentation=one).part(AugmentationPart) for one in ("none+vertical-flip", "light")]
    counts = [len(list(views(torch.zeros(1, 1, 2, 2), of))) for of in (parts, parts[::-1], parts[:1], parts[1:])]
    assert counts == [2, 2, 4, 2]


@pytest.mark.parametrize("vertical", [False, True])
def test_test_time_augmentation_is_the_mean_over_the_views(models: list[Path], vertical: bool) -> None:
    segmenter = Segmenter.load(models[0], "cpu").eval()
    if vertical:
        segmenter.config = segmenter.config.replaced({"augmentation": "none+vertical-flip"})
    images = data().test.images
    expected = []
    for axes in [(), (2,), (1,), (1, 2)] if vertical else [(), (2,)]:
        found = segmenter.prepared_probabilities(np.ascontiguousarray(np.flip(images, axes)))
        expected.append(np.flip(found, axes))
    augmented = TestTimeAugmented(segmenter)
    np.testing.assert_allclose(augmented.prepared_probabilities(images), np.mean(expected, axis=0), atol=1e-5)
    # Of a mirrored image the answer is the same, mirrored.
    mirrored = augmented.prepared_probabilities(np.ascontiguousarray(images[:, :, ::-1]))
    np.testing.assert_allclose(mirrored[:, :, ::-1], augmented.prepared_probabilities(images), atol=1e-5)


def test_an_ensemble_is_the_mean_of_its_members(models: list[Path]) -> None:
    members = [Segmenter.load(model, "cpu").eval() for model in models]
    images = data().test.images
    mean = np.mean([member.prepared_probabilities(images) for member in members], axis=0)
    np.testing.assert_allclose(Ensemble(members).prepared_probabilities(images), mean, atol=1e-6)
    loaded = load_segmenter(models, "cpu", tta=True)
    assert not loaded.training
    scan = np.full((40, 50), 30, dtype=np.uint8)
    assert loaded.predict(scan).shape == scan.shape


def test_members_that_preprocess_differently_are_refused(models: list[Path], tmp_path: Path) -> None:
    other = saved(tmp_path, equalization="none")
    with pytest.raises(RunError, match="one image_size and one equalization"):
        load_segmenter([models[0], other], "cpu")


def test_a_single_model_as_it_is_scores_what_its_evaluation_says(models: list[Path]) -> None:
    prepared = data()
    plain = evaluate_model(models[0], prepared, device="cpu", threads=1)
    found = evaluate_variant(models[:1], prepared, augmented=False, device="cpu", threads=1)
    assert {name: found.metrics[name] for name in plain.test} == pytest.approx(plain.test)
    np.testing.assert_allclose(found.scores.splits["valid"].sums, plain.scores.splits["valid"].sums, rtol=1e-6)
    assert found.seconds > 0
    tests_alone = evaluate_variant(models, prepared, augmented=True, splits=["test"], device="cpu", threads=1)
    assert tests_alone.scores.splits.keys() == {"test"}
    assert not any(name.startswith("val_") for name in tests_alone.metrics)


def test_postprocessing_is_chosen_on_the_validation_split_and_never_worse_there(models: list[Path]) -> None:
    prepared = data()
    plain = evaluate_variant(models[:1], prepared, augmented=False, device="cpu", threads=1)
    found = evaluate_postprocessed(models[0], prepared, device="cpu", threads=1)
    assert found.postprocessing is not None
    assert (found.metrics["val_iou"] or 0) >= (plain.metrics["val_iou"] or 0)
    assert found.metrics["test_dice_loss"] == pytest.approx(plain.metrics["test_dice_loss"])
    segmenter = Segmenter.load(models[0], "cpu").eval()
    segmenter.postprocessing = found.postprocessing
    image = prepared.test.images[0]
    mask = found.postprocessing.mask(segmenter.probability(image))
    assert np.array_equal(segmenter.predict(image), mask)
    for name, split in (("valid", prepared.valid), ("test", prepared.test)):
        masks = [
            found.postprocessing.mask(segmenter.prepared_probabilities(one[np.newaxis])[0]) for one in split.images
        ]
        hits = [np.count_nonzero(one & truth) for one, truth in zip(masks, split.masks, strict=True)]
        np.testing.assert_array_equal(found.scores.splits[name].sums[:, 0], hits)


def test_the_network_sees_each_image_once_for_its_postprocessing(
    models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = data()
    seen = []
    forward = Segmenter.forward

    def counted(self: Segmenter, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Segmenter, "forward", counted)
    evaluate_postprocessed(models[0], prepared, device="cpu", threads=1)
    assert sum(seen) == len(prepared.valid.names) + len(prepared.test.names)
