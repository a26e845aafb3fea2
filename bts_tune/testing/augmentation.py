"""What every augmentation step must keep; needs pytest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.augmentation.steps.base import Step
from bts_tune.registry import AUGMENTATION_STEPS

SIZE = 64
COUNT = 2000
BATCH = 100
CPU = torch.device("cpu")

Outputs = tuple[np.ndarray, np.ndarray]
"""Images and masks, [n, S, S]."""

_Statistics = dict[str, np.ndarray]


class StepContract(ABC):
    """Tests of one step. Inherit it, and return the step from the fixture:

        class TestGhosting(StepContract):
            magnitude = "intensity"

            @pytest.fixture
            def step(self) -> Step:
                return Ghosting(1, 0.3)

    Give it probability 1 and magnitudes that can be seen on an image of 64 x 64 pixels. A step without magnitudes gets
    a probability below 1, and `magnitude = "probability"`.

    Attributes:
        magnitude: a field of the step. The comparison of both forms must notice if it is larger by three tenths: a step
            whose effect is too small to be seen would pass any comparison. None for a step with no batched form.
    """

    magnitude: ClassVar[str | None] = None

    @pytest.fixture
    @abstractmethod
    def step(self) -> Step:
        """Return the step to test."""

    def test_it_is_registered(self, step: Step) -> None:
        """Its name leads to its class, and it is frozen."""
        assert AUGMENTATION_STEPS.get(step.name) is type(step)
        assert step.kind in ("geometry", "intensity")
        assert hash(step) == hash(replace(step))  # frozen, and its fields are plain values

    @pytest.mark.parametrize("size", [32, 64, 160])
    @pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
    def test_images_and_masks_keep_their_kind(self, step: Step, strength: float, size: int) -> None:
        """At any strength and size, images stay whole grey values, masks stay 0 and 1, and both keep their shape."""
        standard = replace(type(step).standard(strength, size), probability=1)
        images, masks = one_by_one([standard], 20, size)
        assert images.shape == masks.shape == (20, size, size)
        assert images.dtype == masks.dtype == np.uint8
        assert set(np.unique(masks)) <= {0, 1}
        if has_batched_form(standard, size):
            images, masks = in_batches([standard], 20, size)
            assert images.shape == masks.shape == (20, size, size)
            assert images.dtype == masks.dtype == np.float32
            assert set(np.unique(masks)) <= {0, 1}
            assert np.array_equal(images, images.round().clip(0, 255))

    @pytest.mark.parametrize("channels", [3, 6])
    def test_channels_are_moved_alike(self, step: Step, channels: int) -> None:
        """An image keeps its channels; a step of the kind 'geometry' moves equal ones alike."""
        image, mask = head(SIZE)
        changed, moved = Augmenter([step])(np.dstack([image] * channels), mask, 7)
        assert changed.shape == (SIZE, SIZE, channels)
        assert changed.dtype == np.uint8
        assert moved.shape == mask.shape
        if step.kind == "geometry":
            assert (changed == changed[..., :1]).all(), "the channels of an image move apart"

    def test_masks_follow_geometry_alone(self, step: Step) -> None:
        """Of an image that is its own mask, both stay the same but for the edge, where the image is interpolated."""
        _, mask = head(96)
        for images, masks in both_forms(step, 60, (mask * 255, mask)):
            if step.kind == "intensity":
                assert (masks == mask).all(), "an intensity step changes the mask"
            else:
                seen = images > 127
                union = (seen | (masks == 1)).sum(axis=(1, 2))
                overlap = (seen & (masks == 1)).sum(axis=(1, 2))[union > 0] / union[union > 0]
                assert overlap.min() > 0.85, "an image and its mask move apart"
                assert overlap.mean() > 0.95, "images and their masks move apart"

    def test_probability_0_changes_nothing(self, step: Step) -> None:
        """With probability 0, images and masks stay as they are."""
        image, mask = head(SIZE)
        for images, masks in both_forms(replace(step, probability=0), 40):
            assert (images == image).all()
            assert (masks == mask).all()

    def test_it_happens_with_its_probability(self, step: Step) -> None:
        """With probability 0.5, half as many images change as with probability 1."""
        image, _ = head(SIZE)
        always = both_forms(replace(step, probability=1), 400)
        often = both_forms(replace(step, probability=0.5), 400)
        for (one, _), (other, _) in zip(always, often, strict=True):
            certain, half = ((images != image).any(axis=(1, 2)).mean() for images in (one, other))
            assert certain > 0.5, "with probability 1, most images stay as they are"
            assert half / certain == pytest.approx(0.5, abs=0.15)

    @pytest.mark.parametrize("size", [64, 160])
    def test_beside_changed_images_others_stay_as_they_are(self, step: Step, size: int) -> None:
        """In a batch, an image that the step passes by stays as it is to the last bit, and so does its mask."""
        noise = np.random.default_rng(0).integers(0, 256, (size, size)).astype(np.uint8)
        mask = noise % 2
        for images, masks in both_forms(replace(step, probability=0.5), 60, (noise, mask)):
            same = (images == noise).all(axis=(1, 2))
            assert 10 < same.sum() < 50
            assert (masks[same] == mask).all()

    def test_the_seed_decides(self, step: Step) -> None:
        """The same seed gives the same images and masks, and another seed others."""
        sometimes = replace(step, probability=0.5)
        for one, again in zip(both_forms(sometimes, 30), both_forms(sometimes, 30), strict=True):
            assert np.array_equal(one[0], again[0])
            assert np.array_equal(one[1], again[1])
            assert len({image.tobytes() for image in one[0]}) > 1, "every seed gives the same"

    def test_what_it_is_given_stays_as_it_is(self, step: Step) -> None:
        """The arrays and tensors that are passed in are not written to."""
        image, mask = head(SIZE)
        kept, kept_mask = image.copy(), mask.copy()
        Augmenter([replace(step, probability=1)])(image, mask, 0)
        assert np.array_equal(image, kept)
        assert np.array_equal(mask, kept_mask)
        augment = BatchAugmenter.of([replace(step, probability=1)], SIZE, CPU)
        if augment is not None:
            images, masks = (torch.from_numpy(one).repeat(4, 1, 1, 1).float() for one in (image, mask))
            augment(images, masks, augment.draw(4, 0), 0)
            assert (images.numpy() == image).all()
            assert (masks.numpy() == mask).all()

    def test_strength_scales_the_change(self, step: Step) -> None:
        """A larger strength changes images more."""
        if len(fields(step)) == 1:
            pytest.skip("it has no magnitude")
        size = 160
        pair = np.random.default_rng(0).integers(0, 256, (size, size)).astype(np.uint8), head(size)[1]
        changes = []
        for strength in (0.5, 1.0, 2.0):
            standard = replace(type(step).standard(strength, size), probability=1)
            changes.append(np.abs(one_by_one([standard], 100, size, pair)[0].astype(float) - pair[0]).mean())
        assert all(less < more for less, more in pairwise(changes)), changes

    def test_both_forms_have_the_same_distribution(self, step: Step) -> None:
        """Images changed one by one and in batches cannot be told apart."""
        if not has_batched_form(step, SIZE):
            pytest.skip("it has no batched form")
        p_value, statistic = _least_likely(_statistics(one_by_one([step])), _of_batches(step))
        assert p_value > 1e-4, f"image by image and in batches differ in: {statistic}"

    def test_another_magnitude_would_be_noticed(self, step: Step) -> None:
        """The comparison of both forms tells apart a magnitude that is larger by three tenths."""
        if not has_batched_form(step, SIZE):
            pytest.skip("it has no batched form")
        assert self.magnitude is not None, "name the field `magnitude` of this class"
        stronger = replace(step, **{self.magnitude: 1.3 * getattr(step, self.magnitude)})
        assert _least_likely(_of_batches(step), _of_batches(stronger))[0] < 1e-6


def head(size: int) -> Outputs:
    """Return a slice with a smooth grey head and a brighter tumour off its centre, and the tumour's mask; uint8."""
    image = np.full((size, size), 20, dtype=np.uint8)
    middle = size // 2
    cv2.ellipse(image, (middle, middle), (round(size * 0.34), round(size * 0.42)), 0, 0, 360, 120, -1)
    mask = np.zeros((size, size), dtype=np.uint8)
    cv2.circle(mask, (round(size * 0.4), round(size * 0.36)), size // 8, 1, -1)
    image[mask == 1] = 190
    return cv2.GaussianBlur(image, (0, 0), size / 64), mask


def has_batched_form(step: Step, size: int) -> bool:
    """Return whether a step can be applied to a whole batch."""
    return BatchAugmenter.of([step], size, CPU) is not None


def one_by_one(steps: Sequence[Step], count: int = COUNT, size: int = SIZE, pair: Outputs | None = None) -> Outputs:
    """Augment a slice and its mask `count` times, image by image, each time with another seed."""
    image, mask = pair or head(size)
    augment = Augmenter(steps)
    outputs = [augment(image.copy(), mask.copy(), seed) for seed in range(count)]
    return np.array([one for one, _ in outputs]), np.array([one for _, one in outputs])


def in_batches(steps: Sequence[Step], count: int = COUNT, size: int = SIZE, pair: Outputs | None = None) -> Outputs:
    """Augment a slice and its mask `count` times, in batches, each with another seed."""
    augment = BatchAugmenter.of(steps, size, CPU)
    assert augment is not None, "a step has no batched form"
    image, mask = (torch.from_numpy(one) for one in pair or head(size))
    images, masks = [], []
    for seed, start in enumerate(range(0, count, BATCH)):
        number = min(BATCH, count - start)
        shape = (number, 1, size, size)
        changed = augment(image.expand(shape), mask.expand(shape), augment.draw(number, seed), seed)
        images.append(changed[0][:, 0].numpy())
        masks.append(changed[1][:, 0].numpy())
    return np.concatenate(images), np.concatenate(masks)


def both_forms(step: Step, count: int, pair: Outputs | None = None) -> list[Outputs]:
    """Augment a slice and its mask `count` times image by image, and in batches if the step has a form for that."""
    size = len(pair[0]) if pair else SIZE
    outputs = [one_by_one([step], count, size, pair)]
    return [*outputs, in_batches([step], count, size, pair)] if has_batched_form(step, size) else outputs


def least_likely(one: Outputs, other: Outputs) -> tuple[float, str]:
    """Compare the distributions of augmented images of `head`.

    Returns:
        The smallest p-value of two-sample Kolmogorov-Smirnov tests of 18 statistics, and the statistic's name.
    """
    return _least_likely(_statistics(one), _statistics(other))


def _least_likely(one: _Statistics, other: _Statistics) -> tuple[float, str]:
    return min((float(ks_2samp(one[name], other[name], method="asymp").pvalue), name) for name in one)


@lru_cache(maxsize=8)
def _of_batches(step: Step) -> _Statistics:
    return _statistics(in_batches([step]))


def _statistics(outputs: Outputs) -> _Statistics:
    """Return what is measured of each image and mask, [n]; a quarter of a grey value or of a pixel does not count."""
    images, masks = outputs
    starts = range(0, len(images), BATCH)  # what is measured at a time fits into the processor's cache
    parts = [_measured(images[start : start + BATCH], masks[start : start + BATCH]) for start in starts]
    rng = np.random.default_rng(0)
    return {
        name: np.concatenate([part[name] for part in parts]) + rng.normal(0, 0.25, len(images)) for name in parts[0]
    }


def _measured(images: np.ndarray, masks: np.ndarray) -> _Statistics:
    images, masks = images.astype(float), masks.astype(float)
    size = images.shape[1]
    original, _ = head(size)
    half, y, x = size // 2, *np.mgrid[:size, :size]
    area = masks.sum(axis=(1, 2))
    share = masks / np.maximum(area, 1)[:, None, None]
    centre_x, centre_y = (share * x).sum(axis=(1, 2)), (share * y).sum(axis=(1, 2))
    from_x, from_y = x - centre_x[:, None, None], y - centre_y[:, None, None]
    around = images[:, 2:, 1:-1] + images[:, :-2, 1:-1] + images[:, 1:-1, 2:] + images[:, 1:-1, :-2]
    return {
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
