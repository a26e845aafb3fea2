"""The section on the ranking."""

from __future__ import annotations

import re

from bts_tune.report.cells import MAX_ROWS
from bts_tune.testing.runs import make_search
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestRanking(SectionContract):
    name = "ranking"


def test_ranking_holds_the_full_budget_trials_and_nothing_else() -> None:
    text = page(make_search())
    ranked = [line.split(" | ")[1] for line in section(text, "Ranking").splitlines() if re.match(r"\| \d", line)]
    assert ranked == ["t0001", "t0000", "t0002", "unetplusplus-b5", "unet-b0", "unet-b0-frozen"]
    more = section(text, "Ranking").split("### More columns of the ranking")[1]
    assert "| t0001 | 0." in more
    assert "fpn / resnet34, learning_rate" in more
    assert "t0003" in section(text, "Stopped early")


def test_long_tables_are_cut_and_say_so() -> None:
    text = page(make_search(epochs=3, searched=400))
    assert len([line for line in section(text, "Ranking").splitlines() if re.match(r"\| \d", line)]) == MAX_ROWS
    assert "more configurations in `configurations.csv`" in section(text, "Ranking")
