"""How long an image of a configuration takes on this machine: timed by a few steps, or known from earlier trainings.

What is known is in the cache (`models/known.py`). It is told as 'about' everywhere: other programs take their share.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.models.known import keep, recall

_FEW, _MORE = 2, 6
"""Images of the two steps that are timed on CPUs, from which larger steps follow; whole steps take too long there."""

_STEPS_ON_GPUS = 8
_PAIRS_ON_CPUS = 3

_PATIENCE = 1.5
"""Seconds after which the steps of a model are not timed again."""


@dataclass(frozen=True)
class Machine:
    """What the time of a step depends on beside the configuration.

    Attributes:
        device: 'cpu' or 'cuda'.
        name: of the processor or GPU.
        threads: CPU threads of a trial.
        gpus: GPUs of a trial, or the fraction of one.
    """

    device: str
    name: str
    threads: int
    gpus: float = 0.0


@dataclass(frozen=True)
class Speed:
    """Seconds for an image: of training, in steps of the configuration's batch size, and of validation."""

    train: float
    valid: float

    def epoch(self, train: float, valid: float) -> float:
        """Return the seconds of an epoch of so many images."""
        return self.train * train + self.valid * valid


def known_speed(config: TrialConfig, machine: Machine, cache: Path | None = None) -> Speed | None:
    """Return the speed that was timed or seen before; None where there is none."""
    found = recall(cache, **_question(config, machine))
    try:
        return Speed(float(found["train"]), float(found["valid"]))
    except (TypeError, KeyError, ValueError):
        return None


def keep_speed(config: TrialConfig, machine: Machine, speed: Speed, cache: Path | None = None) -> None:
    """Keep a speed for later."""
    keep(cache, {"train": speed.train, "valid": speed.valid}, **_question(config, machine))


def _question(config: TrialConfig, machine: Machine) -> dict[str, Any]:
    fields = ("decoder", "encoder", "freeze", "image_size", "batch_size", "precision")
    of = {name: getattr(config, name) for name in fields}
    # As of a version that knew grey images alone, whose speeds are kept.
    of |= {"channels": config.channels} if config.channels > 1 else {}
    return {"speed of": of, "on": vars(machine)}


def timed_speed(config: TrialConfig, machine: Machine) -> Speed | None:
    """Time a few steps of a configuration, with random weights and images.

    Returns:
        None where a step cannot be computed, as of a decoder that cannot take images this small: a trial says why.

    Raises:
        ConfigError: the model cannot be built.
    """
    import torch

    from bts_tune.config import OptimizationPart
    from bts_tune.models.build import build_model, to_device
    from bts_tune.models.freezing import EncoderFreeze, set_mode
    from bts_tune.models.weights import EncoderWeights
    from bts_tune.registry import LOSSES
    from bts_tune.training.device import MixedPrecision, resolve_device
    from bts_tune.training.optimizer import build_optimizer
    from bts_tune.training.step import TrainingStep

    threads_before = torch.get_num_threads()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    try:
        amp = MixedPrecision.choose(resolve_device(machine.device), config.precision)
        model = to_device(build_model(config, EncoderWeights(config.encoder)), amp.device)
        EncoderFreeze(model, config, config.channels).apply(epoch=1)
        optimizer = build_optimizer(config.part(OptimizationPart), model)
        loss = LOSSES.get(config.loss)(config).to(amp.device)
        gradients = TrainingStep(model, loss, amp)

        def seconds(images: int, *, training: bool) -> float:
            size = (config.image_size, config.image_size)
            image = torch.rand((images, config.channels, *size), device=amp.device)
            truth = torch.ones((images, 1, *size), device=amp.device)
            set_mode(model, training=training)
            if amp.device.type == "cuda":
                torch.cuda.synchronize()
            begun = time.perf_counter()
            if training:
                gradients(image, truth)
                amp.scaler.step(optimizer)
                amp.scaler.update()
            else:
                with torch.no_grad():
                    with amp.autocast():
                        logits = model(image)
                    loss(logits.float(), truth)
            if amp.device.type == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - begun

        batch = config.batch_size
        try:
            # The first one prepares what later ones use again: on GPUs a graph, which is of one size.
            seconds(batch if amp.device.type == "cuda" else _FEW, training=True)
        except (RuntimeError, ValueError):
            return None
        if amp.device.type == "cuda":
            steps = [seconds(batch, training=True) for _ in range(_STEPS_ON_GPUS)]
            seconds(batch, training=False)
            gradients.close()
            return Speed(min(steps) / batch, seconds(batch, training=False) / batch)
        more, until = min(batch, _MORE), time.perf_counter() + _PATIENCE
        few = many = float("inf")
        for _ in range(_PAIRS_ON_CPUS):  # the quickest, since other programs take their share now and then
            few = min(few, seconds(_FEW, training=True))
            many = min(many, seconds(more, training=True))
            if time.perf_counter() > until:
                break
        each = max(0.0, many - few) / (more - _FEW) if more > _FEW else many / more
        step = many + each * (batch - more)
        return Speed(step / batch, seconds(more, training=False) / more)
    finally:
        torch.set_num_threads(threads_before)
