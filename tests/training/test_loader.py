from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bts_tune.augmentation.steps.base import Step
from bts_tune.augmentation.steps.noise import Noise
from bts_tune.config import TrialConfig
from bts_tune.data.prepared.prepare import PreparedData
from bts_tune.training.loader import Batch, BatchLoader, batch_indices, standardize
from tests.training.builders import data, tiny

CPU = torch.device("cpu")


def epoch(
    config: TrialConfig, prepared: PreparedData, number: int = 1, workers: int = 1, *, augment_batches: bool = False
) -> list[Batch]:
    loader = BatchLoader(prepared, config, CPU, workers, augment_batches=augment_batches)
    try:
        return list(loader.training(number))
    finally:
        loader.close()


def pixels(batches: list[Batch]) -> list[bytes]:
    return [image.numpy().tobytes() for images, _ in batches for image in images]


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


# --- which images ---


@pytest.mark.parametrize(("count", "size"), [(8, 4), (10, 4), (3, 8), (7, 7), (2, 2)])
def test_every_image_exactly_once(count: int, size: int) -> None:
    batches = batch_indices(count, tiny(batch_size=size), epoch=1)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])


def test_a_last_batch_of_one_is_left_out() -> None:
    batches = batch_indices(9, tiny(batch_size=4), epoch=1)
    assert [len(batch) for batch in batches] == [4, 4]
    left_out = {int(*set(range(9)) - set(np.concatenate(batch_indices(9, tiny(batch_size=4), e)))) for e in range(30)}
    assert len(left_out) > 5  # another one each epoch


def test_a_single_image_is_a_batch() -> None:
    assert [len(batch) for batch in batch_indices(1, tiny(), epoch=1)] == [1]


def test_another_order_each_epoch_and_seed() -> None:
    def order(seed: int, number: int) -> list[int]:
        return np.concatenate(batch_indices(40, tiny(seed=seed), number)).tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, number)) for seed in range(3) for number in range(3)}) == 9


@pytest.mark.parametrize(("count", "steps", "images"), [(8, 2, 8), (9, 2, 8), (10, 3, 10), (1, 1, 1)])
def test_counts(count: int, steps: int, images: int) -> None:
    loader = BatchLoader(data(train=count), tiny(batch_size=4), CPU)
    assert (loader.steps_per_epoch, loader.images_per_epoch) == (steps, images)
    batches = list(loader.training(1))
    loader.close()
    assert (len(batches), sum(len(image) for image, _ in batches)) == (steps, images)


# --- what they hold ---


def test_standardized_with_the_training_splits_mean_and_deviation() -> None:
    prepared = data(train=8)
    batches = epoch(tiny(), prepared)
    images, masks = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert images.shape == masks.shape == (8, 1, 32, 32)
    assert images.dtype == masks.dtype == torch.float32
    assert float(images.mean()) == pytest.approx(0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1, abs=1e-3)
    order = np.concatenate(batch_indices(8, tiny(), 1))
    expected = (prepared.train.images[order] - prepared.mean) / prepared.std
    np.testing.assert_allclose(images[:, 0].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.array_equal(masks[:, 0].numpy(), prepared.train.masks[order])


def test_standardize() -> None:
    found = standardize(torch.tensor([[[[0, 100], [200, 255]]]], dtype=torch.uint8), 100.0, 50.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[[[-2, 0], [2, 3.1]]]]))


@pytest.mark.parametrize("in_batches", [False, True])
def test_evaluation_keeps_the_order_and_the_last_image(in_batches: bool) -> None:
    prepared = data(valid=9)
    loader = BatchLoader(prepared, tiny(augmentation="strong"), CPU, augment_batches=in_batches)
    batches = list(loader.evaluation(prepared.valid))
    loader.close()
    assert [len(image) for image, _ in batches] == [4, 4, 1]
    expected = standardize(torch.from_numpy(prepared.valid.images).unsqueeze(1), prepared.mean, prepared.std)
    assert torch.equal(torch.cat([image for image, _ in batches]), expected)
    assert np.array_equal(torch.cat([mask for _, mask in batches])[:, 0].numpy(), prepared.valid.masks)


def test_the_prepared_arrays_are_left_alone() -> None:
    prepared = data()
    images, masks = prepared.train.images.copy(), prepared.train.masks.copy()
    prepared.train.images.flags.writeable = prepared.train.masks.flags.writeable = False
    epoch(tiny(augmentation="strong"), prepared)
    assert np.array_equal(prepared.train.images, images)
    assert np.array_equal(prepared.train.masks, masks)


@pytest.mark.parametrize("in_batches", [False, True])
def test_augmentation_changes_training_images_anew_each_epoch(in_batches: bool) -> None:
    prepared, strong = data(), tiny(augmentation="strong")
    plain = set(pixels(epoch(tiny(), prepared)))
    first, second = (set(pixels(epoch(strong, prepared, number, augment_batches=in_batches))) for number in (1, 2))
    assert len(first) == len(second) == 8
    assert len(first - plain) >= 7
    assert len(first - second) >= 7


@pytest.mark.parametrize("in_batches", [False, True])
def test_masks_stay_binary_under_augmentation(in_batches: bool) -> None:
    for _, masks in epoch(tiny(augmentation="strong", augmentation_strength=2.0), data(), augment_batches=in_batches):
        assert set(masks.unique().tolist()) <= {0.0, 1.0}


def test_batches_augmented_whole_follow_from_seed_and_epoch_alone() -> None:
    config, prepared = tiny(augmentation="strong"), data()
    loader = BatchLoader(prepared, config, CPU, augment_batches=True)
    list(loader.training(1))
    assert pixels(list(loader.training(2))) == pixels(epoch(config, prepared, 2, augment_batches=True))
    loader.close()
    other = epoch(tiny(augmentation="strong", seed=1), prepared, 2, augment_batches=True)
    assert not set(pixels(other)) & set(pixels(epoch(config, prepared, 2, augment_batches=True)))


def test_standardized_after_augmentation_in_batches() -> None:
    prepared, config = data(), tiny(augmentation="light", augmentation_strength=0.0)  # flips alone
    images = torch.cat([image for image, _ in epoch(config, prepared, augment_batches=True)])[:, 0]
    order = np.concatenate(batch_indices(8, config, 1))
    plain = standardize(torch.from_numpy(prepared.train.images[order]).unsqueeze(1), prepared.mean, prepared.std)[:, 0]
    same = [torch.equal(one, other) for one, other in zip(images, plain, strict=True)]
    mirrored = [torch.equal(one, other.flip(1)) for one, other in zip(images, plain, strict=True)]
    assert [one or other for one, other in zip(same, mirrored, strict=True)] == [True] * 8
    assert any(same)
    assert any(mirrored)


@pytest.mark.parametrize(
    ("augmentation", "augment_batches", "expected"),
    [
        ("none", None, "none"),
        ("none", True, "none"),
        ("light", None, "image by image, by albumentations"),
        ("light", True, "batch by batch, by torch"),
    ],
)
def test_says_how_it_augments(augmentation: str, augment_batches: bool | None, expected: str) -> None:
    loader = BatchLoader(data(), tiny(augmentation=augmentation), CPU, augment_batches=augment_batches)
    assert loader.augmentation == expected
    loader.close()


def test_a_step_without_a_batched_form_is_applied_image_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all the others of its policy, also where batches would be augmented whole."""
    prepared, config = data(), tiny(augmentation="strong")
    expected = pixels(epoch(config, prepared))
    monkeypatch.setattr(Noise, "batched", Step.batched)
    loader = BatchLoader(prepared, config, CPU, augment_batches=True)
    assert loader.augmentation == "image by image, by albumentations"
    assert pixels(list(loader.training(1))) == expected
    loader.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_augments_in_batches() -> None:
    loader = BatchLoader(data(), tiny(augmentation="strong"), torch.device("cuda"))
    assert loader.augmentation == "batch by batch, by torch"
    for image, mask in loader.training(1):
        assert image.device.type == mask.device.type == "cuda"
        assert image.dtype == mask.dtype == torch.float32
    loader.close()


def test_what_happens_to_an_image_does_not_depend_on_its_batch() -> None:
    one = pixels(epoch(tiny(augmentation="strong", batch_size=2), data()))
    other = pixels(epoch(tiny(augmentation="strong", batch_size=8), data()))
    assert one == other


@pytest.mark.parametrize(("augmentation", "augment_batches"), [("none", False), ("strong", False), ("strong", True)])
def test_the_number_of_workers_changes_nothing(augmentation: str, augment_batches: bool) -> None:
    config = tiny(augmentation=augmentation, batch_size=2)
    one, four = (epoch(config, data(train=20), workers=workers, augment_batches=augment_batches) for workers in (1, 4))
    for (image, mask), (same_image, same_mask) in zip(one, four, strict=True):
        assert torch.equal(image, same_image)
        assert torch.equal(mask, same_mask)


# --- threads ---


def test_close_ends_the_threads() -> None:
    loader = BatchLoader(data(train=20), tiny(batch_size=2), CPU, workers=3)
    list(loader.training(1))
    assert loader_threads()
    loader.close()
    loader.close()
    assert not loader_threads()


def test_close_ends_the_threads_in_the_middle_of_an_epoch() -> None:
    loader = BatchLoader(data(train=20), tiny(batch_size=2), CPU, workers=3)
    next(loader.training(1))
    loader.close()
    assert not loader_threads()


def test_reads_no_more_than_a_batch_a_worker_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = BatchLoader(data(train=40), tiny(batch_size=2), CPU, workers=3)
    read: list[int] = []
    assemble = loader._assemble
    monkeypatch.setattr(loader, "_assemble", lambda *args: read.append(1) or assemble(*args))  # type: ignore[func-returns-value]
    batches = loader.training(1)
    next(batches)
    time.sleep(0.2)
    assert len(read) <= 4
    loader.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_in_a_worker_surfaces(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    loader = BatchLoader(data(train=20), tiny(batch_size=2), CPU, workers)
    calls: list[int] = []
    assemble = loader._assemble

    def fail_once(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return assemble(*args)

    monkeypatch.setattr(loader, "_assemble", fail_once)
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader.training(1))
    loader.close()
    assert not loader_threads()


def test_albumentations_is_imported_for_an_augmentation_alone() -> None:
    code = """
import sys, torch
from bts_tune.training import checkpoint, evaluation, loader, loop
from bts_tune.training.prediction import predict as prediction
heavy = {"albumentations", "segmentation_models_pytorch", "timm", "ray", "matplotlib", "optuna", "pandas"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from tests.training.builders import data, tiny
loader.BatchLoader(data(), tiny(), torch.device("cpu"))
assert "albumentations" not in sys.modules
loader.BatchLoader(data(), tiny(augmentation="light"), torch.device("cpu"))
assert "albumentations" in sys.modules
"""
    root = Path(__file__).parents[2]
    finished = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
