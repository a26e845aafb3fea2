"""The trials of a run gathered by configuration: what is ranked where seeds or folds repeat one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bts_tune.results.ranking.memo import memoized
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import Stage, TrialRecord


@dataclass(frozen=True)
class Configuration:
    """One configuration and its replicates: its trainings with several seeds, or on several folds.

    Attributes:
        name: what a reader calls it.
        baseline: whether it is one of the space's named baselines.
        changed: the fields of a baseline that an override changed.
        recipe_id: identifies it, seed apart.
        trials: its full-budget replicates, by seed and fold; at least one. Trained twice with one seed on one fold,
            as a search may, the better training counts: the second tells nothing of what another seed would give.
        planned: how many replicates were planned, those that failed or are not done included.
    """

    name: str
    baseline: bool
    changed: tuple[str, ...]
    recipe_id: str
    trials: tuple[TrialRecord, ...]
    planned: int

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the other configurations of its stage."""
        return (self.name, self.recipe_id)

    @property
    def seeds(self) -> int:
        """How many seeds its full-budget replicates have."""
        return len({setting(record, "seed") for record in self.trials})

    @property
    def folds(self) -> int:
        """How many folds its full-budget replicates have; 0 without folds."""
        return len({record.fold for record in self.trials} - {None})

    @property
    def complete(self) -> bool:
        """Whether every planned replicate was trained to the full budget."""
        return len(self.trials) == self.planned

    def values(self, metric: str) -> list[float]:
        """Return a metric's values over the replicates, those that have it: `val_…` at the best epoch, or `test_…`."""
        found = (record.test if metric.startswith("test_") else _best(record) for record in self.trials)
        return [float(row[metric]) for row in found if row.get(metric) is not None]

    @property
    def objective(self) -> Objective:
        """What it is ranked by."""
        return self.trials[0].objective

    @cached_property
    def value(self) -> float:
        """The mean, over replicates, of the objective at the best epoch."""
        return statistics.fmean(self.objective.value(_best(record)) for record in self.trials)

    @cached_property
    def dice_loss(self) -> float:
        """The mean, over replicates, of the validation Dice loss at the best epoch."""
        return statistics.fmean(_best(record)["val_dice_loss"] for record in self.trials)

    @cached_property
    def iou(self) -> float:
        """The mean, over replicates, of the validation IoU at the best epoch."""
        return statistics.fmean(_best(record)["val_iou"] for record in self.trials)

    @cached_property
    def best(self) -> TrialRecord:
        """The replicate that is best by the objective: the model to use."""
        return min(self.trials, key=_rank_of)

    @property
    def sort_key(self) -> tuple[float, float, float]:
        """What puts the best configuration first."""
        return self.objective.sort_key(self.value, self.dice_loss, self.iou)


@memoized
def result_stage(trials: Sequence[TrialRecord]) -> Stage:
    """Return the stage that a run's result comes from: the final one as soon as one is planned."""
    return "final" if any(record.stage == "final" for record in trials) else "search"


@memoized
def configurations(trials: Sequence[TrialRecord], stage: Stage | None = None) -> list[Configuration]:
    """Return the configurations of a stage that have a full-budget replicate, best first.

    They are ranked by the mean of the objective, then by mean validation Dice loss, mean IoU, higher first, and name.

    Args:
        trials: of a run, in any order.
        stage: by default, the one that the result comes from.
    """
    stage = stage or result_stage(trials)
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in sorted(trials, key=lambda record: (record.config.get("seed", 0), record.fold or 0, record.index)):
        if record.stage == stage:
            groups.setdefault((record.name if record.baseline else "", record.recipe_id), []).append(record)
    found = []
    for members in groups.values():
        replicates: dict[tuple[int, int | None], TrialRecord | None] = {}
        for record in members:
            place = (record.config.get("seed", 0), record.fold)
            before = replicates.setdefault(place, None)
            if record.full_budget and record.rows and (before is None or _rank_of(record) < _rank_of(before)):
                replicates[place] = record
        full = tuple(record for record in replicates.values() if record is not None)
        if full:
            first = min(members, key=lambda record: record.index)
            found.append(
                Configuration(first.name, first.baseline, tuple(first.changed), first.recipe_id, full, len(replicates))
            )
    return sorted(found, key=lambda one: (*one.sort_key, one.name))


def folds_sentence(ranked: Sequence[Configuration]) -> str | None:
    """Return what the ranking of a cross-validation rests on where one lacks a whole fold; None where none does."""
    folds = {one.name: {record.fold for record in one.trials if record.fold is not None} for one in ranked}
    every = set().union(*folds.values())
    lacking = {name: sorted(every - own) for name, own in folds.items()}
    told = [f"{name} on {_folds(missing)}" for name, missing in lacking.items() if missing]
    if not told:
        return None
    return (
        f"Without a full-budget training: {'; '.join(told)}. Such means are over other validation images than those of "
        "the others, so that places next to them may be owed to the images."
    )


def _folds(folds: Sequence[int]) -> str:
    return f"{'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))}"


def _rank_of(record: TrialRecord) -> tuple[float, float, float, str]:
    return (*record.objective.rank_of(_best(record)), record.trial)


def _best(record: TrialRecord) -> dict[str, Any]:
    row = record.best_row
    assert row is not None
    return row
