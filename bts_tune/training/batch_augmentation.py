"""Augmentation of a whole batch at once, on the device that trains on it.

By `augmentation.py` a core changes some hundred images a second, and its threads share one interpreter: less than a
large GPU trains on. Here a step is a few operations on the whole batch, drawn and computed on the device without
waiting for it: nothing is read back, and no shape depends on what was drawn.

The steps, their order, the borders and the rounding to whole greys are those of `augmentation.py` (albumentations
2.0.8), so that images have the same distribution; the random numbers are others, so that no single image is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional

from bts_tune.training import policies
from bts_tune.training.policies import Step

Pair = tuple[torch.Tensor, torch.Tensor]
"""Greys and masks, both float32 [n, 1, S, S]."""


class BatchAugmenter:
    """Random changes of slices and their masks, by the steps of a policy."""

    def __init__(self, steps: Sequence[Step], image_size: int, device: torch.device) -> None:
        self._steps = steps
        self._size = image_size
        self._generator = torch.Generator(device)
        self._places = torch.arange(image_size, dtype=torch.float32, device=device)
        # Both displacements are smoothed as one field, one above the other, as albumentations does it.
        self._smoothing = {
            step: [torch.from_numpy(_smoothing(step.sigma, size)).to(device) for size in (2 * image_size, image_size)]
            for step in steps
            if isinstance(step, policies.Elastic)
        }

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, masks: torch.Tensor, seed: int) -> Pair:
        """Change greys and their masks alike; the same seed gives the same changes on the same kind of device.

        Args:
            images: whole numbers from 0 to 255, of any dtype, [n, 1, S, S], on the augmenter's device.
            masks: 0 and 1, of the same shape.
            seed: 0 or more.

        Returns:
            float32 images, whole numbers from 0 to 255, and float32 masks, 0 and 1, both [n, 1, S, S].
        """
        self._generator.manual_seed(seed)
        images, masks = images.float(), masks.float()
        for step in self._steps:
            changed = self._changed(step, images, masks)
            chosen = self._even(0, 1, len(images), 1, 1, 1) < step.probability
            images, masks = torch.where(chosen, changed[0], images), torch.where(chosen, changed[1], masks)
        return images, masks

    def _changed(self, step: Step, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        """Carry out a step on every image."""
        each = (len(images), 1, 1, 1)
        match step:
            case policies.HorizontalFlip():
                return images.flip(3), masks.flip(3)
            case policies.VerticalFlip():
                return images.flip(2), masks.flip(2)
            case policies.Affine():
                return self._resampled(images, masks, self._affine(step, len(images)))
            case policies.Elastic(_, alpha, _):
                down, across = self._smoothing[step]
                moved = down @ self._even(-alpha, alpha, len(images), 2 * self._size, self._size) @ across.T
                return self._resampled(images, masks, self._own_places() + moved.unflatten(1, (2, self._size)))
            case policies.GridDistortion():
                return self._resampled(images, masks, self._grid(step, len(images)))
            case policies.BrightnessContrast(_, brightness, contrast):
                factor, offset = self._even(1 - contrast, 1, *each), self._even(-brightness, brightness, *each)
                return _whole(images * factor + 255 * offset), masks
            case policies.Gamma(_, limit):
                return _whole(255 * (images / 255) ** self._even(1 - limit, 1 + limit, *each)), masks
            case policies.Illumination(_, lowest, highest):
                return _whole(images * self._gradient(lowest, highest, len(images)) + 0.5), masks
            case policies.Noise(_, deviation):
                noise = torch.randn(images.shape, generator=self._generator, device=images.device)
                return _whole(images + torch.trunc(255 * self._even(0, deviation, *each) * noise)), masks
            case policies.Blur(_, sigma):
                blur = self._blur(self._even(0, sigma, *each))
                return _whole(blur @ images @ blur.mT + 0.5), masks
            case policies.Downscale(_, loss):
                reduce, enlarge = self._rescaling(self._even(1 - loss, 1, *each))
                small = _whole(reduce @ images @ reduce.mT + 0.5)
                return _whole(enlarge @ small @ enlarge.mT + 0.5), masks

    def _even(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Draw numbers evenly between `low` and `high`."""
        return low + (high - low) * torch.rand(shape, generator=self._generator, device=self._generator.device)

    # --- geometry: where in the image the value of each pixel comes from, x and y in pixels, [n, 2, S, S] ---

    def _own_places(self) -> torch.Tensor:
        return torch.stack(torch.meshgrid(self._places, self._places, indexing="xy"))

    def _affine(self, step: policies.Affine, count: int) -> torch.Tensor:
        each = (count, 1, 1)
        shift = torch.trunc(self._even(-step.shift, step.shift, count, 2, 1, 1) * self._size)
        shear_x, shear_y = (torch.tan(torch.deg2rad(self._even(-step.shear, step.shear, *each))) for _ in range(2))
        scale = self._even(1 - step.scale, 1 + step.scale, *each)
        angle = torch.deg2rad(self._even(-step.rotate, step.rotate, *each))
        sine, cosine = torch.sin(angle), torch.cos(angle)
        # What moves a point is shear @ rotation * scale, about the centre, then the shift; wanted is its inverse.
        centre = (self._size - 1) / 2
        x, y = (self._own_places() - centre - shift).unbind(dim=1)
        determinant = scale * (1 - shear_x * shear_y)
        straight_x, straight_y = (x - shear_x * y) / determinant, (y - shear_y * x) / determinant
        turned = cosine * straight_x - sine * straight_y, sine * straight_x + cosine * straight_y
        return centre + torch.stack(turned, dim=1)

    def _grid(self, step: policies.GridDistortion, count: int) -> torch.Tensor:
        """As albumentations: every strip starts where the one before it ends, at its own first pixel."""
        side = self._size // step.cells
        rest = self._size - step.cells * side
        factors = self._even(1 - step.limit, 1 + step.limit, count, 2, step.cells + 1)
        factors[:, :, -1] *= rest / side
        widths = factors * self._size / factors.sum(dim=2, keepdim=True)
        starts = widths.cumsum(dim=2) - widths
        cell = torch.div(self._places, side, rounding_mode="floor").long()
        within = (self._places - cell * side) / torch.where(cell < step.cells, side - 1, max(rest - 1, 1))
        x, y = (starts[:, :, cell] + within * widths[:, :, cell]).unbind(dim=1)
        return torch.stack(torch.broadcast_tensors(x.unsqueeze(1), y.unsqueeze(2)), dim=1)

    def _resampled(self, images: torch.Tensor, masks: torch.Tensor, places: torch.Tensor) -> Pair:
        """Fetch images bilinearly and masks by nearest neighbour; outside, the edge is repeated."""
        grid = ((places + 0.5) * (2 / self._size) - 1).movedim(1, -1)
        fetched = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return _whole(fetched + 0.5), functional.grid_sample(
            masks, grid, mode="nearest", padding_mode="border", align_corners=False
        )

    # --- intensity: factors [n, 1, S, S], or matrices [n, 1, S, S] to multiply columns by, and rows by transposed ---

    def _gradient(self, lowest: float, highest: float, count: int) -> torch.Tensor:
        each = (count, 1, 1, 1)
        angle, amount = self._even(0, 2 * torch.pi, *each), self._even(lowest, highest, *each)
        x, y = (self._own_places() / (self._size - 1)).unbind()
        slope = torch.cos(angle) * x + torch.sin(angle) * y
        slope = torch.where(self._even(0, 1, *each) < 0.5, slope, 1 - slope)
        return 1 - amount + 2 * amount * slope

    def _blur(self, sigma: torch.Tensor) -> torch.Tensor:
        """Cut off beyond 3.5 sigma; outside, the image is mirrored about its last pixel."""
        sigma = sigma.clamp(min=1e-6)

        def weight(distance: torch.Tensor) -> torch.Tensor:
            return torch.exp(-0.5 * (distance / sigma) ** 2) * (distance.abs() <= torch.floor(3.5 * sigma))

        last = self._size - 1
        target, source = self._places.unsqueeze(1), self._places
        weights = (
            weight(target - source)
            + weight(target + source) * (source > 0)
            + weight(2 * last - target - source) * (source < last)
        )
        return weights / weights.sum(dim=3, keepdim=True)

    def _rescaling(self, scale: torch.Tensor) -> Pair:
        """Return what reduces by area, its rows beyond the smaller size all 0, and what enlarges bilinearly."""
        small = torch.round(self._size * scale)
        row, column = self._places.unsqueeze(1), self._places
        overlap = torch.minimum((row + 1) / scale, column + 1) - torch.maximum(row / scale, column)
        reduce = overlap.clamp(min=0) * (row < small)
        reduce = reduce / reduce.sum(dim=3, keepdim=True).clamp(min=1e-6)
        place = ((row + 0.5) * (small / self._size) - 0.5).clamp(min=torch.zeros_like(small), max=small - 1)
        return reduce, (1 - (place - column).abs()).clamp(min=0)


def _whole(greys: torch.Tensor) -> torch.Tensor:
    return greys.clamp(0, 255).floor()


def _smoothing(sigma: float, size: int) -> np.ndarray:
    """Return the float32 [S, S] matrix that smooths columns as `cv2.GaussianBlur` does, the edge repeated outside."""
    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(
        np.eye(size, dtype=np.float32), -1, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REPLICATE
    )
