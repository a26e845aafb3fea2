"""Uneven illumination: a linear gradient, as from a coil's sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS

_LOWEST, _HIGHEST = 0.01, 0.2  # what albumentations allows


@AUGMENTATION_STEPS.register("illumination")
@dataclass(frozen=True)
class Illumination(Step):
    """Multiply grey values by a linear gradient at any angle, with an amount a that is uniform in lowest to highest.

    Along an axis it goes from 1 - a to 1 + a, or the other way round; at other angles its ends are up to 3.8a from 1.
    """

    kind: ClassVar[Kind] = "intensity"

    lowest: float
    highest: float

    @classmethod
    def standard(cls, strength: float, image_size: int, highest: float = 0.15) -> Self:
        """Change three images in ten."""
        return cls(0.3, _LOWEST, min(max(highest * strength, _LOWEST), _HIGHEST))

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.Illumination(intensity_range=(self.lowest, self.highest), p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a multiplication by a gradient."""
        return _Illumination(self, image_size, generator.device)


class _Illumination(BatchOperation):
    """Its parameters are the factor in the top left corner, and what it gains to the right and downwards."""

    identity = np.array([1.0, 0.0, 0.0])

    def __init__(self, step: Illumination, size: int, device: torch.device) -> None:
        self._step = step
        self._share = torch.linspace(0, 1, size, device=device)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        angle, amount = rng.uniform(0, 2 * np.pi, count), rng.uniform(self._step.lowest, self._step.highest, count)
        sign = np.where(rng.random(count) < 0.5, 1, -1)
        gains = 2 * amount * sign * np.array([np.cos(angle), np.sin(angle)])
        return np.stack([1 - amount * sign, *gains], axis=1)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        corner, across, down = parameters.split(1, dim=3)
        gradient = corner + across * self._share + down * self._share.unsqueeze(1)
        return whole_greys(images * gradient + 0.5), masks
