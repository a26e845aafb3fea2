"""The trials of a run at one moment, and what is worked out of them once for the whole report.

A report asks dozens of times for the ranking, the order and the names of the same trials; of a long run, each answer
takes a second or so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from bts_tune.results.record.run_folder import TrialRecord

_P = ParamSpec("_P")
_T = TypeVar("_T")


class FrozenTrials(tuple[TrialRecord, ...]):
    """Trials that no longer change, so that what `memoized` functions find of them holds as long as they do."""

    found: dict[Hashable, Any]

    def __new__(cls, trials: Sequence[TrialRecord]) -> FrozenTrials:
        """Return a snapshot of trials; one is as good as a copy of it."""
        if isinstance(trials, FrozenTrials):
            return trials
        new = super().__new__(cls, trials)
        new.found = {}
        return new


def memoized(
    work: Callable[Concatenate[Sequence[TrialRecord], _P], _T],
) -> Callable[Concatenate[Sequence[TrialRecord], _P], _T]:
    """Let a function of trials answer a second time with what it found the first; of a `FrozenTrials` alone.

    The answer is shared by all who ask: nobody may change it.
    """

    @functools.wraps(work)
    def ask(trials: Sequence[TrialRecord], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not isinstance(trials, FrozenTrials):
            return work(trials, *args, **kwargs)
        question = (work, args, tuple(sorted(kwargs.items())))
        if question not in trials.found:
            trials.found[question] = work(trials, *args, **kwargs)
        return trials.found[question]

    return ask
