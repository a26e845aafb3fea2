"""The section on kinds of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bts_tune.report.blocks import Table
from bts_tune.report.sections.kinds_of_images import KindsOfImages, compared_trials, draw_kinds_of_images, subgroups
from bts_tune.results.record.scores import pooled_dice_loss, read_scores
from bts_tune.results.statistics.comparison import Comparison, compare_configurations
from bts_tune.testing.runs import make_baselines, make_row, make_scores, make_trial, write_run, write_scores
from bts_tune.testing.sections import SectionContract, context_of
from tests.report.pages import size
from tests.results.scored import SEARCHED, written


class TestKindsOfImages(SectionContract):
    name = "kinds-of-images"


def test_the_figure_needs_scores(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    assert draw_kinds_of_images(trials, Comparison()) is None
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    assert size(draw_kinds_of_images(trials, compare_configurations(folder, trials), ["DEMO"]))[0] > 1000
    for record in trials:
        write_scores(folder, record, images=8)
    assert draw_kinds_of_images(trials, compare_configurations(folder, trials)) is None


def test_subgroups_hold_every_tumour_once() -> None:
    scores = make_scores(0.7, epoch=1, images=61)
    for kind in ("tumour area", "brightness", "contrast"):
        cut = subgroups(scores, kind)
        assert len(cut) == 4
        members = sorted(int(place) for _, _, places in cut for place in places)
        assert members == list(range(56))  # the last five hold no tumour
        assert all(low <= high for low, high, _ in cut)
        assert [low for low, _, _ in cut] == sorted(low for low, _, _ in cut)
    assert subgroups(make_scores(0.7, epoch=1, images=9), "contrast") == []


def test_kinds_of_images_pool_the_images_of_each_subgroup(tmp_path: Path) -> None:
    found = compare_configurations(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}), SEARCHED)
    blocks = list(KindsOfImages().blocks(context_of(SEARCHED, comparison=found)))
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert len(table.rows) == 12
    assert table.header[3] == "Dice loss, t1"
    assert table.header[6] == "Dice loss, good"
    places = subgroups(found.scores["t1"], "tumour area")[0][2]
    sums = found.scores["t1"].splits["valid"].sums[places]
    assert table.rows[0][3] == f"{pooled_dice_loss(sums.sum(axis=0)):.4f}"


def test_a_training_on_other_images_is_not_compared(tmp_path: Path) -> None:
    """Of the baseline, the training with the fold of the best one failed; the others saw other images."""
    trials = [
        make_trial(
            f"{name}-s{seed}-fold{fold}",
            name=name,
            baseline=name == "base",
            index=place,
            seed=seed,
            fold=fold,
            rows=[make_row(name, 1, loss - 0.05 * (fold == 2))],
            epochs=1,
            learning_rate=rate,
        )
        for place, (name, loss, rate, seed, fold) in enumerate(
            (name, loss, rate, seed, fold)
            for name, loss, rate in (("best", 0.2, 1e-3), ("base", 0.4, 1e-4))
            for seed in (0, 1)
            for fold in (1, 2)
            if (name, fold) != ("base", 2)
        )
    ]
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
        scores = read_scores(folder.scores_file(record.trial))
        valid = scores.splits["valid"]
        names = tuple(f"fold{record.fold}/{name}" for name in valid.names)
        own = replace(scores, splits={"valid": replace(valid, names=names)})
        folder.scores_file(record.trial).write_bytes(own.to_bytes())
    compared = compared_trials(compare_configurations(folder, trials))
    assert [record.name for record in compared] == ["best"]
    assert compared[0].fold == 2
