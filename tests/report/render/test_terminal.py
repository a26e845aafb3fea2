"""The ranking in a terminal: numbers whole, 80 columns enough, marks explained."""

from __future__ import annotations

import io
import statistics
from dataclasses import replace

import pytest
from rich.console import Console

from bts_tune.metrics.base import objective
from bts_tune.report.render.progress import progress_table
from bts_tune.report.render.terminal import ranking_table, ranking_text
from bts_tune.report.wording import metric
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import (
    make_baselines,
    make_curve,
    make_final,
    make_row,
    make_run,
    make_search,
    make_trial,
)

LONG = "a trial with a name [red]that[/red] is far longer than any terminal should be asked to show on one line"


def printed(trials: list[TrialRecord], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(ranking_table(trials, width=width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def long_names() -> list[TrialRecord]:
    trials = make_search(epochs=100, seeds=2)
    for record in trials:
        record.name = f"{record.name} {LONG}"
    trials.append(make_trial("i", index=90, status="interrupted", rows=make_curve("i", 3, 0.4)))
    return trials


@pytest.mark.parametrize("width", [72, 80, 120])
def test_numbers_are_whole_and_lines_fit(width: int) -> None:
    trials = long_names()
    for text in (printed(trials, width), ranking_text(trials, width=width)):
        assert max(len(line) for line in text.splitlines()) <= width
        for one in configurations(trials):
            assert metric(one.dice_loss) in text
            assert metric(one.iou) in text
            assert f"{len(one.trials)}/{one.planned}" in text


def test_a_wide_terminal_shows_whole_names() -> None:
    trials = long_names()
    for text in (printed(trials, 200), ranking_text(trials, width=200)):
        assert all(one.name in text for one in configurations(trials))
        assert "…" not in text


def test_the_two_tables_say_the_same() -> None:
    trials = make_search()
    lines = [line.rstrip() for line in printed(trials, 80).splitlines()]
    assert lines == ranking_text(trials, width=80).splitlines()


def test_ranks_and_marks() -> None:
    trials = make_search(changed=["epochs"])
    lines = ranking_text(trials).splitlines()
    assert lines[1].split()[:2] == ["1", "t0001"]
    assert any("unet-b0 *!" in line for line in lines)
    assert "* baseline" in lines
    assert "! Changed baselines: unetplusplus-b5, unet-b0, unet-b0-frozen (epochs)." in lines
    stopped = next(line for line in lines if " t0003 " in line)
    assert stopped.split()[0] == "–"


def test_no_marks_are_explained_where_there_are_none() -> None:
    text = ranking_text([make_trial("a", rows=make_curve("a", 2, 0.3))])
    assert "baseline" not in text
    assert "Only trials" not in text


def test_long_runs_are_cut_but_never_lose_a_baseline() -> None:
    trials = make_search(epochs=4, searched=300)
    for record in trials[:3]:
        record.status = "failed"
    text = ranking_text(trials, limit=20)
    assert "280 more trials in leaderboard.csv" in text
    for record in make_baselines():
        assert f"{record.name} *" in text


def test_rows_that_are_left_out_are_called_what_they_are() -> None:
    trials = make_search(epochs=4, searched=30, seeds=2)
    text = ranking_text(trials, limit=1, width=200)
    assert "… 9 more configurations in configurations.csv\n… 20 more trials in leaderboard.csv\n" in text
    assert "… 1 more trial in leaderboard.csv\n" in ranking_text(make_search(epochs=4)[3:], limit=8)


def test_a_search_that_was_not_is_not_told() -> None:
    search = make_search(epochs=4)
    final = make_final(search)
    assert "The search's 12 trials: leaderboard.csv" in ranking_text(search + final, width=200)
    assert "The search" not in ranking_text(final, width=200)


@pytest.mark.parametrize("metric_key", ["dice_loss", "iou", "dice_image"])
def test_the_deviation_is_of_the_dice_loss_whatever_the_objective(metric_key: str) -> None:
    aim = objective(metric_key.replace("_", "-"))
    losses = [0.20, 0.21, 0.25]
    trials = [
        make_trial(f"a-{seed}", name="a", index=seed, rows=[make_row("a", 1, loss)], epochs=1, seed=seed, aim=aim)
        for seed, loss in enumerate(losses)
    ]
    header, row, *_ = ranking_text(trials, width=120).splitlines()
    place = header.index("± sd") + len("± sd")
    assert row[:place].endswith(f"  0.2200  {metric(statistics.stdev(losses))}")


def test_nothing_to_rank() -> None:
    assert ranking_text([]).startswith("rank")
    assert "failed" in ranking_text([make_trial("a", status="failed")])
    assert printed([], 80).startswith("rank")


def test_the_record_alone_decides() -> None:
    assert ranking_text(make_search()) == ranking_text(make_search()[::-1])
    assert make_run()["run"] not in ranking_text(make_search())


def test_commands_to_the_terminal_in_what_others_wrote_are_escaped() -> None:
    """A run folder may come from somewhere else."""
    trials = make_baselines(1)
    trials[0] = replace(trials[0], name="un\x1b[2Jet")
    run = make_run(run="a\x1b[31mb", dataset={"path": "x\x1b[2J"})
    console = Console(file=io.StringIO(), width=100)
    console.print(ranking_table(trials, width=100), progress_table(run, trials, state="complete", width=100))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "\x1b" not in printed
    for escaped in (r"un\x1b[2Jet", r"a\x1b[31mb", r"dataset x\x1b[2J"):
        assert escaped in printed
