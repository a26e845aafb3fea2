"""The section on trials that are not finished."""

from __future__ import annotations

from bts_tune.testing.runs import make_curve, make_trial
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestNotFinished(SectionContract):
    name = "not-finished"


def test_waiting_and_running_trials_are_told() -> None:
    trials = [
        make_trial("w", index=1, status="waiting"),
        make_trial("r", index=0, status="running", rows=make_curve("r", 3, 0.4)),
    ]
    text = section(page(trials, status="running"), "Not finished")
    assert "| r |  | running |" in text
    assert "Waiting: 1 trial (w)." in text
