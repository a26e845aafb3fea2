"""How often something is predicted where there is no tumour."""

from __future__ import annotations

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.results.record.scores import has_tumour


@METRICS.register("empty-false-positive-rate")
class EmptyFalsePositiveRate(Metric):
    """Share of the tumour-free images with any predicted pixel."""

    title = "False positives on tumour-free images"
    definition = "share of the tumour-free images with any predicted pixel; empty when there are none"
    direction = "minimize"

    def compute(self, images: ImageStatistics) -> float | None:
        """Return the share, in 0..1; None where every image holds a tumour."""
        empty = ~has_tumour(images.sums)
        return float((images["false_positives"][empty] > 0).mean()) if empty.any() else None
