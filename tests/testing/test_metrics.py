"""A metric that breaks the contract is found."""

from __future__ import annotations

import pytest

from bts_tune.metrics.base import ImageStatistics, Metric
from bts_tune.testing.metrics import MetricContract


class Wrong(Metric):
    """Depends on the order of the images, leaves its range and points the wrong way."""

    title, definition, direction = "wrong", "wrong", "maximize"

    def compute(self, images: ImageStatistics) -> float:
        return float(images["false_positives"][0] + images["false_negatives"][0])


def test_what_is_wrong_is_found() -> None:
    contract = MetricContract()
    with pytest.raises(AssertionError):
        contract.test_it_lies_in_its_range(Wrong(), seed=0, empty=0)
    with pytest.raises(AssertionError):
        contract.test_it_does_not_depend_on_the_order_of_the_images(Wrong())
    with pytest.raises(AssertionError):
        contract.test_a_right_prediction_is_at_least_as_good_as_a_wrong_one(Wrong(), empty=0)
