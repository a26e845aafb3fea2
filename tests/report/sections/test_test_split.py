"""The section on the test split."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.report.blocks import Document, Table, TitledBlocks
from bts_tune.report.context import ReportContext
from bts_tune.report.render.text import to_text
from bts_tune.report.sections.test_split import TestSplit
from bts_tune.report.wording import interval
from bts_tune.results.record.leaks import LeakPair, Relation, write_leaks
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_search, make_test, write_run, write_scores
from bts_tune.testing.sections import SectionContract, context_of
from tests.report.pages import page, section


class TestTheSection(SectionContract):
    name = "test-split"


def test_test_split_shows_the_best_trial_and_the_baselines() -> None:
    trials = make_search()
    trials[4].test = make_test(0.2)  # t0001, the best
    text = section(page(trials), "Test split")
    assert "| 1 | t0001 | best | 0.2000 |" in text
    assert "t0000" not in text  # evaluated while it was the best, but no longer is
    assert text.count("| baseline |") == 3


def searched(path: Path, relations: list[Relation] | None = None, test: int = 20) -> ReportContext:
    """Return what a report of a search knows, with the scores of every image."""
    trials = make_search()
    trials[4].test = make_test(0.2)
    folder = write_run(path, trials)
    for record in trials:
        if record.best_row:
            write_scores(folder, record, images=20, test=test)
    if relations is not None:
        pairs = [
            LeakPair(f"test/{number:03}.png", "test", "train/a.png", 0.97, "as it is", relation)
            for number, relation in enumerate(relations)
        ]
        write_leaks(folder.leaks_file, pairs)
    return context_of(trials, folder=folder, comparison=compare_configurations(folder, trials))


def shown(path: Path, relations: list[Relation] | None) -> str:
    blocks = tuple(TestSplit().blocks(searched(path, relations)))
    return to_text(Document("", (), (), (TitledBlocks("Test split", blocks),)), width=2000)


def test_dice_loss_and_iou_have_their_own_intervals(tmp_path: Path) -> None:
    context = searched(tmp_path / "r")
    found = next(block for block in TestSplit().blocks(context) if isinstance(block, Table))
    assert [str(title) for title in found.header[3:7]] == ["Dice loss", "95 % interval", "IoU", "95 % interval"]
    compared = context.comparison.splits["test"]
    place = [one.name for one in compared.configurations].index("t0001")
    best = found.rows[0]
    assert best[4] == interval(compared.resampled.dice_loss[place])
    assert best[6] == interval(compared.resampled.iou[place]) != best[4]


def test_one_test_image_has_no_column_of_intervals_and_a_note_why(tmp_path: Path) -> None:
    context = searched(tmp_path / "r", test=1)
    found = next(block for block in TestSplit().blocks(context) if isinstance(block, Table))
    assert "95 % interval" not in found.header
    assert found.notes[0] == "Without intervals: there is one image."


def test_metrics_also_stand_for_the_test_images_without_a_copy_in_training(tmp_path: Path) -> None:
    text = shown(tmp_path / "r", ["identical", "same scan", "same scan", "similar"])
    assert "3 of the 20 test images have an identical (1) or a same-scan (2) image in training" in text
    assert "On the 17 others" in text
    assert "Dice loss, clean" in text
    assert "1 of the 20 test images has an identical (0)" in shown(tmp_path / "one", ["same scan"])


@pytest.mark.parametrize(
    ("relations", "says"),
    [
        (["similar"], "No test image has an identical or same-scan image"),
        (["same scan"] * 20, "All 20 test images have an identical or same-scan image"),
    ],
)
def test_where_none_or_all_leak_a_sentence_says_so(tmp_path: Path, relations: list[Relation], says: str) -> None:
    text = shown(tmp_path / "r", relations)
    assert says in text
    assert "Dice loss, clean" not in text


def test_an_earlier_run_says_nothing_of_clean_images(tmp_path: Path) -> None:
    text = shown(tmp_path / "r", None)
    assert "95 % interval" in text
    assert "same-scan" not in text
