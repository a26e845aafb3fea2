from __future__ import annotations

import numpy as np
import pytest

from bts_tune.metrics.base import METRICS, ImageStatistics, metrics_in_use
from bts_tune.results.record.scores import SUMS


def statistics() -> ImageStatistics:
    values = np.arange(14, dtype=np.float64).reshape(2, 7)
    return ImageStatistics([*SUMS, "area_error.error"], values)


def test_statistics_by_name() -> None:
    images = statistics()
    assert len(images) == 2
    assert images["truth"].tolist() == [5, 12]
    assert images.sums.shape == (2, 6)
    assert images.totals.tolist() == [7, 9, 11, 13, 15, 17]
    assert {name: one.tolist() for name, one in images.further.items()} == {"area_error.error": [6, 13]}


def test_an_unknown_statistic_names_those_that_there_are() -> None:
    with pytest.raises(KeyError, match="true_positives"):
        statistics()["hausdorff"]


def test_the_ranking_keys_come_first() -> None:
    assert [metric.key() for metric in metrics_in_use()][:2] == ["dice_loss", "iou"]
    assert {metric.name for metric in metrics_in_use()} == set(METRICS.names())
