"""Losses that trust a rectangle's sides and not its corners: the projection term of box-supervised segmentation."""

import torch
from torch.nn import functional as F

from bts_tune.config import TrialConfig
from bts_tune.losses.base import LOSSES, Loss

SOURCE = "the projection term of Tian et al., 'BoxInst', CVPR 2021"


def projection(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the Dice loss between the maxima of prediction and truth along columns, plus that along rows.

    The Dice loss of the paper has squares below the line, for each image alone; here, images without a tumour give 0
    where nothing is predicted.
    """
    p = torch.sigmoid(logits)
    total = logits.new_zeros(())
    for axis in (2, 3):
        found, wanted = p.amax(dim=axis).flatten(1), truth.amax(dim=axis).flatten(1)
        overlap, sizes = (found * wanted).sum(dim=1), (found**2).sum(dim=1) + (wanted**2).sum(dim=1)
        total = total + (1 - (2 * overlap + 1e-5) / (sizes + 1e-5)).mean()
    return total


@LOSSES.register("box-projection")
class BoxProjection(Loss):
    """The projection term, plus cross-entropy outside of the boxes, where surely no tumour is."""

    definition = "Dice loss of the maxima along rows and columns, plus cross-entropy outside of the boxes"
    source = SOURCE

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss; nothing is asked of single pixels within a box."""
        outside = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * (1 - truth)
        return projection(logits, truth) + outside.sum() / (1 - truth).sum()


@LOSSES.register("dice-bce-projection")
class DiceBceProjection(Loss):
    """Dice loss plus cross-entropy, as in the baselines, plus the projection term."""

    definition = "Dice loss plus cross-entropy plus the Dice loss of the maxima along rows and columns"
    source = SOURCE

    def __init__(self, config: TrialConfig) -> None:
        super().__init__(config)

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the sum of the three."""
        p = torch.sigmoid(logits)
        dice = 1 - 2 * (p * truth).sum() / (p.sum() + truth.sum() + 1e-7)
        return dice + F.binary_cross_entropy_with_logits(logits, truth) + projection(logits, truth)
