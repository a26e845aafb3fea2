"""The whole report in every state of a run, and the order of its sections; read as Markdown."""

from __future__ import annotations

import re

import pytest

from bts_tune.report.document import document
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_baselines, make_curve, make_run, make_search, make_trial
from bts_tune.testing.sections import context_of
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


def test_a_demo_says_so_first_and_once() -> None:
    text = page(make_search(), profile="demo")
    assert text.splitlines()[2].startswith("> **DEMO")
    assert text.count("DEMO") == 1


def test_warnings_in_short_stay_in_sight() -> None:
    told = document(context_of(run=make_run(profile="demo", status="failed")))
    assert told.tags == (
        "DEMO: generated phantoms, not a result",
        "PARTIAL: the run is not complete",
        "LEAK: 86% of the validation images have relatives in training",
    )
    assert [banner.partition(":")[0] for banner in told.banners] == [tag.partition(":")[0] for tag in told.tags]


@pytest.mark.parametrize("status", ["running", "interrupted", "out-of-time", "failed"])
def test_a_partial_report_says_so_and_how_to_go_on(status: str) -> None:
    text = page(make_search(), status=status)
    assert text.splitlines()[2].startswith("> **PARTIAL")
    assert "bts-tune --resume 'no such run'" in text.splitlines()[2]


def test_changed_baselines_have_a_mark_and_every_table_one_note() -> None:
    text = page(make_search(seeds=2, changed=CHANGED))
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    marked = [table for table in tables if "| role |" in table]
    assert len(marked) > 2
    for table in marked:
        rows = [line for line in table.splitlines() if "unet-b0" in line]
        assert all("baseline †" in row for row in rows)
        note = text.split(table)[1].lstrip().partition("\n\n## ")[0]
        assert note.count("† Changed baselines: ") == (1 if rows else 0)
        assert note.count("(epochs, image_size). In these fields they differ") == (1 if rows else 0)
    assert "epochs, image_size" not in "".join(tables)


def test_names_cannot_break_the_page() -> None:
    bad = "<img src=x onerror=alert(1)> | **x** `y`\n# z"
    trials = make_search()
    for record in trials:
        record.name, record.reason = bad, bad
    text = page(trials, run=bad)
    assert "<img" not in text
    assert "\n# z" not in text
    for title in ("Ranking", "Stopped early", "Diverged or failed"):
        tables = re.findall(r"(?:^\|.*\n?)+", section(text, title), flags=re.MULTILINE)
        assert tables
        for table in tables:
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


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
