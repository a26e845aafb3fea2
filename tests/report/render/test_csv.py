"""Tables as CSV: harmless in a spreadsheet, every number as it is."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from bts_tune.report.render.csv import epochs_csv, to_csv
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.tables import epochs_table, leaderboard
from bts_tune.testing.runs import make_curve, make_run, make_search, make_trial


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", " =", "\r=", "\n+"])
def test_text_that_a_spreadsheet_would_run_is_made_harmless(start: str) -> None:
    bad = f"{start}HYPERLINK(1)"
    record = make_trial("a", name=bad, status="failed", reason=bad, encoder_weights=bad)
    rows = list(csv.DictReader(io.StringIO(to_csv(leaderboard([record]), make_run()), newline="")))
    for column in ("name", "reason", "encoder_weights"):
        assert rows[0][column] == "'" + bad.replace("\r", " ").replace("\n", " ")


def test_numbers_and_plain_text_are_left_as_they_are() -> None:
    frame = pd.DataFrame({"trial": ["a", "b,c"], "number": [-1.5, 2.0], "text": ["it's", 'say "x"']})
    back = pd.read_csv(io.StringIO(to_csv(frame, make_run(profile="demo"))))
    assert list(back.columns) == ["trial", "profile", "number", "text"]
    assert list(back["number"]) == [-1.5, 2.0]
    assert list(back["trial"]) == ["a", "b,c"]
    assert list(back["text"]) == ["it's", 'say "x"']
    assert list(back["profile"]) == ["demo", "demo"]


def odd_trials() -> list[TrialRecord]:
    """Rows that lack a column, hold whole numbers or very small ones, a metric of a plugin, and texts to be quoted."""
    rows = make_curve("later", 3, 0.5)
    rows[0] |= {"val_iou": 1, "learning_rate": 1e-05, "time": None, "val_own": 0.25}
    rows[-1] |= {"val_own": 1e22, "best_epoch": 2.0}
    del rows[1]["train_loss"]
    name = '=a,b "c"\r\nd'
    return [
        make_trial("later", name=name, index=1, rows=rows, baseline=True, changed=["epochs", "seed"], seed=7),
        make_trial("first", rows=make_curve("first", 2, 0.3)),
        make_trial("nothing", index=2, status="waiting"),
    ]


@pytest.mark.parametrize("trials", [[], odd_trials(), make_search(epochs=4)], ids=["none", "odd", "search"])
def test_epochs_written_trial_by_trial_are_the_same_table(trials: list[TrialRecord]) -> None:
    run = make_run(profile="demo")
    assert b"".join(epochs_csv(trials, run)).decode() == to_csv(epochs_table(trials), run)
