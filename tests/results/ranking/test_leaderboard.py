"""The ranking's rules, as properties over arbitrary trials."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.results.ranking.leaderboard import best_baselines, ordered, ranking
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.tables import epochs_table, leaderboard
from bts_tune.testing.runs import make_baselines, make_row, make_search, make_trial

STATUSES = ["complete", "stopped", "interrupted", "running", "diverged", "failed", "waiting"]
GROUP = {"complete": 0, "stopped": 1, "interrupted": 2, "running": 2, "diverged": 3, "failed": 3, "waiting": 4}

# Few distinct values, so that ties in Dice loss, and in Dice loss and IoU, are common.
coarse = st.sampled_from([0.1, 0.25, 0.5, 0.75])


@st.composite
def trial_lists(draw: st.DrawFn) -> list[TrialRecord]:
    trials = []
    for index in range(draw(st.integers(0, 8))):
        status = draw(st.sampled_from(STATUSES))
        pairs = [] if status == "waiting" else draw(st.lists(st.tuples(coarse, coarse), max_size=4))
        rows = [make_row(f"t{index}", epoch, loss, iou) for epoch, (loss, iou) in enumerate(pairs, start=1)]
        baseline, epochs = draw(st.booleans()), 1 + index  # each a configuration of its own
        trials.append(make_trial(f"t{index}", index=index, status=status, rows=rows, baseline=baseline, epochs=epochs))
    return trials


@settings(deadline=None)
@given(trial_lists(), st.randoms(use_true_random=False))
def test_order_of_the_trials_given_does_not_matter(trials: list[TrialRecord], random: Any) -> None:
    shuffled = list(trials)
    random.shuffle(shuffled)
    pd.testing.assert_frame_equal(leaderboard(trials), leaderboard(shuffled))
    pd.testing.assert_frame_equal(epochs_table(trials), epochs_table(shuffled))


@given(trial_lists())
def test_ranks_are_the_full_budget_trials_counted_from_one(trials: list[TrialRecord]) -> None:
    frame = leaderboard(trials)
    ranked = frame[frame["rank"].notna()]
    assert list(ranked["rank"]) == list(range(1, len(ranked) + 1))
    assert set(ranked["trial"]) == {record.trial for record in trials if record.status == "complete" and record.rows}
    assert list(frame["trial"])[: len(ranked)] == list(ranked["trial"])


@given(trial_lists())
def test_ranked_by_dice_loss_then_iou_then_identifier(trials: list[TrialRecord]) -> None:
    keys = []
    for record in ranking(trials):
        lowest = min(row["val_dice_loss"] for row in record.rows)
        first = next(row for row in record.rows if row["val_dice_loss"] == lowest)
        keys.append((lowest, -first["val_iou"], record.trial))
    assert keys == sorted(keys)


@given(trial_lists())
def test_groups_follow_one_another_and_none_is_lost(trials: list[TrialRecord]) -> None:
    listed = ordered(trials)
    assert sorted(record.trial for record in listed) == sorted(record.trial for record in trials)
    groups = [3 if record.status == "complete" and not record.rows else GROUP[record.status] for record in listed]
    assert groups == sorted(groups)
    for group in set(groups):
        losses = [
            record.best_row["val_dice_loss"] if record.best_row else math.inf
            for record, found in zip(listed, groups, strict=True)
            if found == group
        ]
        assert losses == sorted(losses)


@given(trial_lists())
def test_best_epoch_is_the_earliest_of_the_lowest(trials: list[TrialRecord]) -> None:
    frame = leaderboard(trials).set_index("trial")
    for record in trials:
        if record.rows:
            losses = [row["val_dice_loss"] for row in record.rows]
            assert frame.loc[record.trial, "best_epoch"] == losses.index(min(losses)) + 1
            assert frame.loc[record.trial, "val_dice_loss"] == min(losses)
        else:
            assert frame["best_epoch"].isna()[record.trial]


def test_a_tie_in_dice_loss_is_broken_by_iou_at_the_best_epoch() -> None:
    # The higher IoU of the first trial belongs to an epoch that is not its best.
    first = make_trial("a", rows=[make_row("a", 1, 0.3, 0.5), make_row("a", 2, 0.4, 0.9)])
    second = make_trial("b", learning_rate=0.5, rows=[make_row("b", 1, 0.3, 0.6)])
    assert [record.trial for record in ranking([first, second])] == ["b", "a"]


def test_a_complete_trial_whose_rows_are_lost_is_not_ranked() -> None:
    lost = make_trial("a", rows=[])
    stopped = make_trial("b", status="stopped", rows=[make_row("b", 1, 0.9)])
    frame = leaderboard([lost, stopped])
    assert list(frame["trial"]) == ["b", "a"]
    assert frame["rank"].isna().all()


def test_best_baselines_are_the_best_seed_of_each() -> None:
    best = best_baselines(make_baselines(seeds=3))
    assert [record.name for record in best] == ["unetplusplus-b5", "unet-b0", "unet-b0-frozen"]
    for record in best:
        seeds = [other for other in make_baselines(seeds=3) if other.name == record.name]
        assert record.best_row == min((other.best_row or {} for other in seeds), key=lambda row: row["val_dice_loss"])


def test_hundreds_of_trials() -> None:
    frame = leaderboard(make_search(epochs=4, searched=300))
    assert len(frame) == 303
