"""Tables as CSV: harmless in a spreadsheet, every number as it is."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from bts_tune.report.render.csv import to_csv
from bts_tune.results.tables import leaderboard
from bts_tune.testing.runs import make_run, make_trial


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
