"""The section on the learning curves: drawn for every kind of record, decodable, of sane size."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest

from bts_tune.report.blocks import Picture
from bts_tune.report.sections.learning_curves import LearningCurves, draw_learning_curves
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_baselines, make_curve, make_final, make_row, make_search, make_trial
from bts_tune.testing.sections import SectionContract, context_of
from tests.report.pages import pixels


class TestLearningCurves(SectionContract):
    name = "learning-curves"


@pytest.mark.parametrize(
    "trials",
    [
        make_baselines()[:1],
        make_baselines(),
        make_search(),
        make_search(epochs=1),
        make_search(epochs=3, searched=200, seeds=3, changed=["epochs"]),
        [make_trial("only-stopped", status="stopped", rows=make_curve("a", 2, 0.4), epochs=8)],
    ],
    ids=["one", "three", "twelve", "one epoch", "hundreds", "none ranked"],
)
def test_curves_decode_at_a_readable_size(trials: list[TrialRecord]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = pixels(draw_learning_curves(trials, ["DEMO"]))
    assert image.shape[:2] == (705, 1710)
    assert image[..., :3].min() < 0.3  # something is drawn
    assert image[..., :3].mean() > 0.8  # on white


def test_no_epochs_no_curves() -> None:
    assert draw_learning_curves([]) is None
    assert draw_learning_curves([make_trial("a", status="failed")]) is None


def test_curves_are_the_same_bytes_for_the_same_record() -> None:
    assert draw_learning_curves(make_search()) == draw_learning_curves(make_search()[::-1])


def test_a_tag_shows() -> None:
    plain, tagged = draw_learning_curves(make_baselines()), draw_learning_curves(make_baselines(), ["DEMO"])
    red = [(pixels(png)[:60, :900, 0] - pixels(png)[:60, :900, 1] > 0.5).sum() for png in (plain, tagged)]
    assert red[0] == 0
    assert red[1] > 100


def test_names_that_mean_something_to_matplotlib_are_plain_text() -> None:
    trials = [
        make_trial(f"t{index}", name=name, index=index, rows=make_curve("t", 3, 0.3))
        for index, name in enumerate(["_hidden", "$x^2", "a\nb", "\\alpha$\\frac$", "脑 🧠"])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_learning_curves(trials)


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        (["complete"] * 3, "best of 3 seeds"),
        (["complete", "interrupted", "interrupted"], "1 of 3 seeds complete"),
        (["interrupted"] * 3, "best of 3 seeds"),
    ],
)
def test_seeds_that_are_not_complete_are_not_called_beaten(statuses: list[str], word: str) -> None:
    trials = [
        make_trial(f"a-s{seed}", name="a", seed=seed, epochs=3, status=status, rows=make_curve("a", 3, 0.3, seed=seed))
        for seed, status in enumerate(statuses)
    ]
    (picture,) = [block for block in LearningCurves().blocks(context_of(trials)) if isinstance(block, Picture)]
    assert picture.plot is not None
    assert word in picture.plot.data["lines"][0]["label"]


def labels(trials: list[TrialRecord]) -> list[str]:
    (picture,) = [block for block in LearningCurves().blocks(context_of(trials)) if isinstance(block, Picture)]
    assert picture.plot is not None
    return [line["label"] for line in picture.plot.data["lines"]]


@pytest.mark.parametrize(("begun", "word"), [(1, "1 of 3 seeds complete"), (3, "best of 3 seeds")])
def test_seeds_without_an_epoch_count_too(begun: int, word: str) -> None:
    trials = [
        make_trial(
            f"a-s{seed}",
            name="a",
            seed=seed,
            epochs=3,
            status="complete" if seed < begun else "waiting",
            rows=make_curve("a", 3, 0.3, seed=seed) if seed < begun else [],
        )
        for seed in range(3)
    ]
    assert word in labels(trials)[0]


def test_until_the_final_stage_has_an_epoch_the_curves_are_of_the_search() -> None:
    search = make_search(epochs=4)
    final = [replace(record, status="waiting", rows=[], test={}) for record in make_final(search)]
    assert labels(search + final) == labels(search)
    final[0] = replace(final[0], status="running", rows=make_curve(final[0].trial, 1, 0.3))
    (label,) = labels(search + final)
    assert label.startswith(final[0].name)


def test_folds_are_not_called_seeds() -> None:
    trials = [
        make_trial(f"a-fold{fold}", name="a", fold=fold, epochs=3, rows=make_curve("a", 3, 0.3, seed=fold))
        for fold in (1, 2)
    ]
    (picture,) = [block for block in LearningCurves().blocks(context_of(trials)) if isinstance(block, Picture)]
    assert picture.plot is not None
    assert "best of 2 trainings" in picture.plot.data["lines"][0]["label"]


def test_a_row_without_training_loss_has_no_gap() -> None:
    row = make_row("a", 1, 0.4)
    del row["train_dice_loss"]
    assert draw_learning_curves([make_trial("a", rows=[row, make_row("a", 2, 0.3)])])
