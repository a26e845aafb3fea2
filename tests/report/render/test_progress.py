from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from bts_tune.metrics.base import objective
from bts_tune.report.render.progress import progress_table
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_curve, make_final, make_row, make_run, make_search, make_trial


def lines(trials: Sequence[TrialRecord], *, height: int | None = None, **run: object) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=160).print(progress_table(make_run(**run), trials, state="running", height=height))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_running_trials_first_then_the_best_then_those_without_an_epoch() -> None:
    trials = [
        make_trial("worse", rows=make_curve("worse", 2, 0.5)),
        make_trial("waits", index=1, status="waiting"),
        make_trial("better", index=2, rows=make_curve("better", 2, 0.2), baseline=True),
        make_trial("runs", index=3, status="running", rows=make_curve("runs", 1, 0.9)),
    ]
    name, _, *rows, summary = lines(trials)
    assert name == "spring-search"
    assert [row.split()[0] for row in rows] == ["runs", "better*", "worse", "waits"]
    assert rows[-1].split()[1:] == ["waiting", "0/35", "–", "–", "–", "–"]
    assert summary.startswith("running: 2 of 4 trials ended, 5 epochs trained;")


def test_the_end_of_what_is_planned_follows_from_the_epochs_of_each_model() -> None:
    small: dict[str, Any] = {"encoder": "resnet18", "epochs": 4}
    rows = [{**row, "seconds": 10.0} for row in make_curve("a", 2, 0.5)]
    slow = [{**row, "seconds": 100.0} for row in make_curve("b", 4, 0.5)]
    trials = [
        make_trial("a", rows=rows, status="running", **small),
        make_trial("b", index=1, rows=slow, encoder="resnet34", epochs=4),
        make_trial("c", index=2, status="waiting", **small),
        make_trial("d", index=3, status="waiting", encoder="resnet34", epochs=4),
    ]
    assert "; ends in about 7m40s; " in lines(trials)[-1]  # 2 + 4 epochs of 10 s, 4 of 100 s
    assert "; ends in about 6m40s; " in lines(trials, resources={"concurrent": 4})[-1]
    assert "ends in" not in lines([make_trial("a", status="waiting", **small)])[-1]


def test_a_single_trial_and_epoch_are_told_as_one() -> None:
    summary = lines([make_trial("a", status="running", rows=make_curve("a", 1, 0.5))], options={})[-1]
    assert summary.startswith("running: 0 of 1 trial ended, 1 epoch trained;")


def test_best_so_far_is_that_of_all_epochs() -> None:
    rows = make_curve("a", 6, 0.3)
    rows[-1] |= {"val_dice_loss": 0.9}
    (_, _, row, _) = lines([make_trial("a", rows=rows)])
    assert row.split()[3] == "0.9000"
    assert row.split()[5] == f"{min(one['val_dice_loss'] for one in rows):.4f}"


@pytest.mark.parametrize("width", [None, 66])
def test_the_best_is_told_by_the_objective(width: int | None) -> None:
    aim = replace(objective("dice-image"), title="Dice [of each] image")
    trials = [
        make_trial(name, index=index, rows=[make_row(name, 1, loss, val_dice_image=dice)], aim=aim)
        for index, (name, loss, dice) in enumerate([("a", 0.2, 0.6), ("b", 0.3, 0.8), ("c", 0.1, None)])
    ]
    console = Console(file=io.StringIO(), width=width or 160, force_terminal=True, color_system="standard")
    console.print(progress_table(make_run(), trials, state="running", width=width))
    assert isinstance(console.file, io.StringIO)
    _, header, *rows, _ = console.file.getvalue().splitlines()[:6]
    assert ("best Dice [of each] image" if width is None else "best Di…age") in header
    plain = [Text.from_ansi(row).plain.split() for row in rows]
    assert [(row[0], row[5]) for row in plain] == [("b", "0.8000"), ("a", "0.6000"), ("c", "–")]
    assert ["\x1b[1;32m" in row for row in rows] == [True, False, False]


def test_as_many_as_fit_and_the_stage_that_counts_before_the_search() -> None:
    search = make_search(epochs=3, searched=20)
    listed = lines(search + make_final(search), height=12)
    assert len(listed) <= 12
    assert all(line.startswith("final-") for line in listed[2:9])
    assert any("more" in line for line in listed)


def test_a_run_that_has_only_begun() -> None:
    assert lines([], dataset={}, options={})[-1].startswith("running: 0 of 0 trials ended, 0 epochs trained")


@pytest.mark.parametrize("width", [32, 40, 50, 58, 66, 72, 80, 100])
@pytest.mark.parametrize("title", ["", "Hausdorff distance at its 95th percentile"])
def test_names_give_way_to_numbers(width: int, title: str) -> None:
    aim = replace(objective("dice-image"), title=title) if title else Objective()
    trials = [
        make_trial(
            f"unetplusplus-efficientnet-b5-frozen-{number}-seed{number}",
            index=number,
            rows=[make_row("x", epoch, 0.2 + number / 10, seconds=4000.0) for epoch in range(1, 101)],
            epochs=100,
            baseline=number == 0,
            aim=aim,
        )
        for number in range(3)
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(progress_table(make_run(), trials, state="running", width=width))
    assert isinstance(console.file, io.StringIO)
    _, header, *rows = console.file.getvalue().splitlines()[:5]
    assert max(map(len, (header, *rows))) <= width
    for row, whole in zip(rows, lines(trials)[2:5], strict=True):
        name, *cells = row.split()
        assert name.startswith("unet")
        assert set(cells) <= set(whole.split())
        assert "100/100" in cells
        assert "complete" in cells or width < 40


def test_a_narrow_terminal_shows_whole_numbers_of_fewer_columns() -> None:
    console = Console(file=io.StringIO(), width=40)
    trial = make_trial("unet-b0", rows=make_curve("unet-b0", 2, 0.5), baseline=True)
    console.print(progress_table(make_run(), [trial], state="running", width=40))
    assert isinstance(console.file, io.StringIO)
    _, header, row, *_ = console.file.getvalue().splitlines()
    assert header.split() == ["trial", "status", "epoch", "best", "so", "far"]
    assert row.split() == ["unet-b0*", "complete", "2/35", f"{min(one['val_dice_loss'] for one in trial.rows):.4f}"]
