"""The training objective: Dice loss plus binary cross-entropy, each with its weight."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from bts_tune.config import OptimizationPart


class Objective(nn.Module):
    """`dice_weight` x SMP's Dice loss of the batch + `bce_weight` x mean binary cross-entropy."""

    def __init__(self, config: OptimizationPart) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, DiceLoss

        super().__init__()
        self.dice_weight, self.bce_weight = config.dice_weight, config.bce_weight
        self.dice = DiceLoss(BINARY_MODE, from_logits=True)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss of float32 logits against a float32 {0, 1} truth, both [N, 1, H, W]."""
        loss = logits.new_zeros(())
        if self.dice_weight:
            loss = loss + self.dice_weight * self.dice(logits, truth)
        if self.bce_weight:
            loss = loss + self.bce_weight * F.binary_cross_entropy_with_logits(logits, truth)
        return loss
