"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("noise")
@dataclass(frozen=True)
class Noise(Step):
    """Add Gaussian noise whose standard deviation is 0 to `deviation` times 255, rounded towards 0."""

    kind: ClassVar[Kind] = "intensity"

    deviation: float

    @classmethod
    def standard(cls, strength: float, image_size: int, deviation: float = 0.03) -> Self:
        """Change three images in ten."""
        return cls(0.3, deviation * strength)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.GaussNoise(std_range=(0.0, self.deviation), p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return an addition of noise from the generator."""
        return _Noise(self, generator)


class _Noise(BatchOperation):
    """Its parameter is the standard deviation in grey values."""

    identity = np.array([0.0])

    def __init__(self, step: Noise, generator: torch.Generator) -> None:
        self._step, self._generator = step, generator

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return 255 * rng.uniform(0, self._step.deviation, (count, 1))

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        noise = torch.empty_like(images).normal_(generator=self._generator)
        return whole_greys(images + torch.trunc(parameters * noise)), masks
