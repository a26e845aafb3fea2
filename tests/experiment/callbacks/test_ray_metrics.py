"""The figures that are exported through Ray as a run goes on."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.experiment.callbacks.ray_metrics import GAUGES, RayMetrics
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.testing.runs import make_search
from tests.experiment.builders import planned


class Exported:
    """What gauges were set to last, by name and tags."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def gauge(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Any:
        assert description
        exported = self

        class Gauge:
            tags: dict[str, str]

            def set_default_tags(self, tags: dict[str, str]) -> Gauge:
                self.tags = tags
                return self

            def set(self, value: float, tags: dict[str, str] | None = None) -> None:
                given = {**self.tags, **(tags or {})}
                assert given.keys() == set(tag_keys)
                exported.values[name, *given.values()] = value

        return Gauge()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    found = Exported()
    monkeypatch.setattr("ray.util.metrics.Gauge", found.gauge)
    return found


def row(epoch: int, loss: float) -> dict[str, Any]:
    return {"epoch": epoch, "val_dice_loss": loss, "val_iou": 1 - loss, "images_per_second": 7.5}


def test_a_run_is_followed(exported: Exported) -> None:
    metrics = RayMetrics("mine", DICE_LOSS)
    for trial in ("a", "b"):
        metrics.planned(planned(trial))
        metrics.started(trial)
    metrics.row("a", row(1, 0.5))
    metrics.row("b", row(1, 0.4))
    metrics.row("b", row(2, 0.6))
    values = exported.values
    assert values["bts_tune_epochs", "mine"] == 3
    assert values["bts_tune_best", "mine", "Dice loss"] == 0.4
    assert values["bts_tune_images_per_second", "mine"] == 15.0
    assert values["bts_tune_trials", "mine", "running"] == 2
    metrics.retried("a", "its process died")
    metrics.lost("a", 1, 1, "its checkpoint is missing")
    metrics.ended("b", "complete", "")
    assert values["bts_tune_images_per_second", "mine"] == 0
    assert values["bts_tune_epochs", "mine"] == 2
    counts = {name[2]: value for name, value in values.items() if name[0] == "bts_tune_trials" and value}
    assert counts == {"waiting": 1, "complete": 1}
    assert {name[0] for name in values} == set(GAUGES)


def test_a_run_that_goes_on_begins_with_what_is_on_record(exported: Exported) -> None:
    trials = make_search()
    objective = Objective("iou", "maximize", "IoU", 0.0, 1.0)
    RayMetrics("mine", objective, trials)
    assert exported.values["bts_tune_epochs", "mine"] == sum(len(record.rows) for record in trials)
    best = max(record.best_row["val_iou"] for record in trials if record.best_row is not None)
    assert exported.values["bts_tune_best", "mine", "IoU"] >= best
    assert sum(value for name, value in exported.values.items() if name[0] == "bts_tune_trials") == len(trials)
