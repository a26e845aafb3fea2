"""The figures of a search and of kinds of images: drawn where there is something to draw."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from bts_tune.report.figures.search_history import device_time, search_history
from bts_tune.report.sections.image_kinds import kinds_figure
from PIL import Image

from bts_tune.results.comparison import Evidence, gather
from bts_tune.results.resources import gpus_per_trial
from bts_tune.testing.runs import make_baselines, make_curve, make_search, make_trial, write_run, write_scores


def size(png: bytes | None) -> tuple[int, int]:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.size


def test_search_history_needs_two_ended_trials() -> None:
    assert search_history([]) is None
    assert search_history(make_baselines(epochs=3)[:1]) is None
    assert size(search_history(make_search(epochs=4), ["PARTIAL"]))[0] > 1000
    stopped = [make_trial(f"t{n}", index=n, status="stopped", rows=make_curve("t", 2, 0.4)) for n in range(3)]
    assert search_history(stopped)
    waiting = [make_trial(f"w{n}", index=n, status="waiting") for n in range(3)]
    assert search_history(waiting) is None


def test_search_history_follows_the_order_of_ending() -> None:
    trials = make_search(epochs=4)
    drawn = search_history(trials)
    assert search_history(trials[::-1]) == drawn
    for row in trials[0].rows:
        row["time"] += 1e6
    assert search_history(trials) != drawn


def test_kinds_figure_needs_scores(tmp_path: Path) -> None:
    trials = make_baselines(epochs=3)
    assert kinds_figure(trials, Evidence()) is None
    folder = write_run(tmp_path / "run", trials)
    for record in trials:
        write_scores(folder, record)
    assert size(kinds_figure(trials, gather(folder, trials), ["DEMO"]))[0] > 1000
    for record in trials:
        write_scores(folder, record, images=8)
    assert kinds_figure(trials, gather(folder, trials)) is None


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


@pytest.mark.parametrize(
    ("options", "expected"), [({"gpus_per_trial": 0.5}, 0.5), ({"gpus_per_trial": None}, 1.0), ({}, 1.0), ([], 1.0)]
)
def test_gpus_of_a_trial(options: Any, expected: float) -> None:
    assert gpus_per_trial({"options": options}) == expected
