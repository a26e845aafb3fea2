"""A section of a user's: loaded from a file, in its place in the report, and checked by the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from bts_tune.plugins import load_plugin
from bts_tune.registry import SECTIONS
from bts_tune.report.blocks import Picture, paragraph
from bts_tune.report.document import document, sections_in_order
from bts_tune.report.failures import Failures
from bts_tune.report.sections.base import Block, ReportContext, Section
from bts_tune.report.write import write_report
from bts_tune.testing.runs import make_search, write_run
from bts_tune.testing.sections import SectionContract, context_of, example_context

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "plugins" / "tumour_free.py"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it; our own, whose files are imported only once, are not."""
    SECTIONS.all()
    monkeypatch.setattr(SECTIONS, "_entries", dict(SECTIONS._entries))
    monkeypatch.setattr("bts_tune.plugins._loaded", {})


class TestTumourFree(SectionContract):
    name = "tumour-free"

    @pytest.fixture(autouse=True)
    def _loaded(self, _forgotten: None) -> None:
        load_plugin(str(EXAMPLE))

    def test_it_stands_behind_the_test_split(self) -> None:
        found = document(example_context("complete"))
        titles = [one.title for one in found.sections]
        assert titles[titles.index("Test split") + 1] == "Images without a tumour"

    def test_it_is_one_short_file(self) -> None:
        assert len(EXAMPLE.read_text().splitlines()) < 60


def register(name: str, follows: str | None, *blocks: Block | Exception) -> type[Section]:
    class Own(Section):
        title: ClassVar[str] = f"Own {name}"
        after: ClassVar[str | None] = follows

        def blocks(self, context: ReportContext) -> Iterator[Block]:
            for block in blocks:
                if isinstance(block, Exception):
                    raise block
                yield block

    Own.__qualname__ = name
    return SECTIONS.register(name)(Own)


def order() -> tuple[list[str], list[str]]:
    failures = Failures()
    names = [section.name for section in sections_in_order(failures)]
    assert sorted(names) == sorted(SECTIONS.names())
    return names, [failed.sentence for failed in failures.found]


def test_ours_stand_in_their_order() -> None:
    names, failed = order()
    assert failed == []
    assert names[:3] == ["answer", "ranking", "comparison"]
    assert names[-2:] == ["methods", "limits"]
    for before, name in zip([None, *names], names, strict=False):
        assert SECTIONS.get(name).after == before, name


def test_a_section_stands_right_behind_the_one_that_it_follows() -> None:
    register("first", None)
    register("last", "limits")
    register("mine", "ranking")
    register("behind-mine", "mine")
    names, failed = order()
    assert failed == []
    assert (names[0], names[-1]) == ("first", "last")
    place = names.index("ranking")
    assert names[place + 1 : place + 4] == ["mine", "behind-mine", "comparison"]


def test_a_place_that_is_none_costs_no_section() -> None:
    register("lost", "rankng")
    register("behind-lost", "lost")
    register("round", "about")
    register("about", "round")
    names, failed = order()
    assert names[-4:] == ["lost", "behind-lost", "round", "about"]
    assert "The place of the section lost failed: ConfigError: after: there is no section 'rankng'." in failed[0]
    assert "Did you mean 'ranking'?" in failed[0]
    assert "follow each other in a circle: round, about" in failed[1]
    assert len(failed) == 2


def test_a_section_that_fails_costs_itself_alone(tmp_path: Path) -> None:
    register("broken", "answer", paragraph("So far."), ValueError("no more"))
    files = write_report(write_run(tmp_path / "run", make_search(epochs=2)))
    text = files.report.read_text()
    assert "## Own broken\n\nSo far.\n\nThe section Own broken failed: ValueError: no more.\n\n## Ranking" in text
    assert files.failed == "INCOMPLETE REPORT: The section Own broken failed: ValueError: no more."


def test_a_section_that_yields_what_is_no_block_is_named() -> None:
    register("odd", "answer", "a text")  # type: ignore[arg-type]
    found = document(context_of())
    assert "The section Own odd failed: TypeError: 'a text' is no block" in str(found.sections[1].blocks)


def test_two_figures_of_one_path_are_told(tmp_path: Path) -> None:
    register("one", "answer", Picture("a", "figures/mine.png", b"one"))
    register("other", "one", Picture("b", "figures/mine.png", b"other"))
    files = write_report(write_run(tmp_path / "run", make_search(epochs=2)))
    assert files.failed is not None
    assert "The figure mine failed: ValueError: another figure is figures/mine.png." in files.failed
    assert (tmp_path / "run" / "figures" / "mine.png").read_bytes() == b"one"
