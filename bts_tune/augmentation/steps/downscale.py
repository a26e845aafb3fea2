"""Loss of resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS

_MOST_AT_ONCE = 4
"""Channels that OpenCV resizes at once."""


@AUGMENTATION_STEPS.register("downscale")
@dataclass(frozen=True)
class Downscale(Step):
    """Reduce the image to 1 - loss to 1 of its side by area, and enlarge it again bilinearly."""

    kind: ClassVar[Kind] = "intensity"

    loss: float

    @classmethod
    def standard(cls, strength: float, image_size: int, loss: float = 0.4) -> Self:
        """Change two images in ten."""
        return cls(0.2, min(loss * strength, 0.8))

    def transform(self) -> Transform:
        """Return albumentations' own, for any number of channels."""
        import cv2

        from bts_tune.augmentation.steps._albumentations import A

        class InParts(A.Downscale):
            def apply(self, img: np.ndarray, scale: float, **params: Any) -> np.ndarray:
                if img.ndim == 2:
                    return A.Downscale.apply(self, img, scale)
                starts = range(0, img.shape[2], _MOST_AT_ONCE)
                parts = (np.ascontiguousarray(img[..., start : start + _MOST_AT_ONCE]) for start in starts)
                return np.concatenate([A.Downscale.apply(self, part, scale) for part in parts], axis=2)

        pair = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
        return InParts(scale_range=(1 - self.loss, 1.0), interpolation_pair=pair, p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return products with one matrix that reduces and one that enlarges."""
        return _Downscale(self, image_size, generator.device)


class _Downscale(BatchOperation):
    """Its parameter is the smaller side as a share of the side."""

    identity = np.array([1.0])

    def __init__(self, step: Downscale, size: int, device: torch.device) -> None:
        self._step, self._size = step, size
        self._places = torch.arange(size, dtype=torch.float32, device=device)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(1 - self._step.loss, 1, (count, 1))

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        reduce, enlarge = self._matrices(parameters)
        small = whole_greys(reduce @ images @ reduce.mT + 0.5)
        return whole_greys(enlarge @ small @ enlarge.mT + 0.5), masks

    def _matrices(self, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what reduces columns by area, its rows beyond the smaller side all 0, and what enlarges bilinearly."""
        small = torch.round(self._size * scale)
        row, column = self._places.unsqueeze(1), self._places
        overlap = torch.minimum((row + 1) / scale, column + 1) - torch.maximum(row / scale, column)
        reduce = overlap.clamp(min=0) * (row < small)
        reduce = reduce / reduce.sum(dim=3, keepdim=True).clamp(min=1e-6)
        place = ((row + 0.5) * (small / self._size) - 0.5).clamp(min=torch.zeros_like(small), max=small - 1)
        return reduce, (1 - (place - column).abs()).clamp(min=0)
