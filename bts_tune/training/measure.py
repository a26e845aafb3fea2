"""A model measured on a split: its loss and every metric, from figures of single images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from bts_tune.data.prepared.prepare import PreparedSplit
from bts_tune.losses.base import Loss
from bts_tune.metrics.base import ImageStatistics, metrics_in_use
from bts_tune.models.freezing import set_mode
from bts_tune.results.record.scores import SUMS
from bts_tune.training.device import MixedPrecision
from bts_tune.training.loader import BatchLoader

THRESHOLD = 0.5
"""A pixel is predicted as tumour where its probability is above this."""


@torch.no_grad()
def image_sums(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the sums over pixels that metrics are made of.

    Args:
        logits: float [N, 1, H, W].
        truth: {0, 1}, any dtype, [N, 1, H, W].

    Returns:
        float64 [N, 6] on the same device, columns as in `results.scores.SUMS`.
    """
    # Pixels are summed in float32 along rows first: exact enough, and float64 images would cost the GPU dearly.
    logits = logits.float()
    y = truth.to(logits.dtype)
    p = torch.sigmoid(logits)
    predicted = (p > THRESHOLD).to(logits.dtype)
    maps = (predicted * y, predicted * (1 - y), (1 - predicted) * y, p * y, p, y)
    return torch.stack([m.sum(dim=3).double().sum(dim=(1, 2)) for m in maps], dim=1)


@dataclass(frozen=True)
class Measured:
    """What a model scores on a split.

    Attributes:
        loss: the training loss on the split; see `Loss.on_split`.
        metrics: every metric by its key; None where it is not defined on these images.
        images: the figures of each image that the metrics are made of.
    """

    loss: float
    metrics: dict[str, float | None]
    images: ImageStatistics = field(repr=False)

    def columns(self, prefix: str) -> dict[str, float | None]:
        """Return loss and metrics by column name, such as `val_dice_loss`."""
        return {f"{prefix}_loss": self.loss, **{f"{prefix}_{key}": value for key, value in self.metrics.items()}}


class SplitMeter:
    """Gathers what a model scores on a split, batch by batch in the order of the split."""

    def __init__(self, loss: Loss) -> None:
        """Measure this loss and every metric that is registered."""
        self._metrics = metrics_in_use()
        self._own = [metric for metric in self._metrics if metric.statistics]
        self._loss = loss.on_split()
        self._batches: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Take in a batch: logits, float [n, 1, S, S], and truth, float32 {0, 1} of the same shape."""
        logits = logits.float()
        sums = image_sums(logits, truth)
        self._loss.add(logits, truth, dict(zip(SUMS, sums.unbind(dim=1), strict=True)))
        further = []
        if self._own:
            probability = torch.sigmoid(logits)
            further = [metric.image_statistics(probability, truth).double() for metric in self._own]
        self._batches.append(torch.cat([sums, *further], dim=1))

    def result(self) -> Measured:
        """Return loss and metrics of all images that were added; at least one was."""
        columns = [*SUMS, *(f"{metric.key()}.{name}" for metric in self._own for name in metric.statistics)]
        images = ImageStatistics(columns, torch.cat(self._batches).cpu().numpy())
        metrics = {metric.key(): metric.value_of(images.of(metric)) for metric in self._metrics}
        return Measured(self._loss.value(), metrics, images)


def measure(
    model: nn.Module,
    split: PreparedSplit,
    loader: BatchLoader,
    amp: MixedPrecision,
    loss: Loss,
    watch: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> Measured:
    """Measure a model on a split of at least one image.

    Args:
        model: is left in evaluation mode.
        split: what it is measured on.
        loader: gives the split's batches.
        amp: how the network computes.
        loss: the training loss.
        watch: is given the logits and the truth of every batch, both [n, 1, S, S], in the order of the split.
    """
    set_mode(model, training=False)
    meter = SplitMeter(loss)
    with torch.inference_mode():
        for image, truth in loader.evaluation(split):
            with amp.autocast():
                logits = model(image)
            meter.add(logits, truth)
            if watch is not None:
                watch(logits, truth)
        return meter.result()
