"""Optuna's TPE sampler on a search space of ours."""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import TrialState

from bts_tune.config import TrialConfig
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.space import ResolvedSearch


class OptunaTPE:
    """Optuna's TPE on a conditional space, told of every trial of the run: baselines, finished, stopped and diverged.

    A trial that was stopped early counts as pruned, with its running best at each epoch; one that diverged as pruned at
    the outset with the worst value, whatever it reported before. The sampler is seeded anew for each suggestion by
    (seed, how many came before), so that a suggestion follows from the trials told so far, and a resumed run suggests
    what an uninterrupted one would.
    """

    def __init__(self, search: ResolvedSearch, objective: Objective = DICE_LOSS) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search, self._objective = search, objective
        self._study = optuna.create_study(direction=objective.direction)
        self._open: dict[str, optuna.Trial] = {}
        self._reported: dict[str, dict[int, float]] = {}

    def suggest(self, trial: str) -> TrialConfig:
        """Return the configuration of a new searched trial."""
        self._seed()
        asked = self._study.ask()
        self._open[trial] = asked
        return self._search.sample(asked)

    def add(self, trial: str, config: TrialConfig) -> None:
        """Add a trial that was chosen elsewhere; one whose values lie outside the space is passed over."""
        values = self._search.values_of(config)
        if values is None:
            return
        self._seed()
        self._study.enqueue_trial(values)
        asked = self._study.ask()
        self._search.sample(asked)
        self._open[trial] = asked

    def report(self, trial: str, epoch: int, value: float) -> None:
        """Report a trial's running best.

        Kept until the trial ends: nothing that runs is learnt from, and what Optuna was told cannot be taken back.
        """
        if trial in self._open:
            self._reported.setdefault(trial, {})[epoch] = value

    def finish(self, trial: str, status: str, value: float | None) -> None:
        """Report how a trial ended; `value` is its best value of the objective, None where it has none."""
        asked = self._open.pop(trial, None)
        if asked is None:
            return
        reported = self._reported.pop(trial, {})
        if status != "diverged":
            for epoch, best in sorted(reported.items()):
                asked.report(best, epoch)
        if status == "complete" and value is not None:
            self._study.tell(asked, value)
        elif status == "stopped":
            self._study.tell(asked, state=TrialState.PRUNED)
        elif status == "diverged":
            asked.report(self._objective.worst, 0)
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, state=TrialState.FAIL)

    def replay(self, record: TrialRecord) -> None:
        """Add a trial that an earlier process finished."""
        self.add(record.trial, TrialConfig.parse(record.config, f"trial {record.trial}"))
        for row in record.rows:
            self.report(record.trial, row["epoch"], row[self._objective.best_column])
        best = record.best_row
        self.finish(record.trial, record.status, self._objective.value(best) if best else None)

    def _seed(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=self._search.startup_trials,
                seed=self._search.sampler_seed + len(self._study.get_trials(deepcopy=False)),
            )
