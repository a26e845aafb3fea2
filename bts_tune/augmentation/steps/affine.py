"""Affine transformation: rotation, scale, shift and shear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional

from bts_tune.augmentation.steps._batch import resampled
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS

_LARGEST_SCALE = 0.6  # beyond, the head could shrink to a spot


@AUGMENTATION_STEPS.register("affine")
@dataclass(frozen=True)
class Affine(Step):
    """Scale and rotate about the centre, shear and shift along both axes; each is uniform in -limit to limit.

    Attributes:
        rotate: degrees.
        scale: the factor is 1 - scale to 1 + scale, the same along both axes.
        shift: as a share of the image's side; the shift is rounded towards 0 to whole pixels.
        shear: degrees.
    """

    kind: ClassVar[Kind] = "geometry"

    rotate: float
    scale: float
    shift: float
    shear: float

    @classmethod
    def standard(
        cls,
        strength: float,
        image_size: int,
        rotate: float = 20,
        scale: float = 0.15,
        shift: float = 0.08,
        shear: float = 5,
    ) -> Self:
        """Transform nine images in ten."""
        scale = min(scale * strength, _LARGEST_SCALE)
        return cls(0.9, rotate * strength, scale, shift * strength, shear * strength)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import RESAMPLING, A

        return A.Affine(
            rotate=(-self.rotate, self.rotate),
            scale=(1 - self.scale, 1 + self.scale),
            keep_ratio=True,
            translate_percent=(-self.shift, self.shift),
            shear=(-self.shear, self.shear),
            p=self.probability,
            **RESAMPLING,
        )

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a resampling by `affine_grid`."""
        return _Affine(self, image_size)


class _Affine(BatchOperation):
    """Its parameters are the matrix [2, 3] by which `affine_grid` finds where a pixel comes from."""

    identity = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])

    def __init__(self, step: Affine, size: int) -> None:
        self._step, self._size = step, size

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        step = self._step
        shift = np.trunc(self._size * rng.uniform(-step.shift, step.shift, (count, 2, 1)))
        shear_x, shear_y = np.tan(np.deg2rad(rng.uniform(-step.shear, step.shear, (2, count))))
        scale = rng.uniform(1 - step.scale, 1 + step.scale, (count, 1, 1))
        angle = np.deg2rad(rng.uniform(-step.rotate, step.rotate, count))
        one = np.ones(count)
        shear = np.array([[one, shear_x], [shear_y, one]])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        back = np.linalg.inv(scale * np.einsum("ijn,jkn->nik", shear, turn))
        return np.concatenate([back, -back @ shift * (2 / self._size)], axis=2).reshape(count, 6)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        grid = functional.affine_grid(parameters.reshape(-1, 2, 3), list(images.shape), align_corners=False)
        return resampled(images, masks, grid)
