"""Which hyperparameters mattered: planted effects are found."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from bts_tune.results.statistics.importance import MIN_TRIALS, importances, measured
from bts_tune.testing.runs import make_row, make_run, make_trial
from tests.results.searches import SPACE, searched


def test_the_parameter_that_matters_comes_first() -> None:
    (found,) = importances(measured(searched(60)), make_run(space={"search": {}}))
    assert max(found.fanova, key=lambda name: found.fanova[name]) == "learning_rate"
    assert found.fanova["learning_rate"] > 0.6
    assert sum(found.fanova.values()) == pytest.approx(1)
    assert max(found.among_best, key=lambda name: found.among_best[name]) == "learning_rate"
    assert "seed" not in found.fanova


def test_a_conditional_parameter_is_judged_where_it_has_an_effect() -> None:
    whole, inside = importances(measured(searched(150, stages=0.2)), make_run(**SPACE))
    assert whole.where == ""
    assert "freeze_stages" not in whole.fanova
    assert inside.where == "freeze is stages"
    assert MIN_TRIALS <= inside.trials < 150
    assert max(inside.fanova, key=lambda name: inside.fanova[name]) == "freeze_stages"
    assert "freeze" not in inside.fanova  # the same in all of them


def test_a_parameter_that_some_trials_lack_is_judged_among_the_others() -> None:
    """Those of the searched loss, which the baselines do not have."""
    baseline = make_trial("unet", baseline=True, rows=[make_row("unet", 1, 0.3)], epochs=1)
    trials = [baseline]
    for number in range(1, 41):
        name, alpha = f"search-{number:04d}", 0.1 + 0.02 * number
        fields: dict[str, Any] = {"loss": "tversky", "tversky_alpha": alpha, "learning_rate": 1e-3 * (1 + number % 7)}
        trials.append(make_trial(name, index=number, rows=[make_row(name, 1, 0.2 + alpha / 10)], epochs=1, **fields))
    whole, inside = importances(measured(trials), make_run(space={"search": {}}))
    assert (whole.where, whole.trials) == ("", 41)
    assert "tversky_alpha" not in whole.fanova
    assert (inside.where, inside.trials) == ("tversky_alpha is set", 40)
    assert inside.fanova["tversky_alpha"] > 0.9


def test_full_budget_trials_are_set_beside_each_other_at_their_best() -> None:
    trials = searched(9, epochs=3)
    trials[0].rows[2]["val_dice_loss"] = 0.9
    found = measured(trials)
    assert found.epoch is None
    assert found.values[0] == trials[0].rows[1]["val_dice_loss"]


def test_with_trials_stopped_early_the_last_common_epoch_counts() -> None:
    trials = searched(9, epochs=5)
    trials[3].status, trials[3].rows = "stopped", trials[3].rows[:2]
    trials[4].status, trials[4].rows = "diverged", trials[4].rows[:1]
    trials[5].status, trials[5].rows = "failed", []
    found = measured(trials)
    assert found.epoch == 2
    assert len(found.trials) == 7
    assert found.left_out == 1
    assert found.values == tuple(record.rows[1]["val_dice_loss"] for record in found.trials)


def test_the_final_stage_is_no_part_of_it() -> None:
    trials = searched(9)
    trials[8].stage = "final"
    assert len(measured(trials).trials) == 8


@pytest.mark.slow
def test_thousands_of_trials_take_seconds() -> None:
    found = measured(searched(10_000, epochs=1))
    began = time.process_time()
    importances(found, make_run(**SPACE))
    assert time.process_time() - began < 30


def test_neither_torch_nor_ray_is_imported() -> None:
    code = "import sys, bts_tune.results.statistics.importance, bts_tune.report.document, bts_tune.report.compare;"
    code += "sys.exit(bool({'torch', 'ray', 'optuna', 'pycocotools', 'monai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_trial_whose_first_rows_are_lost_is_left_out() -> None:
    trials = searched(MIN_TRIALS + 1, epochs=4)
    trials[0].rows = trials[0].rows[:2]
    trials[0].status = "stopped"
    trials[1].rows = trials[1].rows[2:]
    found = measured(trials)
    assert (found.epoch, len(found.values), found.left_out) == (2, MIN_TRIALS, 1)
