from __future__ import annotations

from bts_tune.testing.metrics import MetricContract


class TestEmptyFalsePositiveRate(MetricContract):
    name = "empty-false-positive-rate"
