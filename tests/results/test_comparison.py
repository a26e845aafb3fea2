"""The comparison of configurations by their scores, and what is said where scores cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.results.comparison import compare_configurations
from bts_tune.results.scores import pooled_dice_loss
from bts_tune.testing.runs import make_scores, write_scores
from tests.results.scored import SEARCHED, written


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


def test_a_run_without_scores_has_no_comparison(tmp_path: Path) -> None:
    found = compare_configurations(written(tmp_path / "r", SEARCHED, {}), SEARCHED)
    assert (found.scores, found.splits) == ({}, {})
