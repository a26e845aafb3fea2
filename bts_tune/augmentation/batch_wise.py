"""Augmentation of a whole batch at once, by torch, on the device that trains on it.

Image by image (`image_wise.py`), a core augments some hundred images a second, and the loader's threads share one
interpreter: less than a large GPU trains on. Here, the threads that read batches ahead only draw the parameters of each
image on the CPU. They go to the device beside the images, where a step is a few operations on the whole batch; an image
that a step passes by gets parameters that change nothing. Nothing is read back, and no shape depends on what was drawn,
so the CPU never waits for the device.

The order of the steps, the borders and the rounding to whole grey values are those of albumentations 2.0.8, so that
images have the same distribution; the random numbers are others, so that no single image is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

from bts_tune.augmentation.steps.base import BatchOperation, Pair, Step


class BatchAugmenter:
    """Random changes of slices and their masks, by a list of steps."""

    def __init__(self, operations: Sequence[tuple[float, BatchOperation]], generator: torch.Generator) -> None:
        """Apply operations.

        Args:
            operations: each with its probability.
            generator: which the operations draw from for every pixel.
        """
        self._operations, self._generator = operations, generator

    @classmethod
    def of(cls, steps: Sequence[Step], image_size: int, device: torch.device) -> Self | None:
        """Return what applies `steps` on `device`, or None if one of them has no batched form."""
        generator = torch.Generator(device)
        operations = []
        for step in steps:
            operation = step.batched(image_size, generator)
            if operation is None:
                return None
            operations.append((step.probability, operation))
        return cls(operations, generator)

    def draw(self, count: int, seed: int) -> torch.Tensor:
        """Draw the parameters of a batch: float32 [count, M] in the CPU's memory; the same seed gives the same."""
        rng = np.random.default_rng(seed)
        drawn = [np.empty((count, 0))]
        for probability, operation in self._operations:
            chosen = rng.random((count, 1)) < probability
            drawn.append(np.where(chosen, operation.draw(rng, count), operation.identity))
        return torch.from_numpy(np.concatenate(drawn, axis=1, dtype=np.float32))

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, masks: torch.Tensor, drawn: torch.Tensor, seed: int) -> Pair:
        """Change images and their masks alike; the same arguments give the same on the same kind of device.

        Args:
            images: whole numbers from 0 to 255, of any dtype, [n, C, S, S], on the augmenter's device.
            masks: 0 and 1, [n, 1, S, S].
            drawn: from `draw`, on the same device.
            seed: of what is drawn for every pixel.

        Returns:
            float32 images, whole numbers from 0 to 255, and float32 masks, 0 and 1, of the same shapes.
        """
        self._generator.manual_seed(seed)
        pair = images.float(), masks.float()
        widths = [operation.identity.size for _, operation in self._operations]
        for (_, operation), parameters in zip(self._operations, drawn.split(widths, dim=1), strict=True):
            pair = operation.apply(parameters[:, None, None, :], *pair)
        return pair
