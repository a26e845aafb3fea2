"""The optimism of a search: its own metric of a configuration against the final stage's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bts_tune.results.ranking.configurations import Configuration, configurations
from bts_tune.results.record.run_folder import TrialRecord


@dataclass(frozen=True)
class Optimism:
    """One configuration of the final stage, and the trial of the search that it repeats.

    Attributes:
        configuration: of the final stage.
        origin: the trial of the search, with at least one row.
        first: whether the search ranked that trial first.
    """

    configuration: Configuration
    origin: TrialRecord
    first: bool

    @property
    def searched(self) -> float:
        """The search's value of the objective: the best epoch of one seed."""
        return _value(self.origin)

    @property
    def excess(self) -> float:
        """How much worse the final stage's mean is than the search's value: positive where the search promised more."""
        return self.configuration.objective.gain(self.searched, self.configuration.value)


def optimism(trials: Sequence[TrialRecord]) -> list[Optimism]:
    """Return the configurations of the final stage whose trial of the search is on record, best first.

    None where the search ran at a lower fidelity: the difference is not its optimism then.
    """
    if any(record.full for record in trials):
        return []
    by_name = {record.trial: record for record in trials if record.stage == "search" and record.rows}
    full = [record for record in by_name.values() if record.full_budget]
    winner = min(full, key=lambda record: (record.objective.cost(_value(record)), record.trial), default=None)
    found = []
    for one in configurations(trials, "final"):
        # Seeds of one configuration may repeat several trials, such as several seeds of a baseline: the best was shown.
        origins = [by_name[record.origin] for record in one.trials if record.origin in by_name]
        if origins:
            origin = min(origins, key=lambda record: (record.objective.cost(_value(record)), record.trial))
            found.append(Optimism(one, origin, winner is not None and origin.trial == winner.trial))
    return found


def mean_excess(found: Sequence[Optimism]) -> float | None:
    """Return the mean over configurations; None of none."""
    return statistics.fmean(one.excess for one in found) if found else None


def _value(record: TrialRecord) -> float:
    row = record.best_row
    assert row is not None
    return record.objective.value(row)
