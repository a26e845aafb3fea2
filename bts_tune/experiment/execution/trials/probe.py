"""What is measured on a GPU before the first trial, in processes of Ray: memory, and the speed of several at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bts_tune.config import TrialConfig
from bts_tune.data.prepared.prepare import PreparedSplit, load_prepared
from bts_tune.errors import ConfigError
from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.models.weights import EncoderWeights
from bts_tune.plugins import restore
from bts_tune.training.loop import open_trial, rows
from bts_tune.training.trial import Trial, TrialSetup

_STEPS = 3  # of what memory is measured by
_STEPS_OF_AN_EPOCH = 8  # of what speed is measured by
_ENDLESS = 100_000  # the most epochs that a configuration may have


def architecture(config: TrialConfig) -> str:
    """Return what model a configuration has, in words."""
    return f"{config.decoder} on {config.encoder}"


@dataclass(frozen=True)
class PeakMemory:
    """Memory that the largest configuration took on a GPU.

    Attributes:
        config: which one it is.
        peak: bytes that its tensors took at the most, as reserved by the allocator.
        total: bytes that the GPU has.
    """

    config: TrialConfig
    peak: int
    total: int


def measure_peak_memory(
    configs: Sequence[TrialConfig],
    prepared: Sequence[str],
    plugins: Sequence[Mapping[str, str]],
    shipping: Shipping | None = None,
) -> PeakMemory:
    """Train each configuration for a few steps on this process's GPU; return the one that took most memory.

    Args:
        configs: what to try.
        prepared: the folder of the prepared dataset for each.
        plugins: what `plugins.restore` needs.
        shipping: how files reach the nodes of a cluster that is not the run's own.

    Raises:
        ConfigError: one runs out of memory even alone on the GPU.
    """
    restore(plugins)
    found = []
    for config, folder in zip(configs, prepared, strict=True):
        torch.cuda.reset_peak_memory_stats()
        try:
            trial = _opened(config.replaced({"epochs": 1}), folder, _STEPS, "cuda", threads=0, shipping=shipping)
            try:
                next(rows(trial))
            finally:
                trial.close()
        except torch.cuda.OutOfMemoryError:
            raise ConfigError(
                f"--gpus-per-trial auto: {architecture(config)} runs out of GPU memory even alone; lower batch_size or "
                "image_size."
            ) from None
        found.append(
            PeakMemory(config, torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory)
        )
    return max(found, key=lambda one: one.peak)


class ThroughputWorker:
    """Trains a configuration beside other workers on the same GPU, whenever it is told to; a Ray actor."""

    def __init__(
        self,
        config: TrialConfig,
        folder: str,
        plugins: Sequence[Mapping[str, str]],
        device: str,
        threads: int,
        shipping: Shipping | None = None,
    ) -> None:
        """Train an epoch, which warms up."""
        restore(plugins)
        endless = config.replaced({"epochs": _ENDLESS})
        trial = _opened(endless, folder, _STEPS_OF_AN_EPOCH, device, threads, shipping=shipping)
        self._rows = rows(trial)
        self._images = trial.loader.images_per_epoch
        next(self._rows)

    def train(self, seconds: float) -> float:
        """Train whole epochs for at least so long; return the images a second, validation counted as time."""
        images, started = 0, time.perf_counter()
        while True:
            next(self._rows)
            images += self._images
            if (passed := time.perf_counter() - started) >= seconds:
                return images / passed


def _opened(
    config: TrialConfig, folder: str, steps: int, device: str, threads: int, *, shipping: Shipping | None
) -> Trial:
    """Open a trial whose epochs are of a few batches, with a batch to validate on."""

    def taken(split: PreparedSplit, count: int) -> PreparedSplit:
        places = np.resize(np.arange(len(split)), count)
        return PreparedSplit(split.images[places], split.masks[places], [split.names[place] for place in places])

    data = load_prepared(Path(folder)) if shipping is None else shipping.prepared(folder)
    few = replace(data, train=taken(data.train, steps * config.batch_size), valid=taken(data.valid, config.batch_size))
    # What the weights are makes no difference to memory or speed.
    return open_trial(config, few, TrialSetup(EncoderWeights(config.encoder), device=device, threads=threads))
