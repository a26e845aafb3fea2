"""The comparison of configurations by their scores, and what is said where scores cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.leaks import LeakPair, write_leaks
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.record.scores import Scores, pooled_dice_loss
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_row, make_scores, make_test, make_trial, write_run, write_scores
from tests.results.scored import SEARCHED, of_seeds, trial, written


def test_the_best_trial_and_the_baselines_are_compared(tmp_path: Path) -> None:
    found = compare_configurations(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}), SEARCHED)
    test = found.splits["test"]
    assert [one.name for one in test.configurations] == ["t1", "good", "weak"]
    assert test.reference == 1
    assert (test.images, test.tumours) == (30, 27)
    assert test.resampled.dice_gain[0].value > 0 > test.resampled.dice_gain[2].value
    expected = pooled_dice_loss(found.scores["t1"].splits["test"].sums.sum(axis=0))
    assert test.resampled.dice_loss[0].value == pytest.approx(expected)
    assert test.p_values[1] is None
    assert test.p_values[0] is not None
    assert test.p_values[0] < 0.01
    assert found.missing == ()


def test_scores_that_cannot_be_used_cost_their_trial_its_place(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, {"t1": 0.8})
    write_scores(folder, SEARCHED[1], images=20)
    folder.scores_file("good").write_bytes(make_scores(0.7, epoch=9).to_bytes())
    found = compare_configurations(folder, SEARCHED)
    assert [one.name for one in found.splits["valid"].configurations] == ["t1"]
    assert len(found.missing) == 3
    assert "epoch 9" in found.missing[0]
    assert "other images" in found.missing[1]
    assert "No baseline has scores of the valid split" in found.missing[2]


def test_what_was_never_measured_is_told_apart_from_what_is_lost(tmp_path: Path) -> None:
    seeds = of_seeds("a", 0.3, 3)
    lost = trial("b", 0.4, baseline=True, test=make_test(0.4))
    found = compare_configurations(written(tmp_path / "r", [*seeds, lost], {"a-s0": 0.8}), [*seeds, lost])
    assert found.missing[:2] == ("Not measured image by image: 2 of the 3 trainings of a.", "scores/b.npz is missing.")


def test_a_run_without_scores_has_no_comparison(tmp_path: Path) -> None:
    found = compare_configurations(written(tmp_path / "r", SEARCHED, {}), SEARCHED)
    assert (found.scores, found.splits) == ({}, {})


def test_of_a_cross_validation_an_interval_is_of_the_figure_that_ranks(tmp_path: Path) -> None:
    """The folds' tumours differ in size, so that the images of all folds together would give another figure."""
    made, scores = [], {}
    for fold, (quality, size) in enumerate(((0.5, 1), (0.9, 100), (0.7, 3)), start=1):
        one = make_scores(quality, epoch=1, seed=fold, test=0).splits
        part = one["valid"]
        names = tuple(f"{fold}/{name}" for name in part.names)
        valid = replace(part, names=names, sums=part.sums * size, shapes=None)
        name = f"a-fold{fold}"
        scores[name] = Scores(1, 64**2, {**one, "valid": valid})
        loss = float(pooled_dice_loss(valid.sums.sum(axis=0)))
        made.append(make_trial(name, name="a", fold=fold, rows=[make_row(name, 1, loss)], epochs=1))
    folder = write_run(tmp_path / "r", made)
    for name, one_score in scores.items():
        folder.scores_file(name).parent.mkdir(exist_ok=True)
        folder.scores_file(name).write_bytes(one_score.to_bytes())
    found = compare_configurations(folder, made).splits["valid"]
    (figure,), (ranked,) = found.resampled.dice_loss, configurations(made)
    assert figure.value == pytest.approx(ranked.value)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < ranked.value < figure.high
    assert found.images == 3 * len(names)


QUALITIES = {"t1": 0.8, "good": 0.7, "weak": 0.6}


def leaking(folder: RunFolder, relations: list[str]) -> None:
    """Record what the first test images have in training."""
    pairs = [
        LeakPair(f"test/{number:03}.png", "test", "train/0.png", 0.97, "as it is", relation)  # type: ignore[arg-type]
        for number, relation in enumerate(relations)
    ]
    write_leaks(
        folder.leaks_file, [*pairs, LeakPair("valid/020.png", "valid", "train/1.png", 1, "as it is", "identical")]
    )


def test_the_clean_test_split_leaves_out_identical_and_same_scan_images(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, QUALITIES)
    without = compare_configurations(folder, SEARCHED)
    assert without.clean is None
    leaking(folder, ["identical", "same scan", "similar", "same scan"])
    found = compare_configurations(folder, SEARCHED)
    assert found.splits == without.splits
    assert found.clean is not None
    assert (found.clean.left_out, found.clean.identical) == (3, 1)
    clean = found.clean.compared
    assert clean is not None
    assert clean.images == 27
    part = found.scores["t1"].splits["test"]
    kept = [
        place for place, name in enumerate(part.names) if name not in {"test/000.png", "test/001.png", "test/003.png"}
    ]
    expected = pooled_dice_loss(part.sums[kept].sum(axis=0))
    interval = clean.resampled.dice_loss[0]
    assert interval.value == pytest.approx(expected)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.value < interval.high


def test_where_all_or_none_leak_there_is_nothing_to_compare(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, QUALITIES)
    for relations, left_out in (([], 0), (["similar"] * 5, 0), (["same scan"] * 30, 30)):
        leaking(folder, relations)
        found = compare_configurations(folder, SEARCHED)
        assert found.clean is not None
        assert (found.clean.left_out, found.clean.compared) == (left_out, None)


def test_a_damaged_list_of_leaks_costs_the_clean_metrics_alone(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, QUALITIES)
    folder.leaks_file.write_text("file\n1\n")
    found = compare_configurations(folder, SEARCHED)
    assert found.clean is None
    assert "test" in found.splits
    assert "leaks.csv cannot be used: it has no column split" in found.missing[0]
