"""Grid distortion: strips of the image become wider or narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from bts_tune.augmentation.steps._batch import grid_places, resampled
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("grid-distortion")
@dataclass(frozen=True)
class GridDistortion(Step):
    """Stretch and squeeze the strips between the lines of a grid, by factors uniform in 1 - limit to 1 + limit.

    Attributes:
        limit: how far a factor is from 1 at most.
        cells: strips along each axis; if the side is no multiple of it, the remainder is one more strip.
    """

    kind: ClassVar[Kind] = "geometry"

    limit: float
    cells: int = 5

    @classmethod
    def standard(cls, strength: float, image_size: int, limit: float = 0.2) -> Self:
        """Distort three images in ten."""
        return cls(0.3, min(limit * strength, 0.9))

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import RESAMPLING, A

        return A.GridDistortion(
            num_steps=self.cells, distort_limit=(-self.limit, self.limit), p=self.probability, **RESAMPLING
        )

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a resampling of columns and rows."""
        return _GridDistortion(self, image_size)


class _GridDistortion(BatchOperation):
    """Its parameters are where each column, then each row, comes from, as `grid_sample` takes it."""

    def __init__(self, step: GridDistortion, size: int) -> None:
        self._step, self._size = step, size
        self.identity = np.tile(grid_places(np.arange(size), size), 2)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """As albumentations: every strip starts where the one before it ends, at its own first pixel."""
        step, size = self._step, self._size
        side = size // step.cells
        rest = size - step.cells * side
        factors = rng.uniform(1 - step.limit, 1 + step.limit, (count, 2, step.cells + 1))
        factors[:, :, -1] *= rest / side
        widths = factors * size / factors.sum(axis=2, keepdims=True)
        starts = widths.cumsum(axis=2) - widths
        place = np.arange(size)
        cell = place // side
        within = (place - cell * side) / np.where(cell < step.cells, side - 1, max(rest - 1, 1))
        return grid_places(starts[:, :, cell] + within * widths[:, :, cell], size).reshape(count, 2 * size)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        across, down = parameters.split(self._size, dim=3)
        return resampled(images, masks, torch.stack(torch.broadcast_tensors(across, down.mT), dim=-1)[:, 0])
