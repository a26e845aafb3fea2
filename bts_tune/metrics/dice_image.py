"""The mean Dice of the images that hold a tumour."""

from __future__ import annotations

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import has_tumour, image_dice


@METRICS.register("dice-image")
class ImageDice(Metric):
    """Mean of 2 TP / (2 TP + FP + FN) over the images that hold a tumour."""

    title = "Dice per image"
    definition = "2 TP / (2 TP + FP + FN) of each image, mean over the images that hold a tumour"
    direction = "maximize"
    source = "Dice 1945"

    def compute(self, images: ImageStatistics) -> float | None:
        """Return the mean, in 0..1; None where no image holds a tumour."""
        sums = images.sums[has_tumour(images.sums)]
        return float(image_dice(sums).mean()) if len(sums) else None
