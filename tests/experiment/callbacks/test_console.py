from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from bts_tune.experiment.callbacks.console import ProgressView, clock
from tests.experiment.builders import planned, result


def view(*, terminal: bool = False, height: int = 40, trials: int = 2) -> tuple[ProgressView, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, height=height, color_system=None)
    return ProgressView(console, trials=trials, epochs=4 * trials, concurrent=1), file


def test_lines_where_output_is_piped() -> None:
    progress, file = view()
    with progress:
        progress.planned(planned("a"))
        progress.started("a")
        progress.row("a", result(1, 0.5))
        progress.row("a", result(1, 0.5))
        progress.retried("a", "its process was killed")
        progress.ended("a", "stopped", "behind the other trials after 1 epochs")
    lines = [line.partition("] ")[2] for line in file.getvalue().splitlines()]
    lines[1], end = re.fullmatch(r"(.*)  (ends about \d\d:\d\d)", lines[1]).groups()  # type: ignore[union-attr]
    assert end
    assert lines == [
        "a: starts",
        "a: epoch 1/4  val_dice_loss 0.5000  val_iou 0.5000  best 0.5000  1.0 s",
        "a: tried again: its process was killed",
        "a: stopped: behind the other trials after 1 epochs",
    ]


def test_a_resumed_trial_says_where_it_goes_on_and_lost_epochs_are_told() -> None:
    progress, file = view()
    with progress:
        progress.planned(replace(planned("a"), recorded=3))
        progress.started("a")
        progress.lost("a", 2, 3, "its checkpoint is missing")
        progress.row("a", result(2, 0.5))
    text = file.getvalue()
    assert "a: goes on after epoch 3\n" in text
    assert "a: its checkpoint is missing; epochs 2–3 are trained again\n" in text
    assert "a: epoch 2/4" in text


def test_a_terminal_has_one_table_with_the_trials_that_fit() -> None:
    progress, file = view(terminal=True, height=8, trials=9)
    with progress:
        for number in range(9):
            progress.planned(planned(f"t{number}", index=number, baseline=number == 0))
        progress.started("t0")
        progress.row("t0", result(1, 0.4))
    text = file.getvalue()
    assert "t0*" in text
    assert "1/4" in text
    assert "… and 5 more" in text
    assert "0 of 9 trials ended" in text


def test_the_end_is_told_by_what_each_model_took_here_or_in_earlier_runs() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=160, height=40, color_system=None)
    slow = planned("slow", encoder="resnet34")
    earlier = {"resnet34": 600.0}
    progress = ProgressView(
        console, trials=2, epochs=8, concurrent=1, seconds_of_epoch=lambda config: earlier.get(config.encoder)
    )
    with progress:
        progress.planned(planned("a"))
        progress.planned(slow)
        progress.started("a")
        progress.row("a", result(1, 0.5))
    # Three epochs of a second, and four of ten minutes.
    assert "expected end in 40:03  ends about " in file.getvalue()


def test_a_search_may_be_followed_by_a_final_stage() -> None:
    file = io.StringIO()
    progress = ProgressView(Console(file=file, width=160), trials=9, epochs=36, concurrent=2, search=True)
    with progress:
        progress.planned(planned("a"))
        progress.row("a", result(1, 0.5))
    assert re.search(r"1\.0 s  search ends about \d\d:\d\d\n", file.getvalue())


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (-3, "00:00"), (59.6, "01:00"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert clock(seconds) == text
