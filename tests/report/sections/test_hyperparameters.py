"""Which hyperparameters mattered: planted effects are found, and what cannot be told is refused in a sentence."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from bts_tune.report.figures.hyperparameters import marginal_plots, parallel_coordinates

from bts_tune.report.blocks import Paragraph, Picture, Table
from bts_tune.report.sections.hyperparameters import MIN_TRIALS, importance_section, importances, measured
from bts_tune.results.run_folder import TrialRecord
from bts_tune.testing.runs import make_row, make_run, make_search, make_trial

SPACE = {
    "space": {
        "name": "toy",
        "search": {
            "parameters": {
                "learning_rate": {"float": [1e-5, 1e-2], "log": True},
                "decoder_dropout": {"float": [0.0, 0.6], "step": 0.1},
                "freeze": {"choices": ["none", "stages", "all"]},
                "freeze_stages": {"int": [1, 4], "when": {"freeze": ["stages"]}},
            }
        },
    }
}


def searched(count: int, *, stages: float = 0.0, epochs: int = 2, seed: int = 0) -> list[TrialRecord]:
    """Trials whose loss follows from the learning rate, a little from freezing, and not from the dropout.

    `stages` is the effect of `freeze_stages`, in the trials that have it.
    """
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        rate = 10 ** random.uniform(-5, -2)
        freeze = ("none", "stages", "all")[random.integers(3)]
        fields: dict[str, Any] = {"learning_rate": float(rate), "freeze": freeze, "epochs": epochs}
        fields["decoder_dropout"] = float(round(random.integers(7) * 0.1, 1))
        loss = 0.2 + 0.08 * abs(np.log10(rate) + 3) + (0.03 if freeze == "all" else 0.0)
        if freeze == "stages":
            fields["freeze_stages"] = int(random.integers(1, 5))
            loss += stages * fields["freeze_stages"]
        trial = f"search-{number:04d}"
        rows = [make_row(trial, epoch, loss + 0.05 * (epochs - epoch)) for epoch in range(1, epochs + 1)]
        trials.append(make_trial(trial, index=number, rows=rows, **fields))
    return trials


def texts(blocks: list[Any]) -> str:
    return " ".join(str(span) for block in blocks if isinstance(block, Paragraph) for span in block.spans)


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


def test_few_trials_are_refused_in_a_sentence() -> None:
    trials = searched(MIN_TRIALS - 1)
    blocks = list(importance_section(trials, make_run(**SPACE), None, None))
    assert "fewer than 30 trials, and these are 29" in texts(blocks)
    assert not [block for block in blocks if isinstance(block, Table)]
    blocks = list(importance_section(searched(MIN_TRIALS), make_run(**SPACE), "figures/a.png", "figures/b.png"))
    assert len([block for block in blocks if isinstance(block, Table)]) == 1
    assert [block.path for block in blocks if isinstance(block, Picture)] == ["figures/a.png", "figures/b.png"]


def test_full_budget_trials_are_set_beside_each_other_at_their_best() -> None:
    trials = searched(9, epochs=3)
    trials[0].rows[2]["val_dice_loss"] = 0.9
    found = measured(trials)
    assert found.epoch is None
    assert found.losses[0] == trials[0].rows[1]["val_dice_loss"]


def test_with_trials_stopped_early_the_last_common_epoch_counts() -> None:
    trials = searched(9, epochs=5)
    trials[3].status, trials[3].rows = "stopped", trials[3].rows[:2]
    trials[4].status, trials[4].rows = "diverged", trials[4].rows[:1]
    trials[5].status, trials[5].rows = "failed", []
    found = measured(trials)
    assert found.epoch == 2
    assert len(found.trials) == 7
    assert found.left_out == 1
    assert found.losses == tuple(record.rows[1]["val_dice_loss"] for record in found.trials)
    assert "up to epoch 2" in found.sentence()
    assert "1 that diverged" in found.sentence()


def test_the_final_stage_is_no_part_of_it() -> None:
    trials = searched(9)
    trials[8].stage = "final"
    assert len(measured(trials).trials) == 8


def test_a_run_without_a_search_has_no_section() -> None:
    baselines = make_search()[:3]
    assert all(record.baseline for record in baselines)
    assert not list(importance_section(baselines, make_run(), None, None))
    assert marginal_plots(baselines, make_run()) is None
    assert parallel_coordinates(baselines, make_run()) is None
    assert not list(importance_section([], make_run(), None, None))


@pytest.mark.parametrize("draw", [marginal_plots, parallel_coordinates])
@pytest.mark.parametrize("space", [SPACE, {"space": {}}, {"space": {"search": {"parameters": [1]}}}])
def test_figures_are_drawn_whatever_the_space_says(draw: Any, space: dict[str, Any]) -> None:
    png = draw(searched(12), make_run(**space), ["DEMO"])
    assert png.startswith(b"\x89PNG")
    assert png == draw(searched(12), make_run(**space), ["DEMO"])
    assert draw(searched(4), make_run(**space)) is None


def test_equal_losses_and_equal_settings_draw_what_there_is() -> None:
    trials = searched(10)
    for record in trials:
        for row in record.rows:
            row["val_dice_loss"] = 0.3
    assert marginal_plots(trials, make_run(**SPACE)) is not None
    assert parallel_coordinates(trials, make_run(**SPACE)) is not None
    same = [make_trial(f"t{n}", index=n, rows=[make_row(f"t{n}", 1, 0.3)], epochs=1) for n in range(10)]
    assert marginal_plots(same, make_run(**SPACE)) is None
    assert parallel_coordinates(same, make_run(**SPACE)) is None


def test_equal_losses_tell_nothing() -> None:
    trials = searched(MIN_TRIALS)
    for record in trials:
        for row in record.rows:
            row["val_dice_loss"] = 0.3
    assert "No importance can be computed" in texts(list(importance_section(trials, make_run(**SPACE), None, None)))


@pytest.mark.slow
def test_thousands_of_trials_take_seconds() -> None:
    found = measured(searched(10_000, epochs=1))
    began = time.process_time()
    importances(found, make_run(**SPACE))
    assert time.process_time() - began < 30


def test_neither_torch_nor_ray_is_imported() -> None:
    code = "import sys, bts_tune.report.importance, bts_tune.report.shapes, bts_tune.report.compare;"
    code += "sys.exit(bool({'torch', 'ray', 'optuna', 'pycocotools', 'monai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_trial_whose_first_rows_are_lost_is_left_out() -> None:
    trials = searched(MIN_TRIALS + 1, epochs=4)
    trials[0].rows = trials[0].rows[:2]
    trials[0].status = "stopped"
    trials[1].rows = trials[1].rows[2:]
    found = measured(trials)
    assert (found.epoch, len(found.losses), found.left_out) == (2, MIN_TRIALS, 1)
