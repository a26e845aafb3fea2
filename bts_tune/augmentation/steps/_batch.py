"""What batch operations share."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from bts_tune.augmentation.steps.base import BatchOperation, Pair


class Flip(BatchOperation):
    """Its parameter is 1 for an image that is flipped."""

    identity = np.array([0.0])

    def __init__(self, axis: int) -> None:
        self._axis = axis

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Flip every image."""
        return np.ones((count, 1))

    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        """Flip those with a 1."""
        chosen = parameters > 0
        return torch.where(chosen, images.flip(self._axis), images), torch.where(chosen, masks.flip(self._axis), masks)


def resampled(images: torch.Tensor, masks: torch.Tensor, grid: torch.Tensor) -> Pair:
    """Resample images bilinearly and masks by nearest neighbour; outside, the edge is repeated.

    `grid` says where each pixel comes from, [n, S, S, 2], as `grid_sample` takes it.
    """
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    masks = functional.grid_sample(masks, grid, mode="nearest", padding_mode="border", align_corners=False)
    return whole_greys(moved + 0.5), masks


def whole_greys(greys: torch.Tensor) -> torch.Tensor:
    """Clamp to 0 to 255 and round down to whole numbers, in place."""
    return greys.clamp_(0, 255).floor_()


def grid_places(places: np.ndarray, size: int) -> np.ndarray:
    """Return places in pixels as `grid_sample` takes them: the image's edges are at -1 and 1."""
    return (places + 0.5) * (2 / size) - 1
