"""Flip: left becomes right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from bts_tune.augmentation.steps._batch import Flip
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("horizontal-flip")
@dataclass(frozen=True)
class HorizontalFlip(Step):
    """Left becomes right. It has no magnitude, so it is the same at any strength."""

    kind: ClassVar[Kind] = "geometry"

    @classmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        """Flip half of the images."""
        return cls(0.5)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.HorizontalFlip(p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a flip of the images' columns."""
        return Flip(axis=3)
