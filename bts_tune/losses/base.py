"""What a training loss is, and how its value on a whole split is gathered."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from bts_tune.config import Part, TrialConfig, check_parameters
from bts_tune.errors import ConfigError
from bts_tune.registry import LOSSES

__all__ = ["LOSSES", "ImageMean", "Loss", "PooledLoss", "SplitLoss"]


class SplitLoss(ABC):
    """The value of a loss on a whole split, whatever the size of the batches that it comes in."""

    @abstractmethod
    def add(self, logits: torch.Tensor, truth: torch.Tensor, sums: Mapping[str, torch.Tensor]) -> None:
        """Take in a batch.

        Args:
            logits: float32 [n, 1, S, S].
            truth: float32, 0 or 1, of the same shape.
            sums: the sums of each image, float64 [n], by the names of `results.scores.SUMS`.
        """

    @abstractmethod
    def value(self) -> float:
        """Return the loss of all images that were added; at least one was."""


class Loss(nn.Module, ABC):
    """A training loss.

    Called with float32 logits and a float32 {0, 1} truth, both [n, 1, S, S], it returns a finite scalar that gradients
    flow through and that is lower for a better prediction. With `label_smoothing`, the truth that it is trained on lies
    between 0 and 1.

    `val_loss` is its value on a split. By default that is the mean of the loss of each image alone. A loss that is a
    function of sums over the batch overrides `on_split`, so that the whole split counts as one batch.

    Attributes:
        name: the name that it is registered under; set by the registry.
        definition: what it is, in one sentence, for the report.
        source: the paper that it comes from.
        Parameters: its own parameters, fields of the configurations that choose it. Their names begin with the name of
            the loss, because all fields of a configuration share one namespace.
        takes_soft_truth: whether it is meant for a truth between 0 and 1 too.
    """

    name: ClassVar[str]
    definition: ClassVar[str]
    source: ClassVar[str]
    Parameters: ClassVar[type[Part]]
    takes_soft_truth: ClassVar[bool] = True

    def __init__(self, config: TrialConfig) -> None:
        """Read the loss's own parameters from the configuration of a trial."""
        super().__init__()

    @classmethod
    def check_declared(cls, name: str) -> None:
        """Raise a `ConfigError` where a parameter has a name that is not its own, or no configuration is taken."""
        check_parameters(LOSSES, name, cls)
        try:
            inspect.signature(cls).bind(TrialConfig())
        except TypeError:
            raise ConfigError(
                f"loss {name!r}: its __init__ must take the configuration of a trial alone: __init__(self, config)."
            ) from None

    @abstractmethod
    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""

    def on_split(self) -> SplitLoss:
        """Return what gathers the loss of a split, with nothing in it."""
        return ImageMean(self)


class ImageMean(SplitLoss):
    """The mean over images of the loss of each image alone."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._values: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, truth: torch.Tensor, sums: Mapping[str, torch.Tensor]) -> None:
        """Take in a batch."""
        pairs = zip(logits.split(1), truth.split(1), strict=True)
        self._values += [self._loss(one, mask).detach().double() for one, mask in pairs]

    def value(self) -> float:
        """Return the mean."""
        return float(torch.stack(self._values).mean())


class PooledLoss(SplitLoss):
    """A loss that follows from the sums over all images: the whole split as one batch."""

    def __init__(self) -> None:
        self._batches: list[torch.Tensor] = []

    def columns(
        self, logits: torch.Tensor, truth: torch.Tensor, sums: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return what is summed over the images: by default sum p*y, sum p and sum y of each, float64 [n] each."""
        return [sums["overlap"], sums["predicted"], sums["truth"]]

    @abstractmethod
    def from_totals(self, totals: np.ndarray, images: int, pixels: int) -> float:
        """Return the loss, given the sums over all images in the order of `columns`, and the number of all pixels."""

    def add(self, logits: torch.Tensor, truth: torch.Tensor, sums: Mapping[str, torch.Tensor]) -> None:
        """Take in a batch."""
        self._pixels = logits[0].numel()
        self._batches.append(torch.stack(self.columns(logits, truth, sums), dim=1))

    def value(self) -> float:
        """Return the loss."""
        table = torch.cat(self._batches).cpu().numpy()
        return self.from_totals(table.sum(axis=0), len(table), self._pixels * len(table))
