"""The trials as the plots of a page need them."""

from __future__ import annotations

import json

import pytest

from bts_tune.report.figures import explored as module
from bts_tune.report.figures.explored import explored
from bts_tune.results.ranking.leaderboard import ordered
from bts_tune.testing.runs import make_baselines, make_row, make_search, make_trial
from bts_tune.testing.sections import context_of


def test_every_trial_with_an_epoch_is_there_with_its_curve_and_settings() -> None:
    trials = make_search(epochs=4)
    found = explored(context_of(trials))
    assert found is not None
    json.dumps(found, allow_nan=False)
    with_rows = [record for record in ordered(trials) if record.rows]
    assert [one["id"] for one in found["trials"]] == [record.trial for record in with_rows]
    assert found["total"] == len(with_rows)
    best = found["trials"][0]
    record = with_rows[0]
    assert best["rank"] == 1
    assert best["x"] == [1, 2, 3, 4]
    assert best["y"] == pytest.approx([row["val_dice_loss"] for row in record.rows], rel=1e-4)
    assert dict(zip(found["varied"], best["set"], strict=True))["decoder"] == record.config["decoder"]
    assert "decoder" not in found["common"]
    assert found["common"]["epochs"] == "4"


def test_nothing_is_shown_before_the_first_epoch() -> None:
    assert explored(context_of([make_trial("a", status="waiting")])) is None
    assert explored(context_of()) is None


def test_of_many_trials_the_best_the_baselines_and_a_sample_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRIALS", 20)
    trials = make_search(epochs=2, searched=60)
    found = explored(context_of(trials))
    assert found is not None
    assert len(found["trials"]) == 20
    assert found["total"] == 62  # one of the 63 failed before its first epoch
    shown = [one["id"] for one in found["trials"]]
    expected = [record.trial for record in ordered(trials) if record.rows]
    assert shown[:10] == expected[:10]
    assert {record.trial for record in trials if record.baseline} <= set(shown)
    assert shown == [name for name in expected if name in shown]


def test_long_curves_are_thinned_and_end_where_they_end() -> None:
    rows = [make_row("a", epoch, 0.5) for epoch in range(1, 1001)]
    found = explored(context_of([make_trial("a", rows=rows, epochs=1000)]))
    assert found is not None
    (one,) = found["trials"]
    assert (one["x"][0], one["x"][-1]) == (1, 1000)
    assert len(one["x"]) == len(one["y"]) == len(one["gap"]) == 120


def test_changed_baselines_are_marked() -> None:
    found = explored(context_of(make_baselines(epochs=2, changed=["epochs"])))
    assert found is not None
    assert {one["role"] for one in found["trials"]} == {"baseline †"}
