"""Flip: top becomes bottom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from bts_tune.augmentation.steps._batch import Flip
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("vertical-flip")
@dataclass(frozen=True)
class VerticalFlip(Step):
    """Top becomes bottom. It has no magnitude, so it is the same at any strength."""

    kind: ClassVar[Kind] = "geometry"

    @classmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        """Flip half of the images."""
        return cls(0.5)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.VerticalFlip(p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a flip of the images' rows."""
        return Flip(axis=2)
