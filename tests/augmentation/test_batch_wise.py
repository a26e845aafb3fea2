from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.augmentation.policies import Step
from bts_tune.config import AugmentationKind, AugmentationPart
from tests.augmentation.test_image_wise import POLICIES, head

SIZE = 64
COUNT = 2000
BATCH = 100
CPU = torch.device("cpu")

STEPS: dict[str, Step] = {
    "horizontal flip": policies.HorizontalFlip(0.5),
    "vertical flip": policies.VerticalFlip(0.5),
    "rotation": policies.Affine(1, 45, 0, 0, 0),
    "scale": policies.Affine(1, 0, 0.25, 0, 0),
    "shift": policies.Affine(1, 0, 0, 0.12, 0),
    "shear": policies.Affine(1, 0, 0, 0, 10),
    "elastic": policies.Elastic(1, 20, 4),
    "grid": policies.GridDistortion(1, 0.2),
    "brightness": policies.BrightnessContrast(1, 0.08, 0),
    "contrast": policies.BrightnessContrast(1, 0, 0.35),
    "gamma": policies.Gamma(1, 0.4),
    "illumination": policies.Illumination(1, 0.01, 0.15),
    "noise": policies.Noise(1, 0.06),
    "blur": policies.Blur(1, 1.5),
    "downscale": policies.Downscale(1, 0.4),
}
MAGNITUDES = {
    "rotation": "rotate",
    "scale": "scale",
    "shift": "shift",
    "shear": "shear",
    "elastic": "alpha",
    "grid": "limit",
    "brightness": "brightness",
    "contrast": "contrast",
    "gamma": "limit",
    "illumination": "highest",
    "noise": "deviation",
    "blur": "sigma",
    "downscale": "loss",
}

Outputs = tuple[np.ndarray, np.ndarray]
"""float64 images and masks, [N, S, S]."""


def policy(name: str, kind: str = "both", strength: float = 1.0, size: int = SIZE) -> list[Step]:
    fields = {"augmentation": name, "augmentation_kind": kind, "augmentation_strength": strength}
    return policies.steps(AugmentationPart.model_validate(fields), size)


def one_by_one(steps: Sequence[Step]) -> Outputs:
    image, mask = head(SIZE)
    augment = Augmenter(steps)
    outputs = [augment(image.copy(), mask.copy(), seed) for seed in range(COUNT)]
    return np.array([one for one, _ in outputs], float), np.array([one for _, one in outputs], float)


def augmented(
    augment: BatchAugmenter, image: torch.Tensor, mask: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return augment(image, mask, augment.draw(len(image), seed), seed)


def changed(
    steps: Sequence[Step], seed: int, count: int = BATCH, size: int = SIZE
) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = (torch.from_numpy(one).expand(count, 1, size, size) for one in head(size))
    return augmented(BatchAugmenter(steps, size, CPU), image, mask, seed)


def in_batches(steps: Sequence[Step]) -> Outputs:
    outputs = [changed(steps, seed) for seed in range(COUNT // BATCH)]
    images, masks = (torch.cat(part)[:, 0].numpy().astype(float) for part in zip(*outputs, strict=True))
    return images, masks


def statistics(outputs: Outputs) -> dict[str, np.ndarray]:
    """Return what is measured of each image and mask, [N]; a quarter of a grey or of a pixel does not count."""
    images, masks = outputs
    original, _ = head(SIZE)
    half, y, x = SIZE // 2, *np.mgrid[:SIZE, :SIZE]
    area = masks.sum(axis=(1, 2))
    share = masks / np.maximum(area, 1)[:, None, None]
    centre_x, centre_y = (share * x).sum(axis=(1, 2)), (share * y).sum(axis=(1, 2))
    from_x, from_y = x - centre_x[:, None, None], y - centre_y[:, None, None]
    around = images[:, 2:, 1:-1] + images[:, :-2, 1:-1] + images[:, 1:-1, 2:] + images[:, 1:-1, :-2]
    measured = {
        "mean": images.mean(axis=(1, 2)),
        "deviation": images.std(axis=(1, 2)),
        "dark": np.percentile(images, 5, axis=(1, 2)),
        "bright": np.percentile(images, 95, axis=(1, 2)),
        "slopes across": np.abs(np.diff(images, axis=2)).mean(axis=(1, 2)),
        "slopes down": np.abs(np.diff(images, axis=1)).mean(axis=(1, 2)),
        "roughness": (around - 4 * images[:, 1:-1, 1:-1]).std(axis=(1, 2)),
        "change": np.abs(images - original).mean(axis=(1, 2)),
        "left to right": images[:, :, :half].mean(axis=(1, 2)) - images[:, :, half:].mean(axis=(1, 2)),
        "top to bottom": images[:, :half].mean(axis=(1, 2)) - images[:, half:].mean(axis=(1, 2)),
        "corner": images[:, :8, :8].mean(axis=(1, 2)),
        "top edge": np.abs(np.diff(images[:, 0], axis=1)).mean(axis=1),
        "bottom edge": np.abs(np.diff(images[:, -1], axis=1)).mean(axis=1),
        "area": area,
        "centre x": centre_x,
        "centre y": centre_y,
        "width": np.sqrt((share * from_x**2).sum(axis=(1, 2))),
        "slant": (share * from_x * from_y).sum(axis=(1, 2)),
    }
    rng = np.random.default_rng(0)
    return {name: values + rng.normal(0, 0.25, len(values)) for name, values in measured.items()}


def least_likely(one: Outputs, other: Outputs) -> tuple[float, str]:
    """Return the smallest p-value of all statistics, by two-sample Kolmogorov-Smirnov tests, and its name."""
    first, second = statistics(one), statistics(other)
    return min((float(ks_2samp(first[name], second[name], method="asymp").pvalue), name) for name in first)


# --- the same distribution of images as one by one ---


@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_the_same_distribution(name: str) -> None:
    p_value, statistic = least_likely(one_by_one([STEPS[name]]), in_batches([STEPS[name]]))
    assert p_value > 1e-4, statistic


@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("kind", get_args(AugmentationKind))
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_the_same_distribution(name: str, kind: str, strength: float) -> None:
    steps = policy(name, kind, strength)
    p_value, statistic = least_likely(one_by_one(steps), in_batches(steps))
    assert p_value > 1e-4, statistic


@pytest.mark.parametrize("name", MAGNITUDES)
def test_another_magnitude_would_be_noticed(name: str) -> None:
    """The comparison above tells a magnitude apart that is larger by three tenths."""
    field = MAGNITUDES[name]
    stronger = replace(STEPS[name], **{field: 1.3 * getattr(STEPS[name], field)})
    assert least_likely(in_batches([STEPS[name]]), in_batches([stronger]))[0] < 1e-6


@pytest.mark.parametrize("name", ["horizontal flip", "vertical flip", "gamma"])
def test_another_probability_would_be_noticed(name: str) -> None:
    usual, rarer = (replace(STEPS[name], probability=p) for p in (0.5, 0.4))
    assert least_likely(in_batches([usual]), in_batches([rarer]))[0] < 1e-6


# --- what comes out ---


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(get_args(AugmentationKind)),
    st.floats(0, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([32, 64, 160]),  # 160 is a multiple of the grid's cells
)
@settings(max_examples=60, deadline=None)
def test_images_and_masks_keep_their_kind(name: str, kind: str, strength: float, seed: int, size: int) -> None:
    images, masks = changed(policy(name, kind, strength, size), seed, 3, size)
    assert images.shape == masks.shape == (3, 1, size, size)
    assert images.dtype == masks.dtype == torch.float32
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(images, images.round().clamp(0, 255))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [64, 160])
def test_a_step_that_passes_by_changes_nothing(name: str, size: int) -> None:
    """Beside images that it changes."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, size, size))
    image, mask = torch.from_numpy(noise).expand(30, -1, -1, -1), torch.from_numpy(noise % 2).expand(30, -1, -1, -1)
    augment = BatchAugmenter([replace(STEPS[name], probability=0.5)], size, CPU)
    images, masks = augmented(augment, image, mask, 0)
    same = [torch.equal(one, image[0].float()) for one in images]
    assert 5 < sum(same) < 25
    assert all(torch.equal(masks[place], mask[0].float()) for place in np.flatnonzero(same))


def test_no_step_changes_nothing() -> None:
    images, masks = changed(policy("none"), 0)
    image, mask = head(SIZE)
    assert bool((images == torch.from_numpy(image)).all())
    assert bool((masks == torch.from_numpy(mask)).all())


@pytest.mark.parametrize("name", POLICIES)
def test_geometry_moves_images_and_masks_alike(name: str) -> None:
    """Of an image that is its own mask, both stay the same but for the edge, where the image is interpolated."""
    mask = torch.from_numpy(head(96)[1]).expand(BATCH, 1, 96, 96)
    images, masks = augmented(BatchAugmenter(policy(name, "geometry", size=96), 96, CPU), mask * 255, mask, 1)
    overlap = ((images > 127) & (masks == 1)).sum(dim=(1, 2, 3)) / ((images > 127) | (masks == 1)).sum(dim=(1, 2, 3))
    assert float(overlap.min()) > 0.85
    assert float(overlap.mean()) > 0.95


@pytest.mark.parametrize("name", POLICIES)
def test_intensity_leaves_masks_alone(name: str) -> None:
    _, masks = changed(policy(name, "intensity"), 0)
    assert bool((masks == torch.from_numpy(head(SIZE)[1])).all())


def test_every_image_of_a_batch_is_changed_in_its_own_way() -> None:
    images, _ = changed(policy("strong"), 0)
    assert len({one.numpy().tobytes() for one in images}) == BATCH


def test_the_seed_decides() -> None:
    augment = BatchAugmenter(policy("strong"), SIZE, CPU)
    image, mask = (torch.from_numpy(one).expand(4, 1, SIZE, SIZE) for one in head(SIZE))
    first, other, again = (augmented(augment, image, mask, seed) for seed in (1, 2, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_torchs_own_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    changed(policy("strong"), 0)
    assert torch.equal(torch.rand(4), expected)


def test_the_images_given_are_left_alone() -> None:
    image, mask = (torch.from_numpy(one).repeat(4, 1, 1, 1).float() for one in head(SIZE))
    kept, kept_mask = image.clone(), mask.clone()
    augmented(BatchAugmenter(policy("strong"), SIZE, CPU), image, mask, 0)
    assert torch.equal(image, kept)
    assert torch.equal(mask, kept_mask)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for() -> None:
    device = torch.device("cuda")
    augment = BatchAugmenter(policy("strong", size=SIZE), SIZE, device)
    image, mask = (torch.from_numpy(one).expand(8, 1, SIZE, SIZE).to(device) for one in head(SIZE))
    drawn = augment.draw(8, 0).to(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(image, mask, drawn, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
