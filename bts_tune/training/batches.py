"""Batches of a prepared split: shuffled, augmented and standardised, read ahead by threads.

Every random choice follows from (seed, epoch, image) alone, so that neither the number of threads nor a resume changes
a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from bts_tune.config import AugmentationPart, TrialConfig
from bts_tune.data.prepare import PreparedData, PreparedSplit

if TYPE_CHECKING:
    from bts_tune.training.augmentation import Augmenter

Batch = tuple[torch.Tensor, torch.Tensor]


def batch_indices(count: int, config: TrialConfig, epoch: int) -> list[np.ndarray]:
    """Return the image indices of each training batch of an epoch, shuffled.

    A last batch of a single image is left out: batch norm cannot be trained on it.
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(count)
    batches = [order[start : start + config.batch_size] for start in range(0, count, config.batch_size)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


class BatchLoader:
    """Reads batches ahead of the device that uses them.

    An exception in a thread is raised where its batch is due. `close` ends the threads, whatever was left unread.
    """

    def __init__(self, data: PreparedData, config: TrialConfig, device: torch.device, workers: int = 1) -> None:
        self._data, self._config, self._device = data, config, device
        self._workers = max(1, workers)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        self._augmenter = _augmenter(config)
        cv2.setNumThreads(0)  # the pool's threads are the parallelism; OpenCV's own would fight them and torch's

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        return len(self._batches(epoch=1))

    @property
    def images_per_epoch(self) -> int:
        """Number of images in an epoch's training batches."""
        return sum(len(batch) for batch in self._batches(epoch=1))

    def _batches(self, epoch: int) -> list[np.ndarray]:
        return batch_indices(len(self._data.train.names), self._config, epoch)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of a training epoch: float32 images and {0, 1} masks, both [n, 1, S, S], on the device."""
        return self._read_ahead(self._data.train, self._batches(epoch), epoch)

    def evaluation(self, split: PreparedSplit) -> Iterator[Batch]:
        """Yield a split's batches in its own order, unchanged by augmentation."""
        indices = np.arange(len(split.names))
        size = self._config.batch_size
        return self._read_ahead(split, [indices[start : start + size] for start in range(0, len(indices), size)], None)

    def _read_ahead(self, split: PreparedSplit, batches: list[np.ndarray], epoch: int | None) -> Iterator[Batch]:
        pending: deque[Future[Batch]] = deque()
        waiting = iter(batches)
        for indices in waiting:
            pending.append(self._pool.submit(self._assemble, split, indices, epoch))
            if len(pending) <= self._workers:
                continue
            yield self._on_device(pending.popleft().result())
        while pending:
            yield self._on_device(pending.popleft().result())

    def _assemble(self, split: PreparedSplit, indices: np.ndarray, epoch: int | None) -> Batch:
        images, masks = split.images[indices], split.masks[indices]
        if epoch is not None and self._augmenter is not None:
            for place, index in enumerate(indices):
                seed = int(np.random.SeedSequence((self._config.seed, epoch, int(index))).generate_state(1)[0])
                images[place], masks[place] = self._augmenter(images[place], masks[place], seed)
        image = torch.from_numpy(standardize(images, self._data.mean, self._data.std)).unsqueeze(1)
        mask = torch.from_numpy(masks.astype(np.float32)).unsqueeze(1)
        if self._device.type == "cuda":
            image, mask = image.pin_memory(), mask.pin_memory()
        return image, mask

    def _on_device(self, batch: Batch) -> Batch:
        image, mask = (tensor.to(self._device, non_blocking=True) for tensor in batch)
        return image.contiguous(memory_format=torch.channels_last), mask


def _augmenter(config: TrialConfig) -> Augmenter | None:
    if config.augmentation == "none":
        return None
    from bts_tune.training.augmentation import Augmenter  # albumentations takes seconds to import

    return Augmenter(config.part(AugmentationPart), config.image_size)


def standardize(images: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return float32 (images - mean) / std; `mean` and `std` are the training split's, in the images' own units."""
    return (images.astype(np.float32) - np.float32(mean)) / np.float32(std)
