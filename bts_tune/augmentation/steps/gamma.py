"""Gamma: black and white stay where they are, grey values between them change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("gamma")
@dataclass(frozen=True)
class Gamma(Step):
    """Raise grey values, as shares of 255, to a power of 1 - limit to 1 + limit."""

    kind: ClassVar[Kind] = "intensity"

    limit: float

    @classmethod
    def standard(cls, strength: float, image_size: int, limit: float = 0.25) -> Self:
        """Change every other image."""
        return cls(0.5, min(limit * strength, 0.8))

    def transform(self) -> Transform:
        """Return albumentations' own, whose limits are percentages."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.RandomGamma(gamma_limit=(100 * (1 - self.limit), 100 * (1 + self.limit)), p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a power."""
        return _Gamma(self)


class _Gamma(BatchOperation):
    """Its parameter is the exponent."""

    identity = np.array([1.0])

    def __init__(self, step: Gamma) -> None:
        self._step = step

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(1 - self._step.limit, 1 + self._step.limit, (count, 1))

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        # The exponent 1 must not turn a grey value of 100 into 99.99999, which would be rounded down to 99.
        return whole_greys((images / 255) ** parameters * 255 + 1e-3), masks
