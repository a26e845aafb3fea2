"""The section on the search."""

from __future__ import annotations

import pytest

from bts_tune.report.blocks import Details, Table
from bts_tune.report.sections.base import Section
from bts_tune.testing.runs import make_final, make_search
from bts_tune.testing.sections import SectionContract, context_of


class TestSearchLog(SectionContract):
    name = "search-log"

    @pytest.mark.parametrize(("complete", "title"), [(7, None), (8, "Place 11"), (20, "Places 11 to 23")])
    def test_what_follows_the_first_ten_is_folded_away(
        self, section: type[Section], complete: int, title: str | None
    ) -> None:
        search = make_search(searched=3 * complete)  # beside three baselines
        blocks = list(section().blocks(context_of([*search, *make_final(search)])))
        shown = [block for block in blocks if isinstance(block, Table)]
        folded = [block for block in blocks if isinstance(block, Details)]
        assert [len(block.rows) for block in shown] == [10]
        assert [block.title for block in folded] == ([title] if title else [])
        inside = [block for details in folded for block in details.blocks if isinstance(block, Table)]
        assert sum(len(block.rows) for block in (*shown, *inside)) == complete + 3
