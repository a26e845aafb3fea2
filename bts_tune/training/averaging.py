"""The average of a trial's weights along its training, which is validated and kept in place of the last ones.

`ema` is the exponential moving average over the steps (Polyak and Juditsky 1992; as in timm's `ModelEma`), with a decay
that grows to `ema_decay`, min(ema_decay, (1 + n) / (10 + n)) after n steps, as TensorFlow's does: otherwise the random
first weights would weigh for long. The statistics of batch norm are averaged alike.

`swa` is the mean of the weights after each epoch of the last part of the budget (Izmailov et al., 'Averaging weights
leads to wider optima and better generalization', UAI 2018). No batch was ever normalised under such weights, so the
statistics of batch norm are measured anew, with one pass over the training images, without augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from bts_tune.config import OptimizationPart
from bts_tune.data.prepared.prepare import PreparedSplit
from bts_tune.models.freezing import set_mode
from bts_tune.training.device import MixedPrecision
from bts_tune.training.loader import BatchLoader


class WeightAverage:
    """The running average of a model's weights.

    Args:
        model: in its place on the device; the average starts as a copy.
        config: of the trial, with `weight_average` other than 'none'.
    """

    def __init__(self, model: nn.Module, config: OptimizationPart) -> None:
        self._kind, self._decay = config.weight_average, config.ema_decay
        self._first_epoch = math.floor(config.swa_start * config.epochs) + 1
        self._updates = 0
        ema = self._kind == "ema"
        # Kept on the CPU, its own counter would make a GPU wait at every step.
        self._average = AveragedModel(model, multi_avg_fn=self._lerp if ema else None, use_buffers=ema)
        self._average.requires_grad_(False)

    @property
    def started(self) -> bool:
        """Whether there is an average yet."""
        return self._updates > 0

    @property
    def model(self) -> Any:
        """The network with the averaged weights."""
        return self._average.module

    def after_step(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        if self._kind == "ema":
            self._update(model)

    def after_epoch(
        self, model: nn.Module, epoch: int, split: PreparedSplit, loader: BatchLoader, amp: MixedPrecision
    ) -> None:
        """Take in the weights after an epoch, and measure the statistics of batch norm where that is due."""
        if self._kind == "swa" and epoch >= self._first_epoch:
            self._update(model)
            # What is frozen is told by what is trained, and of the average nothing is.
            for own, source in zip(self.model.parameters(), model.parameters(), strict=True):
                own.requires_grad_(source.requires_grad)
            measure_batch_norm(self.model, split, loader, amp)
            self._average.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {"updates": self._updates, "average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._average.load_state_dict(state["average"])
        self._updates = state["updates"]

    def _update(self, model: nn.Module) -> None:
        self._average.update_parameters(model)
        self._updates += 1

    def _lerp(self, averaged: Any, current: Any, _number: Any) -> None:
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # batch norm's counts of batches
            for one, other in zip(averaged, current, strict=True):
                one.copy_(other)


@torch.no_grad()
def measure_batch_norm(model: Any, split: PreparedSplit, loader: BatchLoader, amp: MixedPrecision) -> None:
    """Measure the statistics of every batch norm that is trained, as the mean over the batches of a split.

    Like `torch.optim.swa_utils.update_bn`, but what is frozen keeps its statistics.
    """
    set_mode(model, training=True)
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    with _cumulative(layers):
        for image, _ in loader.evaluation(split):
            # A single image at the end of a split is no batch for batch norm.
            if len(image) > 1 or len(split.names) == 1:
                with amp.autocast():
                    model(image)


@contextmanager
def _cumulative(layers: list[_BatchNorm]) -> Iterator[None]:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
