"""Tversky loss: the Dice loss with a weight of its own for false positives and for false negatives."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from bts_tune.config import Part, TrialConfig
from bts_tune.losses.base import LOSSES, Loss, PooledLoss, SplitLoss
from bts_tune.results.record.scores import EPS

Weight = Annotated[float, Field(ge=0.0, le=1.0)]


@LOSSES.register("tversky")
class Tversky(Loss):
    """1 - TP / (TP + alpha FP + beta FN), from probabilities over all pixels of the batch; SMP's implementation."""

    definition = "1 - TP / (TP + alpha FP + beta FN), from probabilities over all pixels of the batch"
    source = "Salehi et al., 'Tversky loss function for image segmentation using 3D FCNs', MLMI 2017"

    class Parameters(Part):
        """Fields of a configuration with `loss: tversky`."""

        tversky_alpha: Weight = Field(default=0.3, description="weight of false positives in the Tversky loss")
        tversky_beta: Weight = Field(default=0.7, description="weight of false negatives in the Tversky loss")

        @model_validator(mode="after")
        def _weighs_some_mistake(self) -> Self:
            if self.tversky_alpha == 0 and self.tversky_beta == 0:  # constant, hence without a gradient
                raise ValueError("tversky_alpha and tversky_beta are both 0; at least one of them must be above 0")
            return self

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)
        own = config.part(self.Parameters)
        self.alpha, self.beta = own.tversky_alpha, own.tversky_beta
        self.tversky = tversky_loss(self.alpha, self.beta)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar; 0 where it holds no tumour."""
        return self.tversky(logits, truth)

    def on_split(self) -> SplitLoss:
        """Return what gathers the loss with the whole split as one batch."""
        return TverskyOnSplit(self.alpha, self.beta)


def tversky_loss(alpha: float, beta: float) -> nn.Module:
    """Return SMP's Tversky loss of logits; it is 0 for a batch that holds no tumour."""
    from segmentation_models_pytorch.losses import BINARY_MODE, TverskyLoss

    return TverskyLoss(BINARY_MODE, alpha=alpha, beta=beta)


class TverskyOnSplit(PooledLoss):
    """(1 - TP / (TP + alpha FP + beta FN))^gamma over all pixels of a split; 0 without any tumour, as in a batch."""

    def __init__(self, alpha: float, beta: float, gamma: float = 1.0) -> None:
        super().__init__()
        self._alpha, self._beta, self._gamma = alpha, beta, gamma

    def from_totals(self, totals: np.ndarray, images: int, pixels: int) -> float:
        """Return the loss."""
        overlap, predicted, true = (float(total) for total in totals)
        if not true:
            return 0.0
        whole = overlap + self._alpha * (predicted - overlap) + self._beta * (true - overlap)
        return float((1.0 - overlap / max(whole, EPS)) ** self._gamma)
