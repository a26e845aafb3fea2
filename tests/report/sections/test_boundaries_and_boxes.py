from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bts_tune.report.blocks import Bullets, Paragraph, Table
from bts_tune.report.sections.boundaries_and_boxes import BoundariesAndBoxes
from bts_tune.results.record.scores import Scores
from bts_tune.results.statistics.comparison import Comparison, compare_configurations
from bts_tune.testing.runs import make_baselines, make_scores, write_run, write_scores
from bts_tune.testing.sections import SectionContract, context_of


class TestBoundariesAndBoxes(SectionContract):
    name = "boundaries-and-boxes"


def test_the_section_has_a_row_for_every_scored_trial(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    blocks = list(BoundariesAndBoxes().blocks(context_of(trials, comparison=compare_configurations(folder, trials))))
    tables = [block for block in blocks if isinstance(block, Table)]
    assert len(tables) == 2
    for one in tables:
        assert {row[0] for row in one.rows} == {record.name for record in trials}
    bullets = next(block for block in blocks if isinstance(block, Bullets))
    assert any("within 2 px" in item for item in bullets.items)
    assert not any("different image sizes" in item for item in bullets.items)


def test_scores_of_an_earlier_version_are_one_sentence() -> None:
    trials = make_baselines(epochs=3)[:1]
    scores = make_scores(0.8, epoch=3)
    old = Scores(3, scores.pixels, {name: replace(split, shapes=None) for name, split in scores.splits.items()})
    (block,) = BoundariesAndBoxes().blocks(context_of(trials, comparison=Comparison(scores={trials[0].trial: old})))
    assert isinstance(block, Paragraph)
    assert "earlier version" in str(block.spans[0])
    assert not list(BoundariesAndBoxes().blocks(context_of(trials)))
