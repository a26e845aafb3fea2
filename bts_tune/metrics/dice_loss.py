"""The soft Dice loss of a whole split: the default objective."""

from __future__ import annotations

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import pooled_dice_loss


@METRICS.register("dice-loss")
class DiceLoss(Metric):
    """1 - (2 sum p*y + eps) / (sum p + sum y + eps) over all pixels of all images (Milletari et al. 2016, pooled)."""

    title = "Dice loss"
    definition = (
        "1 - (2 sum p*y + eps) / (sum p + sum y + eps), the sums over all pixels of all images of the "
        "split (soft, pooled). The objective, unless a space names another"
    )
    direction = "minimize"
    source = "Milletari et al., 'V-Net', 3DV 2016"

    def compute(self, images: ImageStatistics) -> float:
        """Return the Dice loss, in 0..1."""
        return float(pooled_dice_loss(images.totals))
