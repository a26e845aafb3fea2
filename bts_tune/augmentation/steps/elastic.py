"""Elastic deformation (Simard et al., 2003)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import cv2
import numpy as np
import torch

from bts_tune.augmentation.steps._batch import grid_places, resampled
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS

_SMOOTHNESS = 1 / 16  # sigma of the displacement field, as a share of the image's side
# A Gaussian of sigma leaves of uniform noise in [-alpha, alpha] a standard deviation of
# alpha / sqrt(3) / (2 sqrt(pi) sigma) per axis.
_ALPHA = 2 * math.sqrt(3 * math.pi)


@AUGMENTATION_STEPS.register("elastic")
@dataclass(frozen=True)
class Elastic(Step):
    """Displace pixels by noise, uniform in -alpha to alpha, that a Gaussian has smoothed.

    Attributes:
        alpha: pixels.
        sigma: standard deviation of the Gaussian, in pixels; outside the image, the noise at its edge is repeated.
    """

    kind: ClassVar[Kind] = "geometry"

    alpha: float
    sigma: float

    @classmethod
    def standard(cls, strength: float, image_size: int, displacement: float = 0.007) -> Self:
        """Deform three images in ten; `displacement` is its standard deviation, as a share of the image's side."""
        sigma = image_size * _SMOOTHNESS
        return cls(0.3, displacement * strength * image_size * sigma * _ALPHA, sigma)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import RESAMPLING, A

        return A.ElasticTransform(
            alpha=self.alpha, sigma=self.sigma, noise_distribution="uniform", p=self.probability, **RESAMPLING
        )

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a resampling by smoothed noise."""
        return _Elastic(self, image_size, generator)


class _Elastic(BatchOperation):
    """Its parameter is alpha in half sides of the image."""

    identity = np.array([0.0])

    def __init__(self, step: Elastic, size: int, generator: torch.Generator) -> None:
        self._step, self._size, self._generator = step, size, generator
        # Both displacements are smoothed as one field, one above the other, as albumentations does it.
        self._down, self._across = (
            torch.from_numpy(_smoothing(step.sigma, side)).to(generator.device) for side in (2 * size, size)
        )
        places = torch.from_numpy(grid_places(np.arange(size), size)).float().to(generator.device)
        self._own_places = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.full((count, 1), self._step.alpha * 2 / self._size)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        noise = torch.empty((len(images), 2 * self._size, self._size), device=images.device)
        moved = self._down @ noise.uniform_(-1, 1, generator=self._generator) @ self._across.T
        moved = moved.unflatten(1, (2, self._size)).movedim(1, -1)
        return resampled(images, masks, self._own_places + parameters * moved)


def _smoothing(sigma: float, size: int) -> np.ndarray:
    """Return the float32 [S, S] matrix that smooths columns as `cv2.GaussianBlur` does, the edge repeated outside."""
    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(
        np.eye(size, dtype=np.float32), -1, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REPLICATE
    )
