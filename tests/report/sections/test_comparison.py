"""The section on the comparison."""

from __future__ import annotations

from pathlib import Path

from bts_tune.report.blocks import Paragraph, Table
from bts_tune.report.sections.comparison import ComparisonSection
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_scores, write_scores
from bts_tune.testing.sections import SectionContract, context_of
from tests.results.scored import SEARCHED, written


class TestComparison(SectionContract):
    name = "comparison"


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, {"t1": 0.8})
    write_scores(folder, SEARCHED[1], images=20)
    folder.scores_file("good").write_bytes(make_scores(0.7, epoch=9).to_bytes())
    found = compare_configurations(folder, SEARCHED)
    blocks = ComparisonSection().blocks(context_of(SEARCHED, comparison=found))
    assert [block.spans[0] for block in blocks if isinstance(block, Paragraph)][-3:] == list(found.missing)


def test_of_one_image_nothing_is_drawn_and_nothing_comes_first(tmp_path: Path) -> None:
    folder = written(tmp_path / "r", SEARCHED, {"t1": 0.8, "good": 0.7, "weak": 0.6}, test=1)
    found = compare_configurations(folder, SEARCHED)
    blocks = list(ComparisonSection().blocks(context_of(SEARCHED, comparison=found)))
    on_test, on_validation = (block for block in blocks if isinstance(block, Table))
    assert on_test.notes == ("Without intervals: there is one image.",)
    assert {row[-1] for row in on_test.rows} == {"–"}
    assert on_validation.notes == ()
    words = next(str(block.spans[0]) for block in blocks if isinstance(block, Paragraph))
    assert "The intervals tell how much other images could change" in words, "those of the validation split do"


def test_a_run_without_scores_says_so(tmp_path: Path) -> None:
    found = compare_configurations(written(tmp_path / "r", SEARCHED, {}), SEARCHED)
    (block,) = ComparisonSection().blocks(context_of(SEARCHED, comparison=found))
    assert isinstance(block, Paragraph)
    assert "no intervals" in str(block.spans[0])
