from __future__ import annotations

import numpy as np
from sklearn.metrics import jaccard_score

from bts_tune.testing.metrics import MetricContract


class TestIou(MetricContract):
    name = "iou"

    def reference(self, probability: np.ndarray, truth: np.ndarray) -> float:
        return float(jaccard_score(truth.ravel() > 0, probability.ravel() > 0.5, zero_division=1))
