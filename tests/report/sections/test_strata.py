"""The section on strata."""

from __future__ import annotations

from pathlib import Path

from bts_tune.report.blocks import Paragraph, Subheading, Table
from bts_tune.report.sections.strata import Strata
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.testing.runs import make_search, write_run, write_scores
from bts_tune.testing.sections import SectionContract, context_of


class TestStrata(SectionContract):
    name = "strata"


def blocks_of(path: Path, split: str) -> list[object]:
    trials = make_search()
    folder = write_run(path, trials)
    for record in trials:
        if record.best_row:
            write_scores(folder, record, images=20, test=20)
    folder.split_file.write_text(split)
    context = context_of(trials, folder=folder, comparison=compare_configurations(folder, trials))
    return list(Strata().blocks(context))


def test_each_kind_has_its_images_and_intervals(tmp_path: Path) -> None:
    lines = ["file,split,group,plane,tumour"]
    for split in ("valid", "test"):
        for number in range(20):
            kind = "glioma" if number < 12 else "pituitary" if number < 18 else "rare"
            lines.append(f"{split}/{number:03}.png,{split},{number // 2},axial,{kind}")
    said, first, test, second, valid = blocks_of(tmp_path / "run", "\n".join(lines))
    assert isinstance(said, Paragraph)
    assert (first, second) == (Subheading("Test split"), Subheading("Validation split"))
    for one in (test, valid):
        assert isinstance(one, Table)
        # One plane alone is no kind, and two images are none.
        assert [row[:3] for row in one.rows] == [("tumour", "glioma", 12)] * 2 + [("tumour", "pituitary", 6)] * 2
        assert all(" to " in row[5] or ".." in row[5] or "–" in row[5] for row in one.rows)
        assert len({row[3] for row in one.rows}) == 2


def test_nothing_is_said_where_nothing_is_told(tmp_path: Path) -> None:
    assert blocks_of(tmp_path / "run", "file,split,group\nvalid/000.png,valid,1\n") == []
    assert blocks_of(tmp_path / "other", "no table") == []
