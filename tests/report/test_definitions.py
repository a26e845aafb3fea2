"""The definitions of all columns of metrics."""

from __future__ import annotations

import pytest

from bts_tune.metrics.base import METRICS, ImageStatistics, Metric
from bts_tune.report.definitions import DEFINITION_HEADER, definition, metric_definitions
from bts_tune.testing.runs import make_row, make_trial

TRIALS = [make_trial("a", rows=[make_row("a", 1, 0.3, val_area_error=0.1)], test={"test_of_test": 1.0})]


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    METRICS.all()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


def rows(run: dict[str, object]) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in metric_definitions(run, TRIALS)}


def test_our_own_metrics_say_what_they_are() -> None:
    found = rows({})
    assert found["val_iou"] == (f"{METRICS.get('iou').definition} (Jaccard 1912)", "higher", "0 to 1")
    assert found["val_dice_loss"][1] == "lower"
    assert list(found)[:2] == ["val_dice_loss", "val_iou"]
    assert {len(row) for row in metric_definitions({}, [])} == {len(DEFINITION_HEADER)}
    assert definition("val_iou").startswith("TP / (TP + FP + FN)")


@pytest.mark.usefixtures("_forgotten")
def test_a_metric_of_a_plugin_says_what_it_is_where_it_is_loaded_and_on_record() -> None:
    class Length(Metric):
        title, definition, direction = "Length", "how long it is", "minimize"
        range, unit = (0.0, float("inf")), "px"

        def compute(self, images: ImageStatistics) -> float:
            return 0.0

    METRICS.register("area-error")(Length)
    assert rows({})["val_area_error"] == ("how long it is", "lower", "0 px or more")
    assert definition("val_area_error", {"metrics_defined": {"area_error": "as recorded"}}) == "how long it is"
    assert "val_area_error" not in {row[0] for row in metric_definitions({}, [])}


def test_a_metric_whose_plugin_is_not_loaded_is_defined_by_the_record() -> None:
    found = rows({"metrics_defined": {"area_error": "as recorded"}})
    assert found["val_area_error"][0] == "as recorded"
    assert definition("val_area_error", {"metrics_defined": {"area_error": "as recorded"}}) == "as recorded"
    assert "not known here" in definition("val_area_error")
    assert "not known here" in found["val_of_test"][0]
    assert "not known here" in rows({"metrics_defined": ["nonsense"]})["val_area_error"][0]


def test_the_training_loss_is_defined_by_the_record() -> None:
    found = rows({"losses": {"focal": "the focal loss", "odd": 3}})
    assert found["val_loss, train_loss of focal"][0] == "the focal loss"
    assert not [name for name in found if "odd" in name]
