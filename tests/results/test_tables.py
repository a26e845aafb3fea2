from __future__ import annotations

import pandas as pd

from bts_tune.results.tables import METRICS, configurations_table, epochs_table, leaderboard
from bts_tune.testing.runs import make_baselines, make_final, make_search


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


def test_without_them_there_are_none() -> None:
    columns = set(leaderboard(make_baselines()).columns)
    assert set(METRICS) <= columns
    assert not {name for name in columns if name.startswith("val_")} - set(METRICS)


def test_empty_tables_have_the_same_columns() -> None:
    search = make_search()
    trials = search + make_final(search)
    for table in (leaderboard, configurations_table, epochs_table):
        assert list(table([]).columns) == list(table(trials).columns)
