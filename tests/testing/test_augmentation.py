"""A step that breaks the contract is found; one without a batched form can keep it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch

from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.augmentation.steps.noise import Noise
from bts_tune.registry import AUGMENTATION_STEPS
from bts_tune.testing.augmentation import StepContract


@dataclass(frozen=True)
class Lines(Step):
    """Set a share of the rows to black; it has no batched form."""

    kind: ClassVar[Kind] = "intensity"

    share: float

    @classmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        return cls(0.5, min(0.2 * strength, 0.9))

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = rng.random(len(image)) < self.share
        return np.where(rows[:, None], 0, image).astype(image.dtype)

    def changed_mask(self, mask: np.ndarray) -> np.ndarray:
        return mask

    def transform(self) -> Transform:
        import albumentations as A

        step = self

        class OnArrays(A.DualTransform):
            _targets = (A.core.type_definitions.Targets.IMAGE, A.core.type_definitions.Targets.MASK)

            def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
                return step.changed(img, self.random_generator)

            def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
                return step.changed_mask(mask)

        return OnArrays(p=self.probability)


class MovesMask(Lines):
    def changed_mask(self, mask: np.ndarray) -> np.ndarray:
        return np.roll(mask, 9, axis=1)


class LeavesMask(MovesMask):
    kind: ClassVar[Kind] = "geometry"

    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.roll(image, -9, axis=1)


class GreyMask(Lines):
    def changed_mask(self, mask: np.ndarray) -> np.ndarray:
        return mask * 7


class Floats(Lines):
    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image.astype(np.float32)


class Unseeded(Lines):
    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return super().changed(image, np.random.default_rng())


class InPlace(Lines):
    def changed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        image[::2] = 0
        return image


class AnyStrength(Lines):
    @classmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        return cls(0.5, 0.2)


class Always(Lines):
    def transform(self) -> Transform:
        return replace(self, probability=1).transform() if self.probability < 1 else super().transform()


class WeakInBatches(Noise):
    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        return Noise(self.probability, self.deviation / 2).batched(image_size, generator)


class NoIdentity(Noise):
    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        return Offset()


class Offset(BatchOperation):
    identity = np.array([1.0])

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(2, 9, (count, 1))

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        return (images + parameters).clamp(0, 255).floor(), masks


class Contract(StepContract):
    magnitude = "deviation"

    @pytest.fixture
    def step(self) -> Step:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUGMENTATION_STEPS, "_entries", dict(AUGMENTATION_STEPS._entries))
    AUGMENTATION_STEPS.register("lines")(Lines)


class TestLines(StepContract):
    """No test of the contract asks for a batched form."""

    @pytest.fixture
    def step(self) -> Step:
        return Lines(1, 0.3)


@pytest.mark.parametrize(
    ("test", "step"),
    [
        (lambda step: Contract().test_it_is_registered(step), MovesMask(1, 0.3)),
        (lambda step: Contract().test_masks_follow_geometry_alone(step), MovesMask(1, 0.3)),
        (lambda step: Contract().test_masks_follow_geometry_alone(step), LeavesMask(1, 0.3)),
        (lambda step: Contract().test_images_and_masks_keep_their_kind(step, 1.0, 64), GreyMask(1, 0.3)),
        (lambda step: Contract().test_images_and_masks_keep_their_kind(step, 1.0, 64), Floats(1, 0.3)),
        (lambda step: Contract().test_the_seed_decides(step), Unseeded(1, 0.3)),
        (lambda step: Contract().test_what_it_is_given_stays_as_it_is(step), InPlace(1, 0.3)),
        (lambda step: Contract().test_strength_scales_the_change(step), AnyStrength(1, 0.3)),
        (lambda step: Contract().test_probability_0_changes_nothing(step), Always(1, 0.3)),
        (lambda step: Contract().test_it_happens_with_its_probability(step), Always(1, 0.3)),
        (lambda step: Contract().test_both_forms_have_the_same_distribution(step), WeakInBatches(1, 0.06)),
        (lambda step: Contract().test_another_magnitude_would_be_noticed(step), Noise(1, 1e-4)),
        (lambda step: Contract().test_probability_0_changes_nothing(step), NoIdentity(1, 0.06)),
        (lambda step: Contract().test_beside_changed_images_others_stay_as_they_are(step, 64), NoIdentity(1, 0.06)),
    ],
)
def test_what_breaks_the_contract_is_found(test: Callable[[Step], None], step: Step) -> None:
    with pytest.raises(AssertionError):
        test(step)
