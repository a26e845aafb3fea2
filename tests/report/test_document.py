"""The whole report in every state of a run, and the order of its sections; read as Markdown."""

from __future__ import annotations

import re

import pytest

from bts_tune.results.run_folder import TrialRecord
from bts_tune.testing.runs import make_baselines, make_curve, make_search, make_trial
from tests.report.pages import page, section, sections

CHANGED = ["epochs", "image_size"]


def test_a_complete_run_tells_everything() -> None:
    text = page(make_search())
    assert sections(text) == [
        "Answer",
        "Ranking",
        "Comparison",
        "Test split",
        "Stopped early",
        "Diverged or failed",
        "Published results",
        "Learning curves",
        "Search history",
        "Hyperparameters",
        "Predictions",
        "Best configuration",
        "Split",
        "Data check",
        "Methods",
        "Limits",
    ]
    assert "DEMO" not in text
    assert "PARTIAL" not in text


def test_a_demo_says_so_first_and_on_top_of_every_section() -> None:
    text = page(make_search(), profile="demo")
    assert text.splitlines()[2].startswith("> **DEMO")
    for title in sections(text):
        assert section(text, title).lstrip().startswith("> **DEMO: generated phantoms, not a result")


@pytest.mark.parametrize("status", ["running", "interrupted", "out-of-time", "failed"])
def test_a_partial_report_says_so_and_how_to_go_on(status: str) -> None:
    text = page(make_search(), status=status)
    assert text.splitlines()[2].startswith("> **PARTIAL")
    assert "bts-tune --resume spring-search" in text.splitlines()[2]
    for title in sections(text):
        assert "PARTIAL" in section(text, title).lstrip().splitlines()[0]


def test_baselines_are_marked_wherever_they_stand_in_a_table() -> None:
    text = page(make_search(seeds=2, changed=CHANGED))
    rows = [line for line in text.splitlines() if line.startswith("|") and "unet-b0" in line]
    assert len(rows) > 6
    for row in rows:
        assert "baseline, changed: epochs, image_size" in row


def test_names_cannot_break_the_page() -> None:
    bad = "<img src=x onerror=alert(1)> | **x** `y`\n# z"
    trials = make_search()
    for record in trials:
        record.name, record.reason = bad, bad
    text = page(trials, run=bad)
    assert "<img" not in text
    assert "\n# z" not in text
    for title in ("Ranking", "Stopped early", "Diverged or failed"):
        rows = [line for line in section(text, title).splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [make_trial("a", status="waiting")],
        [make_trial("a", status="failed", reason="no memory"), make_trial("b", index=1, status="failed")],
        [make_trial("a", status="diverged", rows=make_curve("a", 2, 0.5))],
        make_baselines()[:1],
    ],
    ids=["no trials", "waiting", "all failed", "diverged", "one"],
)
def test_every_state_has_a_page(trials: list[TrialRecord]) -> None:
    text = page(trials, status="running")
    assert {"Answer", "Ranking", "Learning curves", "Methods", "Limits"} <= set(sections(text))
    assert "None" not in text
    assert "nan" not in text.lower().split()
