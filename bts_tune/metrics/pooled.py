"""The metrics, from sums over each image, so that no figure depends on the batch size or the order of images.

Definitions: p is the sigmoid of the logits, y the truth, a pixel is predicted where p > 0.5.

    dice_loss                   1 - (2 sum p*y + eps) / (sum p + sum y + eps), sums over all pixels of all images
    iou                         TP / (TP + FP + FN), pooled over all images; 1 where nothing is there nor predicted
    dice_image, iou_image       mean over the images that hold a tumour, of each one's 2 TP / (2 TP + FP + FN) and IoU
    empty_false_positive_rate   share of tumour-free images with any predicted pixel; None when there are none
    loss                        the training objective with the whole split as one batch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from bts_tune.config import OptimizationPart
from bts_tune.results.scores import EPS

THRESHOLD = 0.5


@torch.no_grad()
def image_sums(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the sums that every metric is made of.

    Args:
        logits: float [N, 1, H, W].
        truth: {0, 1}, any dtype, [N, 1, H, W].

    Returns:
        float64 [N, 7] on the same device, columns as in `scores.SUMS`; overlap, predicted and truth are sum p*y, sum p
        and sum y.
    """
    # Pixels are summed in float32 along rows first: exact enough, and float64 images would cost the GPU dearly.
    logits = logits.float()
    y = truth.to(logits.dtype)
    p = torch.sigmoid(logits)
    predicted = (p > THRESHOLD).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    maps = (predicted * y, predicted * (1 - y), (1 - predicted) * y, p * y, p, y, entropy)
    return torch.stack([m.sum(dim=3).double().sum(dim=(1, 2)) for m in maps], dim=1)


@dataclass(frozen=True)
class Metrics:
    """The metrics of one split; see the module's definitions."""

    loss: float
    dice_loss: float
    iou: float
    dice_image: float | None
    iou_image: float | None
    empty_false_positive_rate: float | None

    def columns(self, prefix: str) -> dict[str, float | None]:
        """Return the metrics by column name, such as `val_dice_loss`."""
        return {f"{prefix}_{name}": value for name, value in vars(self).items()}


def soft_dice_loss(overlap: float, predicted: float, truth: float) -> float:
    """Return 1 - (2 sum p*y + eps) / (sum p + sum y + eps)."""
    return 1.0 - (2.0 * overlap + EPS) / (predicted + truth + EPS)


def metrics_from_sums(sums: np.ndarray, pixels: int, objective: OptimizationPart) -> Metrics:
    """Compute the metrics of a split.

    Args:
        sums: float64 [N, 7], a row for each image, as `image_sums` gives them.
        pixels: pixels of one image.
        objective: the weights of the two losses.
    """
    tp, fp, fn, overlap, predicted, truth, entropy = (float(column) for column in sums.sum(axis=0))
    dice_loss = soft_dice_loss(overlap, predicted, truth)
    loss = 0.0
    if objective.bce_weight:  # else an overflow in it would not matter
        loss += objective.bce_weight * entropy / (pixels * len(sums))
    if truth > 0:  # SMP's Dice loss is 0 for a batch without any tumour
        loss += objective.dice_weight * dice_loss
    union = tp + fp + fn
    with_tumour = sums[:, 5] > 0
    positives, empty = sums[with_tumour, :3], sums[~with_tumour]
    dice_image = iou_image = None
    if len(positives):
        image_unions = positives.sum(axis=1)
        iou_image = float((positives[:, 0] / image_unions).mean())
        dice_image = float((2 * positives[:, 0] / (image_unions + positives[:, 0])).mean())
    return Metrics(
        loss=loss,
        dice_loss=dice_loss,
        iou=tp / union if union else 1.0,
        dice_image=dice_image,
        iou_image=iou_image,
        empty_false_positive_rate=float((empty[:, 1] > 0).mean()) if len(empty) else None,
    )
