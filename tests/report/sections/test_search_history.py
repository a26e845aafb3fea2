"""The section on the course of the search."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.report.blocks import Picture
from bts_tune.report.sections.search_history import SearchHistory, device_time, draw_search_history
from bts_tune.testing.runs import make_baselines, make_curve, make_run, make_search, make_trial
from bts_tune.testing.sections import SectionContract, context_of
from tests.report.pages import size


class TestSearchHistory(SectionContract):
    name = "search-history"


def test_search_history_needs_ended_trials_of_two_configurations() -> None:
    assert draw_search_history([]) is None
    assert draw_search_history(make_baselines(epochs=3)[:1]) is None
    assert size(draw_search_history(make_search(epochs=4), ["PARTIAL"]))[0] > 1000
    stopped = [
        make_trial(f"t{n}", index=n, status="stopped", rows=make_curve("t", 2, 0.4), seed=seed, learning_rate=rate)
        for n, (seed, rate) in enumerate([(0, 1e-3), (0, 1e-4), (1, 1e-4)])
    ]
    assert draw_search_history(stopped)
    assert draw_search_history(stopped[1:]) is None
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
    ("run", "word"),
    [
        ({"space": {"search": {"num_trials": 9}}}, "searched"),
        ({"space": {"search": None, "trials": {"a": {}}}}, "other trial"),
        ({"space": {"search": {"num_trials": 9}}, "options": {"folds": 3}}, "other trial"),
    ],
)
def test_trials_are_called_searched_where_a_search_drew_them(run: dict[str, Any], word: str) -> None:
    blocks = SearchHistory().blocks(context_of(make_search(epochs=3), make_run(**run)))
    (plot,) = [block.plot for block in blocks if isinstance(block, Picture)]
    assert plot is not None
    assert plot.data["others"] == word


def test_the_text_tells_the_device_that_the_axis_counts() -> None:
    waiting = make_trial("waits", index=90, status="waiting", learning_rate=0.007)
    picture, told = SearchHistory().blocks(context_of([*make_search(epochs=3), waiting]))
    assert isinstance(picture, Picture)
    assert picture.plot is not None
    assert str(picture.plot.data["unit"]).startswith("CPU-trial-")
    assert "each on its share of the CPU's cores" in str(told)


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
