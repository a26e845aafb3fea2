from __future__ import annotations

import numpy as np

from bts_tune.testing.metrics import MetricContract


class TestDiceLoss(MetricContract):
    name = "dice-loss"

    def reference(self, probability: np.ndarray, truth: np.ndarray) -> float:
        return 1 - 2 * float((probability * truth).sum()) / float(probability.sum() + truth.sum())
