"""The section on the spread over seeds."""

from __future__ import annotations

from bts_tune.testing.runs import make_row, make_search, make_trial
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section, sections


class TestOverSeeds(SectionContract):
    name = "over-seeds"


def test_seeds_are_summed_up_where_there_are_several() -> None:
    trials = [
        make_trial(f"a{seed}", name="a", index=seed, seed=seed, rows=[make_row("a", 1, loss, 0.5)])
        for seed, loss in enumerate([0.2, 0.3, 0.4])
    ]
    text = page(trials)
    assert "| 1 | a |  | 3 of 3 | 0.3000 ± 0.1000 | 0.5000 ± 0.0000 |" in section(text, "Ranking")
    assert "| a |  | 1 | 0.3000 | 0.5000 |" in section(text, "Over seeds")
    assert "| a |  | mean of 3 | 0.3000 ± 0.1000 | 0.5000 ± 0.0000 |" in section(text, "Over seeds")
    assert "Over seeds" not in sections(page(make_search()))
