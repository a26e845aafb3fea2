"""Dice loss plus binary cross-entropy, each with its weight: the loss of the documented models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

from bts_tune.config import TrialConfig
from bts_tune.losses.base import LOSSES, Loss, PooledLoss, SplitLoss
from bts_tune.results.record.scores import EPS


@LOSSES.register("dice-bce")
class DiceBCE(Loss):
    """`dice_weight` x SMP's Dice loss of the batch + `bce_weight` x mean binary cross-entropy.

    Its two weights are fields of every configuration; with another loss they must keep their defaults.
    """

    definition = "dice_weight x Dice loss of the batch + bce_weight x mean binary cross-entropy"
    source = "Milletari et al., 'V-Net', 3DV 2016, for the Dice loss"

    def __init__(self, config: TrialConfig) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, DiceLoss

        super().__init__(config)
        self.dice_weight, self.bce_weight = config.dice_weight, config.bce_weight
        self.dice = DiceLoss(BINARY_MODE, from_logits=True)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""
        loss = logits.new_zeros(())
        if self.dice_weight:
            loss = loss + self.dice_weight * self.dice(logits, truth)
        if self.bce_weight:
            loss = loss + self.bce_weight * F.binary_cross_entropy_with_logits(logits, truth)
        return loss

    def on_split(self) -> SplitLoss:
        """Return what gathers the loss with the whole split as one batch."""
        return _DiceBCEOnSplit(self.dice_weight, self.bce_weight)


class _DiceBCEOnSplit(PooledLoss):
    def __init__(self, dice_weight: float, bce_weight: float) -> None:
        super().__init__()
        self._dice_weight, self._bce_weight = dice_weight, bce_weight

    def columns(
        self, logits: torch.Tensor, truth: torch.Tensor, sums: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        # Pixels are summed in float32 along rows first: exact enough, and float64 images would cost a GPU dearly.
        return [*super().columns(logits, truth, sums), entropy.sum(dim=3).double().sum(dim=(1, 2))]

    def from_totals(self, totals: np.ndarray, images: int, pixels: int) -> float:
        overlap, predicted, true, entropy = (float(total) for total in totals)
        loss = 0.0
        if self._bce_weight:  # else an overflow in it would not matter
            loss += self._bce_weight * entropy / pixels
        if true > 0:  # SMP's Dice loss is 0 for a batch without any tumour
            loss += self._dice_weight * (1.0 - (2.0 * overlap + EPS) / (predicted + true + EPS))
        return loss
