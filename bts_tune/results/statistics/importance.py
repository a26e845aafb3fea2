"""How important each hyperparameter was: fANOVA, and PED-ANOVA by Optuna.

All trials that are set beside each other were trained for the same number of epochs. Where no trial was stopped early,
these are the full-budget ones, each at its best epoch. Where some were, the survivors alone would tell of the
scheduler's taste: instead, every trial counts with its best loss up to the last epoch that all of them reached.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bts_tune.results.ranking.memo import FrozenTrials, memoized
from bts_tune.results.ranking.settings import is_set, setting, varied_fields, varies
from bts_tune.results.record.objective import Objective, objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.fanova import fanova

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


MIN_TRIALS = 30
"""Fewest trials from which an importance is computed: below, chance decides the order."""

MAX_TRIALS = 500
"""Most trials that an importance is computed from: the time of the trees grows faster than their number."""

_TREES = 64
_SEED = 0


@dataclass(frozen=True)
class Measured:
    """The trials that are set beside each other.

    Attributes:
        trials: in the order of planning.
        values: the objective of each: its best up to `epoch`.
        objective: what that is.
        epoch: the last epoch that counts; None where all were trained to the full budget and every epoch counts.
        left_out: trials with rows that do not take part: they diverged, failed, are not done, or lack the rows up to
            `epoch`.
    """

    trials: tuple[TrialRecord, ...]
    values: tuple[float, ...]
    objective: Objective
    epoch: int | None
    left_out: int

    @property
    def costs(self) -> tuple[float, ...]:
        """The values so that lower is better."""
        return tuple(map(self.objective.cost, self.values))


@dataclass(frozen=True)
class Importance:
    """What a set of trials says of the parameters that all of them have.

    Attributes:
        where: the condition under which they have them, such as `freeze is stages`; empty for all trials.
        trials: how many.
        fanova: share of the loss's variance that a parameter explains, by name; sums to 1.
        among_best: PED-ANOVA: what tells the best tenth from the others, by name, sums to 1; empty where Optuna
            cannot tell.
    """

    where: str
    trials: int
    fanova: Mapping[str, float]
    among_best: Mapping[str, float]


@memoized
def measured(trials: Sequence[TrialRecord]) -> Measured:
    """Choose the trials of the search that can be set beside each other; the module's first lines say how."""
    search = sorted((record for record in trials if record.stage == "search" and record.rows), key=_planned)
    stopped = any(record.status == "stopped" for record in search)
    chosen = [record for record in search if record.status in ("complete", "stopped")]
    if not stopped:
        # Overrides can give trials budgets of their own; only equal ones are alike.
        budgets = [len(record.rows) for record in chosen]
        stopped = len(set(budgets)) > 1
    epoch = min((record.rows[-1]["epoch"] for record in chosen), default=0) if stopped else None
    if epoch is not None:
        # A damaged record can lack a trial's first rows, and so every row up to that epoch.
        chosen = [record for record in chosen if record.rows[0]["epoch"] <= epoch]
    objective = objective_of(trials)
    values = tuple(
        min((objective.value(row) for row in record.rows if epoch is None or row["epoch"] <= epoch), key=objective.cost)
        for record in chosen
    )
    return Measured(FrozenTrials(chosen), values, objective, epoch, len(search) - len(chosen))


def importances(found: Measured, run: Mapping[str, Any]) -> list[Importance]:
    """Return the importance of the parameters of all trials, then of those that only some trials have.

    A parameter that the space draws under a condition (`freeze_stages` where `freeze` is `stages`) has no effect in the
    other trials, and trials with another loss lack the parameters of the one that is searched, so it is judged among
    those trials alone in which it has one. Groups of fewer than `MIN_TRIALS` trials are left out.
    """
    when = conditions(run)
    fields = hyperparameters(found.trials)
    always = [field for field in fields if in_all(found.trials, field, when)]
    results = [_importance("", list(range(len(found.trials))), always, found, run)]
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for field in fields:
        if field not in always:
            where = " and ".join(
                f"{parent} is {' or '.join(map(str, allowed))}" for parent, allowed in when.get(field, {}).items()
            )
            members = tuple(place for place, one in enumerate(found.trials) if has_effect(one, field, when))
            groups.setdefault((where, members), []).append(field)
    for (where, members), own in groups.items():
        inside = [found.trials[place] for place in members]
        own = [field for field in own if varies(inside, field)]
        if own:
            where = where or f"{' and '.join(own)} {'is' if len(own) == 1 else 'are'} set"
            judged = [*(field for field in always if varies(inside, field)), *own]
            results.append(_importance(where, members, judged, found, run))
    return [one for one in results if one is not None]


def _planned(record: TrialRecord) -> tuple[int, str]:
    return record.index, record.trial


def hyperparameters(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the fields that differ between trials; the seed is no hyperparameter, and the budget is the same."""
    return [field for field in varied_fields(trials) if field not in ("seed", "epochs")]


def _parameters(run: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the searched parameters as the space's document in `run.json` has them."""
    space = run.get("space")
    search = space.get("search") if isinstance(space, Mapping) else None
    found = search.get("parameters") if isinstance(search, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {str(name): one for name, one in found.items() if isinstance(one, Mapping)}


def conditions(run: Mapping[str, Any]) -> dict[str, Mapping[str, Sequence[Any]]]:
    """Return what must hold for a parameter to be drawn, those of its parents included, by name."""
    own = {
        name: one["when"]
        for name, one in _parameters(run).items()
        if isinstance(one.get("when"), Mapping) and one["when"]
    }
    found: dict[str, Mapping[str, Sequence[Any]]] = {}
    for name, when in own.items():  # a condition names earlier parameters only, so parents come first
        inherited: dict[str, Sequence[Any]] = {}
        for parent in when:
            inherited |= found.get(parent, {})
        found[name] = inherited | {parent: allowed for parent, allowed in when.items() if isinstance(allowed, list)}
    return found


def logarithmic(run: Mapping[str, Any]) -> set[str]:
    """Return the names of the parameters that are searched on a logarithmic scale."""
    return {name for name, one in _parameters(run).items() if one.get("log") is True}


def has_effect(record: TrialRecord, field: str, when: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
    """Whether a parameter has an effect in a trial, which has it and fulfils what `conditions` found for it."""
    condition = when.get(field, {})
    return is_set(record, field) and all(setting(record, parent) in allowed for parent, allowed in condition.items())


def in_all(trials: Sequence[TrialRecord], field: str, when: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
    """Whether a parameter is drawn under no condition, and every trial has it."""
    return not when.get(field) and all(is_set(record, field) for record in trials)


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether values have an order, so that they lie on an axis; truth values are categories."""
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values) and bool(values)


def _importance(
    where: str, members: Sequence[int], fields: Sequence[str], found: Measured, run: Mapping[str, Any]
) -> Importance | None:
    if len(members) < MIN_TRIALS or not fields:
        return None
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The trees' time grows faster than the trials: of very many, some at even steps do.
    steps = np.unique(np.linspace(0, len(members) - 1, min(len(members), MAX_TRIALS)).round().astype(int))
    used = [members[step] for step in steps]
    logs = logarithmic(run)
    records = [found.trials[place] for place in used]
    fields = [field for field in fields if varies(records, field)]
    if not fields:
        return None
    distributions = {
        field: _distribution([setting(record, field) for record in records], field in logs) for field in fields
    }
    parameters = {
        field: [_native(setting(record, field), distributions[field]) for record in records] for field in fields
    }
    costs = [found.objective.cost(found.values[place]) for place in used]
    try:
        explained = fanova(parameters, costs, trees=_TREES, seed=_SEED)
    except RuntimeError:  # no tree found a difference to explain
        return None
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={field: parameters[field][number] for field in fields}, distributions=distributions, value=cost
            )
            for number, cost in enumerate(costs)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an evaluator that calls itself experimental
        told = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=fields, normalize=True)
    among_best = {name: float(part) for name, part in told.items()} if all(map(math.isfinite, told.values())) else {}
    return Importance(where, len(members), explained, among_best)


def _distribution(values: Sequence[Any], log: bool) -> BaseDistribution:
    """Return a range that holds all values, or the categories: baselines may lie outside of what the search draws."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not is_numeric(values):
        return CategoricalDistribution(sorted({str(one) for one in values}))
    low, high = min(values), max(values)
    if all(isinstance(one, int) for one in values):
        return IntDistribution(low, high, log=log and low > 0)
    return FloatDistribution(float(low), float(high), log=log and low > 0)


def _native(content: Any, distribution: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution

    return str(content) if isinstance(distribution, CategoricalDistribution) else content
