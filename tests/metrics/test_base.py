from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bts_tune.errors import ConfigError
from bts_tune.metrics.base import METRICS, ImageStatistics, Metric, metrics_in_use
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


@pytest.mark.parametrize("name", ["HD95", "dice_loss", "loss", "95 %", "", "a" * 101, "iou\n"])
def test_a_name_that_columns_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^metric .*: columns are named after it, .* lower-case letters, digits"):
        METRICS.register(name)(type("Mine", (Computed,), {}))
    assert name not in METRICS


class Computed(Metric):
    """Whatever it is given."""

    name, title, definition, direction = "computed", "computed", "as given", "minimize"

    def __init__(self, found: Any) -> None:
        self.found = found

    def compute(self, images: ImageStatistics) -> Any:
        return self.found


@pytest.mark.parametrize("direction", ["min", "max", None])
def test_another_direction_is_refused(direction: Any) -> None:
    with pytest.raises(ConfigError, match=r"^metric 'mine': direction must be 'minimize' or 'maximize', got "):
        METRICS.register("mine")(type("Mine", (Computed,), {"direction": direction}))


@pytest.mark.parametrize(("found", "told"), [(5, 1), (-0.1, 1), (1 + 1e-9, 0), (None, 0)])
def test_a_value_outside_the_range_is_told_once(found: Any, told: int, caplog: pytest.LogCaptureFixture) -> None:
    mine = type("Mine", (Computed,), {"name": f"mine-{found}"})(found)
    for _ in range(2):
        assert mine.value_of(statistics()) == found
    assert caplog.text.count(f"Metric 'mine-{found}': computed {found}, which is outside its range of 0 to 1") == told


@pytest.mark.parametrize("found", [0.5, 1, np.float64(0.5), np.float32(0.5), np.int64(2), np.array(0.5), None])
def test_a_value_is_a_number_of_pythons_own(found: Any) -> None:
    value = Computed(found).value_of(statistics())
    assert value == found
    assert type(value) is (type(None) if found is None else float)


@pytest.mark.parametrize("found", ["much", np.array([1.0, 2.0]), [0.5]])
def test_what_is_no_number_is_one_sentence_that_names_the_metric(found: Any) -> None:
    with pytest.raises(ConfigError, match=r"^metric 'computed': computed .* must be a number, or None"):
        Computed(found).value_of(statistics())
