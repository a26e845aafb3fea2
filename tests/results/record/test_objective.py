from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.metrics.base import metrics_in_use, objective
from bts_tune.registry import METRICS
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.leaderboard import ordered, ranking
from bts_tune.results.record.objective import DICE_LOSS, Objective, metric_keys, objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.optimism import optimism
from bts_tune.results.tables import configurations_table, epochs_table, leaderboard
from bts_tune.testing.runs import make_row, make_trial

IOU = objective("iou")


def test_the_default_is_the_dice_loss_as_it_declares_itself() -> None:
    assert objective("dice-loss") == DICE_LOSS == objective_of([])
    assert (DICE_LOSS.column, DICE_LOSS.best_column, DICE_LOSS.mode) == ("val_dice_loss", "best_val_dice_loss", "min")
    assert (IOU.column, IOU.mode, IOU.worst) == ("val_iou", "max", 0.0)


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_can_be_the_objective(name: str) -> None:
    one = objective(name)
    assert math.isfinite(one.worst)
    assert Objective.of_run({"objective": one.to_dict()}) == one
    assert one.metric in metric_keys()


def test_the_order_of_metrics_is_that_of_the_tables() -> None:
    assert [metric.key() for metric in metrics_in_use()] == list(metric_keys())
    assert metric_keys()[:2] == ("dice_loss", "iou")


def test_a_run_of_an_earlier_version_has_the_dice_loss() -> None:
    assert Objective.of_run({}) == DICE_LOSS


def test_a_metric_without_a_bound_has_a_number_for_its_worst() -> None:
    assert math.isfinite(Objective.of("distance", "minimize", "Distance", (0, math.inf)).worst)


@given(st.floats(0, 1), st.floats(0, 1))
def test_gain_and_cost_agree(one: float, other: float) -> None:
    for aim in (DICE_LOSS, IOU):
        assert (aim.cost(one) < aim.cost(other)) == (one != other and aim.gain(one, other) >= 0)
    assert DICE_LOSS.gain(one, other) == -IOU.gain(one, other)
    assert DICE_LOSS.distance(one) == one
    assert IOU.distance(one) == 1 - one


def test_a_value_that_is_not_there_is_the_worst() -> None:
    assert IOU.value({"val_iou": None}) == IOU.value({}) == 0.0
    assert IOU.value({"val_iou": 0.25}) == 0.25


def make_trials(aim: Objective) -> list[TrialRecord]:
    """Three trials, of which the Dice loss ranks `a` first and the IoU `c`."""
    values = {"a": (0.20, 0.50), "b": (0.30, 0.60), "c": (0.40, 0.70)}
    trials = []
    for index, (name, (loss, iou)) in enumerate(values.items()):
        rows = [make_row(name, 1, loss, iou), make_row(name, 2, loss + 0.05, iou + 0.05)]
        trials.append(make_trial(name, index=index, rows=rows, aim=aim, learning_rate=0.001 * (index + 1)))
    return trials


def test_ranking_and_best_epochs_follow_the_objective() -> None:
    assert [record.trial for record in ranking(make_trials(DICE_LOSS))] == ["a", "b", "c"]
    trials = make_trials(IOU)
    assert [record.trial for record in ranking(trials)] == ["c", "b", "a"]
    assert [record.trial for record in ordered(trials)] == ["c", "b", "a"]
    assert [one.value for one in configurations(trials)] == pytest.approx([0.75, 0.65, 0.55])
    assert {record.best_row["epoch"] for record in trials if record.best_row} == {2}
    assert leaderboard(trials)["val_iou"].tolist() == pytest.approx([0.75, 0.65, 0.55])
    assert configurations_table(trials)["trial"].tolist() == ["c", "b", "a"]
    assert "best_val_iou" in epochs_table(trials)


def test_ties_are_broken_by_dice_loss_then_iou() -> None:
    aim = objective("dice-image")
    rows = {"a": make_row("a", 1, 0.4, val_dice_image=0.5), "b": make_row("b", 1, 0.3, val_dice_image=0.5)}
    trials = [make_trial(name, rows=[row], aim=aim, batch_size=ord(name)) for name, row in rows.items()]
    assert [record.trial for record in ranking(trials)] == ["b", "a"]


def test_optimism_is_positive_where_the_search_promised_more() -> None:
    found = make_trial("search-0001", rows=[make_row("s", 1, 0.3, 0.8)], aim=IOU)
    final = make_trial(
        "final-1", rows=[make_row("f", 1, 0.3, 0.7)], stage="final", origin="search-0001", seed=5, aim=IOU
    )
    assert [one.excess for one in optimism([found, final])] == pytest.approx([0.1])
