"""Brightness and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("brightness-contrast")
@dataclass(frozen=True)
class BrightnessContrast(Step):
    """Multiply grey values by 1 - contrast to 1, then add -brightness to brightness times 255.

    Contrast is only lowered, and brightness changes little: half of an equalised slice is bright, and more of either
    would turn the brain, tumour and all, plain white.
    """

    kind: ClassVar[Kind] = "intensity"

    brightness: float
    contrast: float

    @classmethod
    def standard(cls, strength: float, image_size: int, brightness: float = 0.06, contrast: float = 0.25) -> Self:
        """Change eight images in ten."""
        return cls(0.8, brightness * strength, min(contrast * strength, 0.8))

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.RandomBrightnessContrast(
            brightness_limit=(-self.brightness, self.brightness),
            contrast_limit=(-self.contrast, 0.0),
            p=self.probability,
        )

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return one multiplication and one addition."""
        return _BrightnessContrast(self)


class _BrightnessContrast(BatchOperation):
    """Its parameters are the factor, and what is added after it, in grey values."""

    identity = np.array([1.0, 0.0])

    def __init__(self, step: BrightnessContrast) -> None:
        self._step = step

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        limit = self._step.brightness
        return np.stack([1 - rng.uniform(0, self._step.contrast, count), 255 * rng.uniform(-limit, limit, count)], 1)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        factor, offset = parameters.split(1, dim=3)
        return whole_greys(torch.addcmul(offset, images, factor)), masks
