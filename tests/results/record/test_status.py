"""The statuses of a trial."""

from __future__ import annotations

from typing import get_args

from bts_tune.results.record.status import FINISHED, STATUSES, Group, TrialStatus, in_group


def test_every_status_is_declared() -> None:
    assert set(STATUSES) == set(get_args(TrialStatus))
    assert {status.group for status in STATUSES.values()} == set(get_args(Group))


def test_a_finished_trial_is_never_trained_again() -> None:
    assert {"complete", "stopped", "diverged", "oom", "failed"} == FINISHED


def test_groups() -> None:
    assert in_group("failed") == {"diverged", "oom", "failed"}
    assert in_group("unfinished", "waiting") == {"running", "interrupted", "waiting"}
