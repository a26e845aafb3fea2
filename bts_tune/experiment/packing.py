"""How many trials fit on one GPU: `--gpus-per-trial auto`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.errors import ConfigError
from bts_tune.experiment.options import AUTO, RunOptions
from bts_tune.space import ResolvedSpace

Say = Callable[[str], None]

# More trials than this at a time keep early stopping and the searcher waiting for what is still in training, and a GPU
# has little left to gain by then.
MOST = 8

# Of a GPU's memory, what trials may take: its allocator needs blocks in one piece, and steps differ a little.
USABLE = 0.9

# What a process takes beside its tensors: the CUDA context and the libraries' code.
CONTEXT = 600 * 2**20

_STEPS = 3

# The same architecture and image takes most memory with all of it trained; none of the other fields changes its size.
_WHOLE = {
    "freeze": "none",
    "freeze_stages": 0,
    "freeze_epochs": 0,
    "encoder_weights": "none",
    "augmentation": "none",
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "equalization": "histogram",
    "seed": 0,
}


@dataclass(frozen=True)
class Probe:
    """What the largest configuration took on a GPU.

    Attributes:
        config: which one it is.
        peak: bytes that its tensors took at the most, as reserved by the allocator.
        total: bytes that the GPU has.
    """

    config: TrialConfig
    peak: int
    total: int


def trials_per_gpu(peak: int, total: int) -> int:
    """Return how many trials of this peak, in bytes, a GPU of this memory takes; at least 1, at most `MOST`."""
    return max(1, min(MOST, math.floor(USABLE * total / (peak + CONTEXT))))


def candidates(space: ResolvedSpace) -> list[TrialConfig]:
    """Return a configuration of each architecture of the space, all of it trained, which takes most memory."""
    configs = [named.config for named in space.named]
    if space.search is not None:
        base = configs[0] if configs else TrialConfig()
        configs += [base.replaced({**space.search.fields, **_WHOLE, **one}) for one in space.search.all_sizes()]
    return list(dict.fromkeys(config.replaced(_WHOLE) for config in configs))


def probe(configs: Sequence[TrialConfig], prepared: Sequence[str]) -> Probe:
    """Train each configuration for a few steps on this process's GPU; return the one that took most memory.

    Args:
        configs: what to try.
        prepared: the folder of the prepared dataset for each.

    Raises:
        ConfigError: one runs out of memory even alone on the GPU.
    """
    import torch

    found = []
    for config, folder in zip(configs, prepared, strict=True):
        torch.cuda.reset_peak_memory_stats()
        try:
            _train(config, folder)
        except torch.cuda.OutOfMemoryError:
            raise ConfigError(
                f"--gpus-per-trial auto: {config.decoder} on {config.encoder} runs out of GPU memory even alone; lower "
                "batch_size or image_size."
            ) from None
        found.append(Probe(config, torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory))
    return max(found, key=lambda one: one.peak)


def _train(config: TrialConfig, folder: str) -> None:
    """Train on a few batches, and validate on one."""
    from bts_tune.data.prepare import PreparedSplit, load_prepared
    from bts_tune.training.loop import TrialSetup, open_trial, rows
    from bts_tune.training.weights import EncoderWeights

    def taken(split: PreparedSplit, count: int) -> PreparedSplit:
        places = np.resize(np.arange(len(split)), count)
        return PreparedSplit(split.images[places], split.masks[places], [split.names[place] for place in places])

    data = load_prepared(Path(folder))
    few = replace(data, train=taken(data.train, _STEPS * config.batch_size), valid=taken(data.valid, config.batch_size))
    # What the weights are makes no difference to memory.
    trial = open_trial(config.replaced({"epochs": 1}), few, TrialSetup(EncoderWeights(config.encoder), device="cuda"))
    try:
        next(rows(trial))
    finally:
        trial.close()


def packed(
    options: RunOptions, space: ResolvedSpace, prepared: Mapping[PreprocessingPart, str], *, gpus: float, say: Say
) -> RunOptions:
    """Return the options with `--gpus-per-trial auto` replaced by what a probe on a GPU of the cluster finds.

    Args:
        options: what was asked for; returned as they are without 'auto'.
        space: whose largest configuration has to fit.
        prepared: the folder of the prepared dataset for each preprocessing.
        gpus: of the cluster.
        say: is told in a sentence what was found.

    Raises:
        ConfigError: there is no GPU to share, or the largest configuration does not fit on one.
    """
    if options.gpus_per_trial != AUTO:
        return options
    if options.device == "cpu" or not gpus:
        raise ConfigError(f"--gpus-per-trial {AUTO}: there is no GPU to share; leave the option out.")
    import ray

    configs = candidates(space)
    folders = [prepared[config.part(PreprocessingPart)] for config in configs]
    found = ray.get(ray.remote(probe).options(name="probe", num_gpus=1, max_calls=1).remote(configs, folders))
    count = trials_per_gpu(found.peak, found.total)
    say(
        f"{found.config.decoder} on {found.config.encoder} takes most, {found.peak / 2**30:.1f} of "
        f"{found.total / 2**30:.0f} GiB: {count} trial{'s' if count > 1 else ''} on a GPU"
    )
    return options.model_copy(update={"gpus_per_trial": 1 / count})
