"""The section on trials that were stopped early."""

from __future__ import annotations

from bts_tune.testing.runs import make_curve, make_trial
from bts_tune.testing.sections import SectionContract
from tests.report.pages import page, section


class TestStoppedEarly(SectionContract):
    name = "stopped-early"


def test_each_trial_has_the_reason_that_it_was_stopped_for() -> None:
    reasons = ["not among the best third after 2 epochs", "after 2 of 8 epochs: the time budget of 1h was spent", ""]
    trials = [
        make_trial(
            f"t{number}", index=number, status="stopped", reason=reason, epochs=8, rows=make_curve(f"t{number}", 2, 0.4)
        )
        for number, reason in enumerate(reasons)
    ]
    text = section(page(trials), "Stopped early")
    assert "scheduler" not in text
    assert "these trials were stopped before their full budget" in text
    for record, reason in zip(trials, [*reasons[:2], "–"], strict=True):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {record.trial} |")]
        assert f"| {reason} |" in line
