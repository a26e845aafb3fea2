"""The section on the hyperparameters: what cannot be told is refused in a sentence."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bts_tune.report.blocks import Paragraph, Picture, Table
from bts_tune.report.sections.hyperparameters import Hyperparameters, draw_marginal_plots, draw_parallel_coordinates
from bts_tune.results.statistics.importance import MIN_TRIALS
from bts_tune.testing.runs import make_row, make_run, make_search, make_trial
from bts_tune.testing.sections import SectionContract, context_of
from tests.results.searches import SPACE, searched


class TestHyperparameters(SectionContract):
    name = "hyperparameters"


PATHS = ["figures/marginals.png", "figures/parallel_coordinates.png"]


def texts(blocks: list[Any]) -> str:
    return " ".join(str(span) for block in blocks if isinstance(block, Paragraph) for span in block.spans)


def test_few_trials_are_refused_in_a_sentence() -> None:
    trials = searched(MIN_TRIALS - 1)
    blocks = list(Hyperparameters().blocks(context_of(trials, make_run(**SPACE))))
    assert "needs at least 30 trials; of fewer" in texts(blocks)
    assert not [block for block in blocks if isinstance(block, Table)]
    blocks = list(Hyperparameters().blocks(context_of(searched(MIN_TRIALS), make_run(**SPACE))))
    assert len([block for block in blocks if isinstance(block, Table)]) == 1
    assert [block.path for block in blocks if isinstance(block, Picture)] == PATHS


def test_a_run_without_a_search_has_no_section() -> None:
    baselines = make_search()[:3]
    assert all(record.baseline for record in baselines)
    assert not list(Hyperparameters().blocks(context_of(baselines)))
    assert draw_marginal_plots(baselines, make_run()) is None
    assert draw_parallel_coordinates(baselines, make_run()) is None
    assert not list(Hyperparameters().blocks(context_of()))


def test_named_trials_are_no_search_and_alike_they_are_not_compared() -> None:
    run = make_run(space={"search": None, "trials": {"a": {}}})
    blocks = list(Hyperparameters().blocks(context_of(searched(12), run)))
    assert texts(blocks).startswith("Compared here: 12 trials, all")
    seeds = [make_trial(f"a-s{seed}", name="a", rows=[make_row("a", 1, 0.3)], epochs=1, seed=seed) for seed in range(3)]
    assert not list(Hyperparameters().blocks(context_of(seeds, run)))


@pytest.mark.parametrize("draw", [draw_marginal_plots, draw_parallel_coordinates])
@pytest.mark.parametrize("space", [SPACE, {"space": {}}, {"space": {"search": {"parameters": [1]}}}])
def test_figures_are_drawn_whatever_the_space_says(draw: Any, space: dict[str, Any]) -> None:
    png = draw(searched(12), make_run(**space), ["DEMO"])
    assert png.startswith(b"\x89PNG")
    assert png == draw(searched(12), make_run(**space), ["DEMO"])
    assert draw(searched(4), make_run(**space)) is None


@pytest.mark.parametrize("draw", [draw_marginal_plots, draw_parallel_coordinates])
def test_a_logarithmic_axis_stays_one_where_a_value_is_zero(draw: Any) -> None:
    trials = searched(12)
    assert {record.config["decoder_dropout"] for record in trials} > {0.0, 0.1}
    linear = draw(trials, make_run(**SPACE))
    space: Any = copy.deepcopy(SPACE)
    space["space"]["search"]["parameters"]["decoder_dropout"]["log"] = True
    assert draw(trials, make_run(**space)) != linear
    for record in trials:  # one value above zero alone, and none
        record.config["decoder_dropout"] = 0.1 if record.index % 2 else 0.0
    assert draw(trials, make_run(**space)) is not None
    for record in trials:
        record.config["decoder_dropout"] = 0.0 if record.index else -1.0
    assert draw(trials, make_run(**space)) is not None


def test_equal_losses_and_equal_settings_draw_what_there_is() -> None:
    trials = searched(10)
    for record in trials:
        for row in record.rows:
            row["val_dice_loss"] = 0.3
    assert draw_marginal_plots(trials, make_run(**SPACE)) is not None
    assert draw_parallel_coordinates(trials, make_run(**SPACE)) is not None
    same = [make_trial(f"t{n}", index=n, rows=[make_row(f"t{n}", 1, 0.3)], epochs=1) for n in range(10)]
    assert draw_marginal_plots(same, make_run(**SPACE)) is None
    assert draw_parallel_coordinates(same, make_run(**SPACE)) is None


def test_equal_losses_tell_nothing() -> None:
    trials = searched(MIN_TRIALS)
    for record in trials:
        for row in record.rows:
            row["val_dice_loss"] = 0.3
    assert "No importance can be computed" in texts(
        list(Hyperparameters().blocks(context_of(trials, make_run(**SPACE))))
    )


def test_what_is_set_beside_what_is_told() -> None:
    trials = searched(9, epochs=5)
    trials[4].status, trials[4].rows = "diverged", trials[4].rows[:1]
    trials[8].status, trials[8].rows = "stopped", trials[8].rows[:2]
    text = texts(list(Hyperparameters().blocks(context_of(trials))))
    assert "up to epoch 2" in text
    assert "1 that diverged" in text
