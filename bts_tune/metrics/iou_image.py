"""The mean IoU of the images that hold a tumour."""

from __future__ import annotations

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import has_tumour, image_iou


@METRICS.register("iou-image")
class ImageIoU(Metric):
    """Mean of TP / (TP + FP + FN) over the images that hold a tumour."""

    title = "IoU per image"
    definition = "TP / (TP + FP + FN) of each image, mean over the images that hold a tumour"
    direction = "maximize"
    source = "Jaccard 1912"

    def compute(self, images: ImageStatistics) -> float | None:
        """Return the mean, in 0..1; None where no image holds a tumour."""
        sums = images.sums[has_tumour(images.sums)]
        return float(image_iou(sums).mean()) if len(sums) else None
