"""Gathering scores, what they say of the best trial, and what is said where they cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bts_tune.report.sections.comparisons import comparisons
from bts_tune.report.sections.image_kinds import kinds_of_images, parts

from bts_tune.report.blocks import Paragraph, Table
from bts_tune.report.sections.answer import headline
from bts_tune.report.sections.data_check import data_check
from bts_tune.results.comparison import Evidence, gather
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.results.scores import pooled_dice_loss
from bts_tune.testing.runs import make_row, make_run, make_scores, make_trial, write_run, write_scores


def trial(name: str, loss: float, **kwargs: Any) -> TrialRecord:
    return make_trial(name, rows=[make_row(name, 1, loss)], epochs=1, **kwargs)


def written(path: Path, trials: list[TrialRecord], qualities: dict[str, float], **kwargs: Any) -> RunFolder:
    folder = write_run(path, trials)
    for record in trials:
        if record.trial in qualities:
            write_scores(folder, record, qualities[record.trial], **kwargs)
    return folder


SEARCHED = [trial("t1", 0.2), trial("weak", 0.4, index=1, baseline=True), trial("good", 0.25, index=2, baseline=True)]


def test_the_best_trial_and_the_baselines_are_compared(tmp_path: Path) -> None:
    found = gather(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}), SEARCHED)
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
    found = gather(folder, SEARCHED)
    assert [one.name for one in found.splits["valid"].configurations] == ["t1"]
    assert len(found.missing) == 3
    assert "epoch 9" in found.missing[0]
    assert "other images" in found.missing[1]
    assert "No baseline has scores of the valid split" in found.missing[2]
    assert headline(SEARCHED, found) is None
    told = [block.spans[0] for block in comparisons(SEARCHED, found) if isinstance(block, Paragraph)]
    assert told[-3:] == list(found.missing)


def test_a_run_without_scores_says_so(tmp_path: Path) -> None:
    found = gather(written(tmp_path / "r", SEARCHED, {}), SEARCHED)
    assert (found.scores, found.splits) == ({}, {})
    (block,) = comparisons(SEARCHED, found)
    assert isinstance(block, Paragraph)
    assert "no intervals" in str(block.spans[0])
    assert list(kinds_of_images(SEARCHED, found, None)) == []
    assert headline(SEARCHED, Evidence()) is None


@pytest.mark.parametrize(
    ("qualities", "told"),
    [
        ({"t1": 0.8, "good": 0.7, "weak": 0.6}, "t1 beats the best documented baseline, good, by 0."),
        ({"t1": 0.7, "good": 0.7, "weak": 0.6}, "includes zero, nothing tells the two apart"),
        ({"t1": 0.6, "good": 0.7, "weak": 0.6}, "t1 ranks first on the validation split, but is 0."),
    ],
)
def test_the_headline_says_what_the_test_split_allows(tmp_path: Path, qualities: dict[str, float], told: str) -> None:
    text = headline(SEARCHED, gather(written(tmp_path / "r", SEARCHED, qualities), SEARCHED))
    assert text is not None
    assert told in text
    assert "on the test split" in text
    assert "30 images" in text
    assert "of 3 configurations in" in text


def test_the_headline_says_where_the_best_is_a_baseline(tmp_path: Path) -> None:
    trials = [trial("good", 0.2, baseline=True), trial("weak", 0.4, index=1, baseline=True), trial("t1", 0.5, index=2)]
    text = headline(trials, gather(written(tmp_path / "r", trials, {"good": 0.8, "weak": 0.6}), trials))
    assert text is not None
    assert text.startswith("The best is a baseline: good beats the next baseline, weak, by 0.")
    assert "interval +0." in text


def test_a_changed_baseline_is_not_called_documented(tmp_path: Path) -> None:
    trials = [trial("t1", 0.2), trial("good", 0.3, index=1, baseline=True, changed=["epochs"])]
    text = headline(trials, gather(written(tmp_path / "r", trials, {"t1": 0.8, "good": 0.7}), trials))
    assert text is not None
    assert "the best baseline, good" in text


def test_without_a_test_split_the_headline_is_about_the_split_that_chose(tmp_path: Path) -> None:
    found = gather(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}, test=0), SEARCHED)
    text = headline(SEARCHED, found)
    assert text is not None
    assert "on the validation split that chose it" in text


def test_one_test_image_tells_nothing(tmp_path: Path) -> None:
    found = gather(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}, test=1), SEARCHED)
    text = headline(SEARCHED, found)
    assert text is not None
    assert "too few images" in text


def test_parts_hold_every_tumour_once() -> None:
    scores = make_scores(0.7, epoch=1, images=61)
    for kind in ("tumour area", "brightness", "contrast"):
        cut = parts(scores, kind)
        assert len(cut) == 4
        members = sorted(int(place) for _, _, places in cut for place in places)
        assert members == list(range(56))  # the last five hold no tumour
        assert all(low <= high for low, high, _ in cut)
        assert [low for low, _, _ in cut] == sorted(low for low, _, _ in cut)
    assert parts(make_scores(0.7, epoch=1, images=9), "contrast") == []


def test_kinds_of_images_pool_the_images_of_each_part(tmp_path: Path) -> None:
    found = gather(written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}), SEARCHED)
    blocks = list(kinds_of_images(SEARCHED, found, None))
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert len(table.rows) == 12
    assert table.header[3] == "Dice loss, t1"
    assert table.header[6] == "Dice loss, good"
    places = parts(found.scores["t1"], "tumour area")[0][2]
    sums = found.scores["t1"].splits["valid"].sums[places]
    assert table.rows[0][3] == f"{pooled_dice_loss(sums.sum(axis=0)):.4f}"


def test_the_data_check_in_short() -> None:
    check = {
        "errors": {},
        "warnings": {"no-tumor": 3, "tiny": 1},
        "splits": {"train": {"images": 10, "without_tumor": 3, "tumor_share": {"0": 0.01, "0.5": 0.1, "1": 0.2}}},
    }
    first, rows = data_check({"dataset": {"check": check}})
    assert isinstance(first, Paragraph)
    assert first.spans == ("no errors; 4 warnings (no-tumor 3, tiny 1).",)
    assert isinstance(rows, Table)
    assert rows.rows[0][:7] == ("train", 10, 3, "–", "1.00%", "10.00%", "20.00%")
    first, rows = data_check(make_run())
    assert isinstance(first, Paragraph)
    assert first.spans == ("no errors; 3 warnings (no-tumor 3).",)
    assert isinstance(rows, Table)
    assert rows.rows[0] == ("train", 1502, 3, 7, "0.04%", "3.10%", "12.00%", "640x640")
    assert list(data_check({})) == []
