"""Whether a CPU trains a configuration faster in bfloat16 than in float32: measured, and kept in the cache.

A processor that multiplies bfloat16 gains on large images and wide layers; on small ones the conversions cost more than
they save. Nothing but a measurement of the very step tells which.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.models.known import keep, recall
from bts_tune.training.speed import Machine

FASTER = 1.10
"""bfloat16 has to make so many times the steps: machines swing by less, and float32 is the plain choice."""

_FLAGS = ("avx512_bf16", "amx_bf16")

_SECONDS = 3.0
"""Of the steps that are compared, about; those that warm up come on top."""

_LONGEST_STEP = 0.5
"""Seconds of a step, about: larger batches are measured by fewer of their images."""

_FEW = 2
_PAIRS = (3, 15)
"""Fewest and most pairs of steps that are compared."""


def bfloat16_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return by which of its instructions this processor multiplies bfloat16; none where Linux does not tell."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as file:
            flags = next((line.partition(":")[2].split() for line in file if line.startswith("flags")), [])
    except OSError:
        return []
    return [flag for flag in _FLAGS if flag in flags]


def known_gain(config: TrialConfig, machine: Machine, cache: Path | None = None) -> float | None:
    """Return the gain that was measured before on this processor with as many threads; None where there is none."""
    found = recall(cache, **_question(config, machine))
    return float(found) if isinstance(found, int | float) else None


def keep_gain(config: TrialConfig, machine: Machine, gain: float, cache: Path | None = None) -> None:
    """Keep a gain, so that the same machine decides the same again."""
    keep(cache, gain, **_question(config, machine))


def step_fields(config: TrialConfig) -> dict[str, Any]:
    """Return what the time of a step depends on, by which gains are told apart."""
    names = ("decoder", "encoder", "image_size", "batch_size", "channels")
    return {**{name: getattr(config, name) for name in names}, "frozen": config.freeze == "all"}


def _question(config: TrialConfig, machine: Machine) -> dict[str, Any]:
    on = {"processor": machine.name, "flags": bfloat16_flags(), "threads": machine.threads}
    return {"gain of bfloat16": step_fields(config), "on": on}


def measured_gain(config: TrialConfig, threads: int) -> float:
    """Return how many times as many steps bfloat16 makes on this CPU, by steps of both in turn.

    What counts is the processor's time, of all threads: what else runs on the machine lengthens a step by the clock by
    chance. The model has random weights and images; the loss is float32 in both.

    Args:
        config: what is trained.
        threads: CPU threads.

    Raises:
        ConfigError: the model cannot be built.
    """
    import torch

    from bts_tune.config import OptimizationPart
    from bts_tune.models.build import build_model, to_device
    from bts_tune.models.freezing import EncoderFreeze, set_mode
    from bts_tune.models.weights import EncoderWeights
    from bts_tune.registry import LOSSES
    from bts_tune.training.device import MixedPrecision, keep_freed_memory
    from bts_tune.training.optimizer import build_optimizer
    from bts_tune.training.step import TrainingStep

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_freed_memory()
    cpu = torch.device("cpu")
    try:
        model = to_device(build_model(config, EncoderWeights(config.encoder)), cpu)
        # Of what is frozen for some epochs or stages, the whole is measured: the later epochs are the longer ones.
        freeze = config if config.freeze == "all" else config.replaced(_WHOLE)
        EncoderFreeze(model, freeze, config.channels).apply(epoch=1)
        optimizer = build_optimizer(config.part(OptimizationPart), model)
        loss = LOSSES.get(config.loss)(config)
        steps = {name: TrainingStep(model, loss, MixedPrecision.choose(cpu, name)) for name in ("float32", "bfloat16")}
        set_mode(model, training=True)

        def seconds_of_processor(name: str, images: int) -> float:
            image = torch.rand((images, config.channels, config.image_size, config.image_size))
            truth = torch.ones((images, 1, config.image_size, config.image_size))
            begun = time.process_time()
            steps[name](image, truth)
            optimizer.step()
            return time.process_time() - begun

        for name in steps:
            seconds_of_processor(name, _FEW)  # the first one prepares what later ones use again
        each = seconds_of_processor("float32", _FEW) / _FEW / threads
        images = min(config.batch_size, max(_FEW, int(_LONGEST_STEP / each)))
        for name in steps:
            seconds_of_processor(name, images)
        ratios: list[float] = []
        until = time.monotonic() + _SECONDS
        while len(ratios) < _PAIRS[0] or (len(ratios) < _PAIRS[1] and time.monotonic() < until):
            ratios.append(seconds_of_processor("float32", images) / seconds_of_processor("bfloat16", images))
        return statistics.median(ratios)
    finally:
        torch.set_num_threads(threads_before)


_WHOLE = {"freeze": "none", "freeze_stages": 0, "freeze_epochs": 0}
