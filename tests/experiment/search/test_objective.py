from __future__ import annotations

from bts_tune.experiment.search.objective import EPOCH, METRIC, WORST
from bts_tune.registry import METRICS
from bts_tune.training.trial import Row


def test_every_epoch_reports_what_is_minimised() -> None:
    row = Row(1, 0.5, 0.5, {"val_dice_loss": 0.4}, 0.4, 1, 1e-3, 10, 1.0, 0.5, 20.0)
    assert {METRIC, EPOCH} <= row.to_dict().keys()
    assert Row.from_dict(row.to_dict()) == row


def test_the_worst_value_is_the_worst_end_of_the_metrics_range() -> None:
    metric = METRICS.get("dice-loss")
    assert metric.direction == "minimize"
    assert metric.range[1] == WORST
