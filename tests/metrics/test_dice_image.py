from __future__ import annotations

import numpy as np
from sklearn.metrics import f1_score

from bts_tune.testing.metrics import MetricContract


class TestDiceImage(MetricContract):
    name = "dice-image"

    def reference(self, probability: np.ndarray, truth: np.ndarray) -> float:
        pairs = [(a.ravel() > 0.5, b.ravel() > 0) for a, b in zip(probability, truth, strict=True) if b.any()]
        return float(np.mean([f1_score(true, cut) for cut, true in pairs]))
