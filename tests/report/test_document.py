"""What a report says in every state of a run, and what it must never say; read as Markdown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bts_tune.report.context import MAX_ROWS, Figures, Overlay
from bts_tune.report.document import document
from bts_tune.report.failures import Failures
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.sections.methods import limits
from bts_tune.results.run_folder import TrialRecord
from bts_tune.testing.runs import (
    PUBLISHED,
    make_baselines,
    make_curve,
    make_row,
    make_run,
    make_search,
    make_test,
    make_trial,
)

CHANGED = ["epochs", "image_size"]


def page(trials: list[TrialRecord], figures: Figures | None = None, **run: Any) -> str:
    failures = Failures()
    text = to_markdown(document(make_run(**run), trials, figures or Figures(), failures=failures))
    assert failures.found == []
    return text


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, flags=re.MULTILINE)


def test_a_complete_run_tells_everything() -> None:
    text = page(make_search())
    assert sections(text) == [
        "Answer",
        "Ranking",
        "Comparison",
        "Test split",
        "Stopped early",
        "Diverged or failed",
        "Published figures",
        "Learning curves",
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


def test_ranking_holds_the_full_budget_trials_and_nothing_else() -> None:
    text = page(make_search())
    ranked = [line.split(" | ")[1] for line in section(text, "Ranking").splitlines() if re.match(r"\| \d", line)]
    assert ranked == ["t0001", "t0000", "t0002", "unetplusplus-b5", "unet-b0", "unet-b0-frozen"]
    assert "t0003" in section(text, "Stopped early")
    assert "out of memory: 512 MiB asked for with batch_size 64" in section(text, "Diverged or failed")
    assert "manet / timm-regnety_016, learning_rate 0.00398" in section(text, "Diverged or failed")


def test_baselines_are_marked_wherever_they_stand_in_a_table() -> None:
    text = page(make_search(seeds=2, changed=CHANGED))
    rows = [line for line in text.splitlines() if line.startswith("|") and "unet-b0" in line]
    assert len(rows) > 6
    for row in rows:
        assert "baseline, changed: epochs, image_size" in row


def test_published_figures_stand_beside_the_unchanged_baseline_only() -> None:
    text = section(page(make_search()), "Published figures")
    assert "| unetplusplus-b5 | Dice loss | 0.2236 | 0.3057 |" in text
    assert "| unetplusplus-b5 | IoU | 0.6288 | 0.5426 |" in text
    assert "published by its authors" in text
    assert "not known" in text
    assert "| unet-b0 |" not in text


@pytest.mark.parametrize("changed", [["epochs"], CHANGED])
def test_published_figures_are_nowhere_on_the_page_of_a_changed_baseline(changed: list[str]) -> None:
    space = {"name": "s", "trials": {"unetplusplus-b5": {"published": PUBLISHED, "config": {}}}}
    text = page(make_search(changed=changed), space=space)
    for figure in PUBLISHED.values():
        assert str(figure) not in text
    assert f"ran changed ({', '.join(changed)})" in section(text, "Published figures")


def test_published_figures_are_nowhere_in_a_demo_or_beside_an_unfinished_baseline() -> None:
    assert "0.3057" not in page(make_search(), profile="demo")
    unfinished = make_baselines()
    unfinished[2].status = "interrupted"
    text = page(unfinished)
    assert "0.3057" not in text
    assert "nothing to set beside them" in section(text, "Published figures")


def test_the_source_of_published_figures_is_told() -> None:
    trials = make_baselines()
    trials[2].published = {**PUBLISHED, "source": "the project's documentation"}
    text = section(page(trials), "Published figures")
    assert "Source: the project's documentation" in text
    assert text.count("0.3057") == 1


def test_test_split_shows_the_best_trial_and_the_baselines() -> None:
    trials = make_search()
    trials[4].test = make_test(0.2)  # t0001, the best
    text = section(page(trials), "Test split")
    assert "| 1 | t0001 | best | 0.2000 |" in text
    assert "t0000" not in text  # evaluated while it was the best, but no longer is
    assert text.count("| baseline |") == 3


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


def test_waiting_and_running_trials_are_told() -> None:
    trials = [
        make_trial("w", index=1, status="waiting"),
        make_trial("r", index=0, status="running", rows=make_curve("r", 3, 0.4)),
    ]
    text = section(page(trials, status="running"), "Not finished")
    assert "| r |  | running |" in text
    assert "Waiting: 1 trial (w)." in text


def test_long_tables_are_cut_and_say_so() -> None:
    text = page(make_search(epochs=3, searched=400))
    assert len([line for line in section(text, "Ranking").splitlines() if re.match(r"\| \d", line)]) == MAX_ROWS
    assert "more configurations in `configurations.csv`" in section(text, "Ranking")


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


def test_a_run_file_with_nothing_optional_is_enough() -> None:
    text = to_markdown(document({"format": 1, "status": "complete"}, make_search(), Figures()))
    assert "Not recorded." in section(text, "Methods")


def test_methods_tell_how_the_figures_were_made() -> None:
    text = section(page(make_search()), "Methods")
    assert "TP / (TP + FP + FN)" in text
    assert "| fingerprint | 9f2c51aa0b7d |" in text
    assert "| splits.train | 1502 |" in text
    assert "| check.splits.train.without_tumor | 3 |" in text
    assert "log_uniform" in text
    assert "| batch_size | 16 | not documented |" in text
    assert "| versions.torch | 2.6.0 |" in text
    assert "| hardware.gpus | none |" in text
    assert "bts-tune --space extended --data 'scans/brain tumours'" in text
    warm = {"run": "results/first", "trials": [{}, {}]}
    methods = section(page(make_search(), warm_start=warm), "Methods")
    assert "| trials that the search knew from the start | 2 of results/first |" in methods


def test_figures_are_shown_or_their_absence_is_told() -> None:
    trials = make_search()
    figures = Figures(
        "figures/learning_curves.png",
        overlays=[
            Overlay(trials[4], "figures/predictions-t0001.png"),
            Overlay(trials[0], None, "samples/x.npz is missing."),
        ],
    )
    text = page(trials, figures)
    assert "](figures/learning_curves.png)" in section(text, "Learning curves")
    assert "Best trial: t0001](figures/predictions-t0001.png)" in section(text, "Predictions")
    assert "left out: samples/x.npz is missing." in section(text, "Predictions")


def test_limits_are_honest_about_seeds_and_unlike_trials() -> None:
    run = make_run()
    assert "single seed" in limits(run, make_search())
    assert "Every ranked configuration ran with more than one seed" in limits(run, make_baselines(seeds=2))
    assert "3 of the 6 ranked configurations" in limits(run, make_search(seeds=2))
    assert "image sizes" not in limits(run, make_search())
    sizes = [make_trial(f"t{size}", rows=[make_row("t", 1, 0.3)], image_size=size) for size in (96, 224)]
    assert "different image sizes" in limits(run, sizes)
    budgets = [make_trial(f"t{epochs}", rows=[make_row("t", 1, 0.3)], epochs=epochs) for epochs in (5, 35)]
    assert "different numbers of epochs" in limits(run, budgets)
    assert "generated phantoms" in limits(make_run(profile="demo"), make_search())
