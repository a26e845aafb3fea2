"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional

from bts_tune.augmentation.steps._batch import whole_greys
from bts_tune.augmentation.steps.base import BatchOperation, Kind, Pair, Step, Transform
from bts_tune.registry import AUGMENTATION_STEPS


@AUGMENTATION_STEPS.register("blur")
@dataclass(frozen=True)
class Blur(Step):
    """Smooth with a Gaussian whose standard deviation is 0 to `sigma` pixels."""

    kind: ClassVar[Kind] = "intensity"

    sigma: float

    @classmethod
    def standard(cls, strength: float, image_size: int, sigma: float = 0.004) -> Self:
        """Blur two images in ten; `sigma` is a share of the image's side."""
        return cls(0.2, sigma * strength * image_size)

    def transform(self) -> Transform:
        """Return albumentations' own."""
        from bts_tune.augmentation.steps._albumentations import A

        return A.GaussianBlur(blur_limit=0, sigma_limit=(0.0, self.sigma), p=self.probability)

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation:
        """Return a convolution of rows and one of columns."""
        return _Blur(self)


class _Blur(BatchOperation):
    """Its parameters are the weights of a pixel's neighbours along an axis; outside, the image is mirrored."""

    def __init__(self, step: Blur) -> None:
        self._step = step
        self._reach = int(3.5 * step.sigma)
        self._distance = np.abs(np.arange(-self._reach, self._reach + 1))
        self.identity = (self._distance == 0).astype(float)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        sigma = np.maximum(rng.uniform(0, self._step.sigma, (count, 1)), 1e-6)
        weights = np.exp(-0.5 * (self._distance / sigma) ** 2) * (self._distance <= np.floor(3.5 * sigma))
        return weights / weights.sum(axis=1, keepdims=True)

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        channels = images.shape[1]
        each_a_channel = functional.pad(images, [self._reach] * 4, mode="reflect").flatten(0, 1).unsqueeze(0)
        weights = parameters.repeat_interleave(channels, dim=0)
        across = functional.conv2d(each_a_channel, weights, groups=len(weights))
        down = functional.conv2d(across, weights.mT, groups=len(weights))
        return whole_greys(down.squeeze(0).unflatten(0, (-1, channels)) + 0.5), masks
