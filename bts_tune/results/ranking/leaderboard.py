"""The order of the trials: whose turn it is in every table, and who is ranked at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from bts_tune.results.ranking.configurations import configurations, result_stage
from bts_tune.results.ranking.memo import memoized
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES, Group

_GROUPS = get_args(Group)


def is_ranked(record: TrialRecord) -> bool:
    """Whether a trial can be ranked within its stage: trained to the full budget, with its rows on record."""
    return record.full_budget and bool(record.rows)


@memoized
def ordered(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials as every table lists them: those of the stage that the result comes from, then the search's.

    Within the result's stage, ranked ones come first (the replicates of the best configuration, then of the next; see
    `configurations`), each configuration's by the objective, then validation Dice loss, then IoU at that epoch, higher
    first, then identifier. A second training of one configuration with the same seed closes them. Then come those
    stopped early, interrupted or running, diverged, out of memory or failed, and waiting, each group in the same order.
    Trials without rows close their group in the order of planning. A complete trial whose rows are lost stands with the
    failed ones. The search that precedes a final stage is in the same order, trial by trial.
    """
    ranks = configuration_ranks(trials)
    result = result_stage(trials)
    last = len(trials) + 1
    return sorted(
        trials, key=lambda record: (record.stage != result, *_sort_key(record, ranks.get(record.trial, last)))
    )


@memoized
def ranking(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the full-budget trials of the stage that the result comes from, in the order of `ordered`.

    The first is the best replicate of the best configuration: the model to use.
    """
    ranks = configuration_ranks(trials)
    ranked = [record for record in trials if record.trial in ranks]
    return sorted(ranked, key=lambda record: _sort_key(record, ranks[record.trial]))


@memoized
def configuration_ranks(trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Return the rank, from 1, of the configuration of each ranked trial, by the trial's identifier."""
    return {record.trial: rank for rank, one in enumerate(configurations(trials), start=1) for record in one.trials}


def search_log(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the full-budget trials of the search that a final stage followed, best first; empty without one."""
    if result_stage(trials) == "search":
        return []
    log = [record for record in trials if record.stage == "search" and is_ranked(record)]
    return sorted(log, key=lambda record: _sort_key(record, 0))


def best_baselines(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the best replicate of every baseline of the stage that the result comes from, best baseline first."""
    first: dict[str, TrialRecord] = {}
    for record in ranking(trials):
        if record.baseline:
            first.setdefault(record.name, record)
    return list(first.values())


def total_seconds(record: TrialRecord) -> float | None:
    """Return the seconds that the recorded epochs took, validation included; None without rows."""
    return math.fsum(row.get("seconds") or 0.0 for row in record.rows) if record.rows else None


def _sort_key(record: TrialRecord, rank: int) -> tuple[object, ...]:
    best = record.best_row
    group = STATUSES[record.status].group
    if best is None:
        lost = group == "complete"
        return (
            _GROUPS.index("failed" if lost else group),
            rank,
            math.inf,
            math.inf,
            math.inf,
            record.index,
            record.trial,
        )
    return (_GROUPS.index(group), rank, *record.objective.rank_of(best), 0, record.trial)
