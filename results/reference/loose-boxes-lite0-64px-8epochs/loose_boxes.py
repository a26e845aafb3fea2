"""Two losses for a ground truth of loose boxes: softened at the border, and without a band inside of it."""

import torch
from torch.nn import functional as F

from bts_tune.config import TrialConfig
from bts_tune.losses.base import LOSSES, Loss


def dice_bce(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of both losses over all pixels of the batch, each counted by its weight."""
    p = torch.sigmoid(logits)
    dice = 1 - 2 * (weight * p * truth).sum() / ((weight * p).sum() + (weight * truth).sum() + 1e-7)
    return dice + (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight).sum() / weight.sum()


@LOSSES.register("soft-border")
class SoftBorder(Loss):
    """Dice loss plus cross-entropy; the truth is averaged over 5 x 5 pixels."""

    definition = "Dice loss plus cross-entropy on a truth that is averaged over 5 x 5 pixels"
    source = "none; tried here on boxes that were drawn loosely"

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss on the softened truth."""
        soft = F.avg_pool2d(truth, 5, stride=1, padding=2, count_include_pad=False)
        return dice_bce(logits, soft, torch.ones_like(truth))


@LOSSES.register("ignored-border")
class IgnoredBorder(Loss):
    """Dice loss plus cross-entropy; pixels of the tumour within two of its border do not count."""

    definition = "Dice loss plus cross-entropy, without the tumour's pixels within two of its border"
    source = "none; tried here on boxes that were drawn loosely"

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss without the band inside of the border."""
        inner = -F.max_pool2d(-truth, kernel_size=5, stride=1, padding=2)
        return dice_bce(logits, truth, 1 - (truth - inner))
