"""The tables of trials and of epochs."""

from __future__ import annotations

import pandas as pd
import pytest

from bts_tune.config import FIELDS
from bts_tune.results.ranking.leaderboard import total_seconds
from bts_tune.results.tables import METRICS, TEST_METRICS, configurations_table, epochs_table, leaderboard
from bts_tune.testing.runs import make_baselines, make_row, make_search, make_test, make_trial


def test_columns_hold_every_metric_and_every_field_once() -> None:
    frame = leaderboard(make_search())
    assert list(frame.columns[:7]) == ["rank", "name", "trial", "status", "reason", "baseline", "changed"]
    assert {*METRICS, *TEST_METRICS, *FIELDS} <= set(frame.columns)
    assert frame.columns.is_unique
    assert list(leaderboard([]).columns) == list(frame.columns)


def test_values_come_from_the_best_epoch_and_the_whole_trial() -> None:
    rows = [
        make_row("a", 1, 0.5, seconds=10.0, train_seconds=8.0, images_per_second=100.0, trainable_parameters=5),
        make_row("a", 2, 0.2, seconds=5.0, train_seconds=2.0, images_per_second=50.0, trainable_parameters=9),
        make_row("a", 3, 0.4, seconds=5.0, train_seconds=2.0, images_per_second=50.0, trainable_parameters=9),
    ]
    record = make_trial(
        "a", rows=rows, baseline=True, changed=["epochs", "seed"], test=make_test(0.3), epochs=3, seed=4
    )
    row = leaderboard([record]).iloc[0]
    assert row["val_dice_loss"] == 0.2
    assert row["train_dice_loss"] == rows[1]["train_dice_loss"]
    assert (row["best_epoch"], row["epochs_run"], row["epochs"]) == (2, 3, 3)
    assert row["seconds"] == total_seconds(record) == 20.0
    assert row["images_per_second"] == pytest.approx((800 + 100 + 100) / 12)
    assert row["trainable_parameters"] == 9
    assert row["changed"] == "epochs;seed"
    assert row["seed"] == 4
    assert row["test_dice_loss"] == 0.3


def test_integers_stay_integers_where_some_are_missing() -> None:
    text = leaderboard(make_search()).to_csv(index=False)
    assert "6251469.0" not in text
    assert str(leaderboard(make_search())["rank"].dtype) == "Int64"


def test_a_field_that_an_earlier_version_did_not_record_has_its_default() -> None:
    record = make_trial("a", rows=[make_row("a", 1, 0.3)])
    del record.config["momentum"]
    assert leaderboard([record]).iloc[0]["momentum"] == 0.9


def test_epochs_table_has_every_row_in_the_order_of_planning() -> None:
    trials = make_search(epochs=5)
    frame = epochs_table(trials)
    assert len(frame) == sum(len(record.rows) for record in trials)
    expected = [(record.trial, row["epoch"]) for record in trials for row in record.rows]
    assert list(zip(frame["trial"], frame["epoch"], strict=True)) == expected
    assert list(epochs_table([]).columns) == list(frame.columns)


def test_metrics_and_parameters_of_plugins_have_columns_of_their_own() -> None:
    trials = make_baselines()
    trials[0].config = {**trials[0].config, "own_width": 7}
    trials[0].rows = [{**row, "val_area_error": 0.25} for row in trials[0].rows]
    trials[0].test = {**trials[0].test, "test_area_error": 0.5}
    own = ["own_width", "val_area_error", "test_area_error"]
    rows = {row["trial"]: [row[name] for name in own] for row in leaderboard(trials).to_dict("records")}
    assert rows[trials[0].trial] == [7, 0.25, 0.5]
    assert all(pd.isna(value) for value in rows[trials[1].trial])
    assert epochs_table(trials)["val_area_error"].notna().sum() == len(trials[0].rows)
    assert "own_width" in configurations_table(trials).columns
