"""Augmentation of a whole batch at once, on the device that trains on it.

By `augmentation.py` a core changes some hundred images a second, and its threads share one interpreter: less than a
large GPU trains on. Here the magnitudes of a batch are drawn on the CPU, by whoever reads the batch ahead, and go to
the device beside the images. There a step is a few operations on the whole batch; an image that it passes by gets
magnitudes that change nothing. Nothing is read back, and no shape depends on what was drawn: the device is never
waited for.

The steps, their order, the borders and the rounding to whole greys are those of `augmentation.py` (albumentations
2.0.8), so that images have the same distribution; the random numbers are others, so that no single image is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional

from bts_tune.augmentation import policies
from bts_tune.augmentation.policies import Step

Pair = tuple[torch.Tensor, torch.Tensor]
"""Greys and masks, both float32 [n, 1, S, S]."""


class BatchAugmenter:
    """Random changes of slices and their masks, by the steps of a policy."""

    def __init__(self, steps: Sequence[Step], image_size: int, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._operations = [_operation(step, image_size, self._generator) for step in steps]
        self._probabilities = [step.probability for step in steps]

    def draw(self, count: int, seed: int) -> torch.Tensor:
        """Draw the magnitudes of a batch: float32 [count, M] in the CPU's memory; the same seed gives the same."""
        rng = np.random.default_rng(seed)
        drawn = [np.empty((count, 0))]
        for operation, probability in zip(self._operations, self._probabilities, strict=True):
            chosen = rng.random((count, 1)) < probability
            drawn.append(np.where(chosen, operation.draw(rng, count), operation.neutral))
        return torch.from_numpy(np.concatenate(drawn, axis=1, dtype=np.float32))

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, masks: torch.Tensor, drawn: torch.Tensor, seed: int) -> Pair:
        """Change greys and their masks alike; the same arguments give the same on the same kind of device.

        Args:
            images: whole numbers from 0 to 255, of any dtype, [n, 1, S, S], on the augmenter's device.
            masks: 0 and 1, of the same shape.
            drawn: from `draw`, on the same device.
            seed: of what is drawn for every pixel.

        Returns:
            float32 images, whole numbers from 0 to 255, and float32 masks, 0 and 1, both [n, 1, S, S].
        """
        self._generator.manual_seed(seed)
        pair = images.float(), masks.float()
        widths = [operation.neutral.size for operation in self._operations]
        for operation, magnitudes in zip(self._operations, drawn.split(widths, dim=1), strict=True):
            pair = operation.carry_out(magnitudes[:, None, None, :], *pair)
        return pair


class _Operation(ABC):
    """One step: its magnitudes, and what they do.

    Attributes:
        neutral: the magnitudes [m] that change nothing.
    """

    neutral: np.ndarray

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw the magnitudes of a step that happens to every image, [count, m]."""

    @abstractmethod
    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        """Change images and masks, `drawn` being [n, 1, 1, m]."""


class _Flip(_Operation):
    neutral = np.array([0.0])

    def __init__(self, axis: int) -> None:
        self._axis = axis

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.ones((count, 1))

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        chosen = drawn > 0
        return torch.where(chosen, images.flip(self._axis), images), torch.where(chosen, masks.flip(self._axis), masks)


class _Affine(_Operation):
    """Its magnitudes are the matrix [2, 3] by which `affine_grid` finds where in the image a pixel comes from."""

    neutral = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])

    def __init__(self, step: policies.Affine, size: int) -> None:
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

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        grid = functional.affine_grid(drawn.reshape(-1, 2, 3), list(images.shape), align_corners=False)
        return _resampled(images, masks, grid)


class _Elastic(_Operation):
    """Its magnitude is how far a pixel is displaced, in half sides of the image."""

    neutral = np.array([0.0])

    def __init__(self, step: policies.Elastic, size: int, generator: torch.Generator) -> None:
        self._step, self._size, self._generator = step, size, generator
        # Both displacements are smoothed as one field, one above the other, as albumentations does it.
        self._down, self._across = (
            torch.from_numpy(_smoothing(step.sigma, side)).to(generator.device) for side in (2 * size, size)
        )
        places = torch.from_numpy(_in_half_sides(np.arange(size), size)).float().to(generator.device)
        self._own_places = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.full((count, 1), self._step.alpha * 2 / self._size)

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        noise = torch.empty((len(images), 2 * self._size, self._size), device=images.device)
        moved = self._down @ noise.uniform_(-1, 1, generator=self._generator) @ self._across.T
        moved = moved.unflatten(1, (2, self._size)).movedim(1, -1)
        return _resampled(images, masks, self._own_places + drawn * moved)


class _GridDistortion(_Operation):
    """Its magnitudes are where each column, then each row, comes from, in half sides from the centre."""

    def __init__(self, step: policies.GridDistortion, size: int) -> None:
        self._step, self._size = step, size
        self.neutral = np.tile(_in_half_sides(np.arange(size), size), 2)

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
        return _in_half_sides(starts[:, :, cell] + within * widths[:, :, cell], size).reshape(count, 2 * size)

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        across, down = drawn.split(self._size, dim=3)
        return _resampled(images, masks, torch.stack(torch.broadcast_tensors(across, down.mT), dim=-1)[:, 0])


class _BrightnessContrast(_Operation):
    """Its magnitudes are a factor and what is added then, in greys."""

    neutral = np.array([1.0, 0.0])

    def __init__(self, step: policies.BrightnessContrast) -> None:
        self._step = step

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        limit = self._step.brightness
        return np.stack([1 - rng.uniform(0, self._step.contrast, count), 255 * rng.uniform(-limit, limit, count)], 1)

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        factor, offset = drawn.split(1, dim=3)
        return _whole(torch.addcmul(offset, images, factor)), masks


class _Gamma(_Operation):
    """Its magnitude is the exponent."""

    neutral = np.array([1.0])

    def __init__(self, step: policies.Gamma) -> None:
        self._step = step

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(1 - self._step.limit, 1 + self._step.limit, (count, 1))

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        # The exponent 1 must not turn a grey of 100 into one of 99.99999, which would be cut to 99.
        return _whole((images / 255) ** drawn * 255 + 1e-3), masks


class _Illumination(_Operation):
    """Its magnitudes are the factor in the top left corner, and what it gains to the right and downwards."""

    neutral = np.array([1.0, 0.0, 0.0])

    def __init__(self, step: policies.Illumination, size: int, device: torch.device) -> None:
        self._step = step
        self._share = torch.linspace(0, 1, size, device=device)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        angle, amount = rng.uniform(0, 2 * np.pi, count), rng.uniform(self._step.lowest, self._step.highest, count)
        sign = np.where(rng.random(count) < 0.5, 1, -1)
        gains = 2 * amount * sign * np.array([np.cos(angle), np.sin(angle)])
        return np.stack([1 - amount * sign, *gains], axis=1)

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        corner, across, down = drawn.split(1, dim=3)
        return _whole(images * (corner + across * self._share + down * self._share.unsqueeze(1)) + 0.5), masks


class _Noise(_Operation):
    """Its magnitude is the standard deviation in greys."""

    neutral = np.array([0.0])

    def __init__(self, step: policies.Noise, generator: torch.Generator) -> None:
        self._step, self._generator = step, generator

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return 255 * rng.uniform(0, self._step.deviation, (count, 1))

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        noise = torch.empty_like(images).normal_(generator=self._generator)
        return _whole(images + torch.trunc(drawn * noise)), masks


class _Blur(_Operation):
    """Its magnitudes are the weights of a row's or column's neighbours; outside, the image is mirrored."""

    def __init__(self, step: policies.Blur) -> None:
        self._step = step
        self._reach = int(3.5 * step.sigma)
        self._distance = np.abs(np.arange(-self._reach, self._reach + 1))
        self.neutral = (self._distance == 0).astype(float)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        sigma = np.maximum(rng.uniform(0, self._step.sigma, (count, 1)), 1e-6)
        weights = np.exp(-0.5 * (self._distance / sigma) ** 2) * (self._distance <= np.floor(3.5 * sigma))
        return weights / weights.sum(axis=1, keepdims=True)

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        each_a_channel = functional.pad(images, [self._reach] * 4, mode="reflect").transpose(0, 1)
        across = functional.conv2d(each_a_channel, drawn, groups=len(images))
        down = functional.conv2d(across, drawn.mT, groups=len(images))
        return _whole(down.transpose(0, 1) + 0.5), masks


class _Downscale(_Operation):
    """Its magnitude is the smaller size as a share of the size."""

    neutral = np.array([1.0])

    def __init__(self, step: policies.Downscale, size: int, device: torch.device) -> None:
        self._step, self._size = step, size
        self._places = torch.arange(size, dtype=torch.float32, device=device)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(1 - self._step.loss, 1, (count, 1))

    def carry_out(self, drawn: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        reduce, enlarge = self._matrices(drawn)
        small = _whole(reduce @ images @ reduce.mT + 0.5)
        return _whole(enlarge @ small @ enlarge.mT + 0.5), masks

    def _matrices(self, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what reduces columns by area, its rows beyond the smaller size all 0, and what enlarges bilinearly."""
        small = torch.round(self._size * scale)
        row, column = self._places.unsqueeze(1), self._places
        overlap = torch.minimum((row + 1) / scale, column + 1) - torch.maximum(row / scale, column)
        reduce = overlap.clamp(min=0) * (row < small)
        reduce = reduce / reduce.sum(dim=3, keepdim=True).clamp(min=1e-6)
        place = ((row + 0.5) * (small / self._size) - 0.5).clamp(min=torch.zeros_like(small), max=small - 1)
        return reduce, (1 - (place - column).abs()).clamp(min=0)


def _operation(step: Step, size: int, generator: torch.Generator) -> _Operation:
    match step:
        case policies.HorizontalFlip():
            return _Flip(axis=3)
        case policies.VerticalFlip():
            return _Flip(axis=2)
        case policies.Affine():
            return _Affine(step, size)
        case policies.Elastic():
            return _Elastic(step, size, generator)
        case policies.GridDistortion():
            return _GridDistortion(step, size)
        case policies.BrightnessContrast():
            return _BrightnessContrast(step)
        case policies.Gamma():
            return _Gamma(step)
        case policies.Illumination():
            return _Illumination(step, size, generator.device)
        case policies.Noise():
            return _Noise(step, generator)
        case policies.Blur():
            return _Blur(step)
        case policies.Downscale():
            return _Downscale(step, size, generator.device)


def _resampled(images: torch.Tensor, masks: torch.Tensor, grid: torch.Tensor) -> Pair:
    """Fetch images bilinearly and masks by nearest neighbour, outside repeating the edge; places are [n, S, S, 2]."""
    fetched = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    masks = functional.grid_sample(masks, grid, mode="nearest", padding_mode="border", align_corners=False)
    return _whole(fetched + 0.5), masks


def _whole(greys: torch.Tensor) -> torch.Tensor:
    """Cut to whole greys, in place."""
    return greys.clamp_(0, 255).floor_()


def _in_half_sides(places: np.ndarray, size: int) -> np.ndarray:
    """Return how far pixels are from the image's centre, its edges being at -1 and 1: what `grid_sample` asks for."""
    return (places + 0.5) * (2 / size) - 1


def _smoothing(sigma: float, size: int) -> np.ndarray:
    """Return the float32 [S, S] matrix that smooths columns as `cv2.GaussianBlur` does, the edge repeated outside."""
    kernel = cv2.getGaussianKernel(round(8 * sigma + 1) | 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(
        np.eye(size, dtype=np.float32), -1, np.ones(1, np.float32), kernel, borderType=cv2.BORDER_REPLICATE
    )
