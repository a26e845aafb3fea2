"""A metric of one's own: how far the predicted tumour's area is from the true one.

bts-tune --space baseline --data DIR --plugin area_error.py      # a column val_area_error, defined in the report
"""

import numpy as np

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric


@METRICS.register("area-error")
class AreaError(Metric):
    """Mean, over the images that hold a tumour, of |predicted area - true area| / (predicted area + true area)."""

    title = "Area error"
    definition = "|predicted area - true area| / (predicted area + true area), mean over the images that hold a tumour"
    direction = "minimize"
    range = (0.0, 1.0)

    def compute(self, images: ImageStatistics) -> float | None:
        held = images["truth"] > 0
        if not held.any():
            return None
        predicted = (images["true_positives"] + images["false_positives"])[held]
        true = images["truth"][held]
        return float(np.mean(np.abs(predicted - true) / (predicted + true)))
