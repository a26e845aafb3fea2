"""Batches of a prepared split: shuffled, augmented and standardised, read ahead by threads.

For a CPU, the threads augment image by image. A GPU, which would wait for them, augments batch by batch, if every step
has a form for that. Every random choice follows from (seed, epoch, image) or, batch by batch, from (seed, epoch, number
of the batch) alone, so that neither the number of threads nor a resume changes a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.config import AugmentationPart, TrialConfig
from bts_tune.data.prepared.prepare import Level, PreparedData, PreparedSplit

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images, [n, C, S, S] of C channels, and masks, [n, 1, S, S]."""


def batch_indices(count: int, config: TrialConfig, epoch: int) -> list[np.ndarray]:
    """Return the image indices of each training batch of an epoch, shuffled.

    A last batch of a single image is left out: batch norm cannot be trained on it.
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(count)
    batches = [order[start : start + config.batch_size] for start in range(0, count, config.batch_size)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


@dataclass(frozen=True)
class _Assembled:
    """A batch as it was read: uint8 images and masks, and what is drawn for a batch that is augmented whole."""

    image: torch.Tensor
    mask: torch.Tensor
    drawn: torch.Tensor | None
    seed: int

    def pinned(self) -> _Assembled:
        """Return it in memory that a GPU can fetch from by itself."""
        drawn = self.drawn if self.drawn is None else self.drawn.pin_memory()
        return replace(self, image=self.image.pin_memory(), mask=self.mask.pin_memory(), drawn=drawn)


class BatchLoader:
    """Reads batches ahead of the device that uses them.

    An exception in a thread is raised where its batch is due. `close` ends the threads, whatever was left unread.
    """

    def __init__(
        self,
        data: PreparedData,
        config: TrialConfig,
        device: torch.device,
        workers: int = 1,
        *,
        augment_batches: bool | None = None,
    ) -> None:
        """Start no thread yet.

        Args:
            data: what is read.
            config: of the trial.
            device: where the batches go.
            workers: threads that read ahead.
            augment_batches: whether whole batches are augmented on the device, if every step has a form for that,
                rather than images by the threads; None: on GPUs alone.
        """
        self._data, self._config, self._device = data, config, device
        self._workers = max(1, workers)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        self._augmenter: Augmenter | None = None
        self._batch_augmenter: BatchAugmenter | None = None
        steps = policies.steps(config.part(AugmentationPart), config.image_size)
        if steps and (device.type == "cuda" if augment_batches is None else augment_batches):
            self._batch_augmenter = BatchAugmenter.of(steps, config.image_size, device)
        if steps and self._batch_augmenter is None:
            self._augmenter = Augmenter(steps)
        cv2.setNumThreads(0)  # the pool's threads are the parallelism; OpenCV's own would fight them and torch's

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        return len(self._batches(epoch=1))

    @property
    def images_per_epoch(self) -> int:
        """Number of images in an epoch's training batches."""
        return sum(len(batch) for batch in self._batches(epoch=1))

    @property
    def augmentation(self) -> str:
        """How training images are augmented, for the record."""
        if self._batch_augmenter is not None:
            return "batch by batch, by torch"
        return "image by image, by albumentations" if self._augmenter is not None else "none"

    def _batches(self, epoch: int) -> list[np.ndarray]:
        return batch_indices(len(self._data.train.names), self._config, epoch)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of a training epoch: float32 images, [n, C, S, S], and {0, 1} masks, [n, 1, S, S]."""
        return self._read_ahead(self._data.train, self._batches(epoch), epoch)

    def evaluation(self, split: PreparedSplit) -> Iterator[Batch]:
        """Yield a split's batches in its own order, unchanged by augmentation.

        A GPU gets four times as many images at once as in training, since nothing is kept for gradients.
        """
        indices = np.arange(len(split.names))
        size = self._config.batch_size * (4 if self._device.type == "cuda" else 1)
        return self._read_ahead(split, [indices[start : start + size] for start in range(0, len(indices), size)], None)

    def _read_ahead(self, split: PreparedSplit, batches: list[np.ndarray], epoch: int | None) -> Iterator[Batch]:
        pending: deque[Future[_Assembled]] = deque()
        for number, indices in enumerate(batches):
            pending.append(self._pool.submit(self._assemble, split, indices, epoch, number))
            if len(pending) > self._workers:
                yield self._on_device(pending.popleft().result())
        while pending:
            yield self._on_device(pending.popleft().result())

    def _assemble(self, split: PreparedSplit, indices: np.ndarray, epoch: int | None, number: int) -> _Assembled:
        images, masks = split.images[indices], split.masks[indices]
        drawn, seed = None, 0
        if epoch is not None and self._augmenter is not None:
            for place, index in enumerate(indices):
                seed = self._derived_seed(epoch, int(index))
                images[place], masks[place] = self._augmenter(images[place], masks[place], seed)
        elif epoch is not None and self._batch_augmenter is not None:
            seed = self._derived_seed(epoch, number)
            drawn = self._batch_augmenter.draw(len(indices), seed)
        assembled = _Assembled(channels_first(images), channels_first(masks), drawn, seed)
        return assembled.pinned() if self._device.type == "cuda" else assembled

    def _on_device(self, assembled: _Assembled) -> Batch:
        image = assembled.image.to(self._device, non_blocking=True)
        mask = assembled.mask.to(self._device, non_blocking=True)
        if assembled.drawn is not None and self._batch_augmenter is not None:
            drawn = assembled.drawn.to(self._device, non_blocking=True)
            image, mask = self._batch_augmenter(image, mask, drawn, assembled.seed)
        return standardize(image, self._data.mean, self._data.std), mask.float()

    def _derived_seed(self, epoch: int, number: int) -> int:
        return int(np.random.SeedSequence((self._config.seed, epoch, number)).generate_state(1)[0])


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Return images or masks [n, S, S], or [n, S, S, C] of several channels, as a tensor [n, C, S, S]."""
    tensor = torch.from_numpy(images)
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2)


def standardize(images: torch.Tensor, mean: Level, std: Level) -> torch.Tensor:
    """Return float32 (images - mean) / std of [n, C, S, S] in the channels-last layout.

    `mean` and `std` are the training split's, in the images' own units; of several channels one each.
    """
    scaled = (images.float() - _of_channels(mean, images)) / _of_channels(std, images)
    return scaled.contiguous(memory_format=torch.channels_last)


def _of_channels(level: Level, images: torch.Tensor) -> float | torch.Tensor:
    if not isinstance(level, tuple):
        return level
    return torch.tensor(level, dtype=torch.float32, device=images.device)[:, None, None]
