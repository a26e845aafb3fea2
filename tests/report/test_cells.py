"""What the tables of several sections have."""

from __future__ import annotations

from bts_tune.report.blocks import Code, Table, paragraph
from bts_tune.report.cells import (
    MAX_ROWS,
    epoch_cell,
    mean_cell,
    more_rows,
    run_epochs_cell,
    spread_cell,
    time_cell,
    unranked_table,
)
from bts_tune.results.ranking.configurations import configurations
from bts_tune.testing.runs import make_curve, make_row, make_trial
from bts_tune.testing.sections import context_of


def test_epochs_and_time_of_a_trial() -> None:
    record = make_trial("a", rows=[make_row("a", 1, 0.3), make_row("a", 2, 0.4)], epochs=5)
    assert (epoch_cell(record), run_epochs_cell(record)) == ("1 of 5", "2 of 5")
    assert (time_cell(record).text, time_cell(record).key) == ("1m23s", 83.0)
    waiting = make_trial("b", status="waiting", epochs=5)
    assert (epoch_cell(waiting), run_epochs_cell(waiting), str(time_cell(waiting))) == ("–", "0 of 5", "–")


def test_mean_and_spread_of_a_configuration() -> None:
    trials = [make_trial(f"a{n}", name="a", index=n, seed=n, rows=[make_row("a", 1, 0.2 + n / 10)]) for n in range(3)]
    (one,) = configurations(trials)
    assert spread_cell(one, "val_dice_loss") == "0.3000 ± 0.1000"
    assert mean_cell(one, "val_dice_loss") == "0.3000"
    assert mean_cell(one, "test_dice_loss") == "–"


def test_what_a_table_leaves_out_is_told() -> None:
    assert more_rows([None] * MAX_ROWS) == []
    assert more_rows([None] * (MAX_ROWS + 2)) == [paragraph("2 more trials in ", Code("leaderboard.csv"), ".")]


def test_trials_that_are_not_ranked_have_their_status() -> None:
    record = make_trial("a", status="oom", rows=make_curve("a", 2, 0.4))
    (found,) = unranked_table(context_of([record]), [record], status=True)
    assert isinstance(found, Table)
    assert dict(zip(found.header, found.rows[0], strict=True))["status"] == "out of memory"
