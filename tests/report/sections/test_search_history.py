"""The section on the course of the search."""

from __future__ import annotations

import pytest

from bts_tune.report.sections.search_history import device_time, draw_search_history
from bts_tune.testing.runs import make_baselines, make_curve, make_search, make_trial
from bts_tune.testing.sections import SectionContract
from tests.report.pages import size


class TestSearchHistory(SectionContract):
    name = "search-history"


def test_search_history_needs_two_ended_trials() -> None:
    assert draw_search_history([]) is None
    assert draw_search_history(make_baselines(epochs=3)[:1]) is None
    assert size(draw_search_history(make_search(epochs=4), ["PARTIAL"]))[0] > 1000
    stopped = [make_trial(f"t{n}", index=n, status="stopped", rows=make_curve("t", 2, 0.4)) for n in range(3)]
    assert draw_search_history(stopped)
    waiting = [make_trial(f"w{n}", index=n, status="waiting") for n in range(3)]
    assert draw_search_history(waiting) is None


def test_search_history_follows_the_order_of_ending() -> None:
    trials = make_search(epochs=4)
    drawn = draw_search_history(trials)
    assert draw_search_history(trials[::-1]) == drawn
    for row in trials[0].rows:
        row["time"] += 1e6
    assert draw_search_history(trials) != drawn


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (["cpu", "cpu"], ("CPU-trial", 1.0)),
        (["NVIDIA H100", "NVIDIA H200"], ("GPU", 0.25)),
        (["cpu", "NVIDIA H100"], ("Trial", 1.0)),
        ([None, "NVIDIA H100"], ("Trial", 1.0)),
        ([], ("Trial", 1.0)),
    ],
)
def test_device_time_counts_what_the_trials_ran_on(devices: list[str | None], expected: tuple[str, float]) -> None:
    trials = make_search()[: len(devices)]
    for record, device in zip(trials, devices, strict=True):
        record.started = {} if device is None else {"device": device}
    assert device_time(trials, 0.25) == expected
