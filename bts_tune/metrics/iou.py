"""The intersection over union of a whole split: it breaks ties in rankings."""

from __future__ import annotations

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import pooled_iou


@METRICS.register("iou")
class IoU(Metric):
    """TP / (TP + FP + FN), pooled over all images; 1 where nothing is there nor predicted."""

    title = "IoU"
    definition = "TP / (TP + FP + FN), pooled over all images of the split. It breaks ties"
    direction = "maximize"
    source = "Jaccard 1912"

    def compute(self, images: ImageStatistics) -> float:
        """Return the IoU, in 0..1."""
        return float(pooled_iou(images.totals))
