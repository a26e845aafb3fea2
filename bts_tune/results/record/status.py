"""The statuses of a trial: each is declared once, here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TrialStatus = Literal["waiting", "running", "complete", "stopped", "interrupted", "diverged", "oom", "failed"]

Group = Literal["complete", "stopped", "unfinished", "failed", "waiting"]
"""Trials of one group stand together in every table, the groups in this order."""


@dataclass(frozen=True)
class Status:
    """What is to be known of a status.

    Attributes:
        words: for people.
        group: the trials that it stands with.
        finished: whether nothing more is trained of such a trial.
        style: how a terminal shows it, in the words of rich.
    """

    words: str
    group: Group
    finished: bool
    style: str


STATUSES: Mapping[TrialStatus, Status] = {
    "complete": Status("complete", "complete", True, "green"),
    "stopped": Status("stopped early", "stopped", True, "yellow"),
    "interrupted": Status("interrupted", "unfinished", False, "yellow"),
    "running": Status("running", "unfinished", False, "bold"),
    "diverged": Status("diverged", "failed", True, "red"),
    "oom": Status("out of memory", "failed", True, "red"),
    "failed": Status("failed", "failed", True, "red"),
    "waiting": Status("waiting", "waiting", False, "dim"),
}

FINISHED: frozenset[str] = frozenset(name for name, status in STATUSES.items() if status.finished)


def in_group(*groups: Group) -> frozenset[str]:
    """Return the statuses of these groups."""
    return frozenset(name for name, status in STATUSES.items() if status.group in groups)
