"""Which configuration to run next: first the decided ones, then those that Optuna's TPE suggests."""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.plan import Plan, PlannedTrial, from_search
from bts_tune.experiment.search.scheduler import METRIC
from bts_tune.results.run_folder import TrialRecord
from bts_tune.space import ResolvedSearch

# The worst Dice loss there is; what the sampler is told of a configuration that diverges.
WORST = 1.0


class TreeParzen:
    """Optuna's TPE on a conditional space, told of every trial of the run: baselines, finished, stopped and diverged.

    A trial that was stopped early counts as pruned, with its running best at each epoch; one that diverged as pruned at
    the outset with the worst value, whatever it reported before. The sampler is seeded anew for each suggestion by
    (seed, how many came before), so that a suggestion follows from the trials told so far, and a resumed run suggests
    what an uninterrupted one would.
    """

    def __init__(self, search: ResolvedSearch) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search = search
        self._study = optuna.create_study(direction="minimize")
        self._open: dict[str, optuna.Trial] = {}
        self._reported: dict[str, dict[int, float]] = {}

    def suggest(self, trial: str) -> TrialConfig:
        """Return the configuration of a new searched trial."""
        self._seed()
        asked = self._study.ask()
        self._open[trial] = asked
        return self._search.sample(asked)

    def enter(self, trial: str, config: TrialConfig) -> None:
        """Take up a trial that was decided elsewhere; one whose values lie outside the space is passed over."""
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

    def end(self, trial: str, status: str, value: float | None) -> None:
        """Report how a trial ended; `value` is its best Dice loss, None where it has none."""
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
            asked.report(WORST, 0)
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, state=TrialState.FAIL)

    def replay(self, record: TrialRecord) -> None:
        """Enter a trial that an earlier process finished."""
        self.enter(record.trial, TrialConfig.parse(record.config, f"trial {record.trial}"))
        for row in record.rows:
            self.report(record.trial, row["epoch"], row[METRIC])
        best = record.best_row
        self.end(record.trial, record.status, best["val_dice_loss"] if best else None)

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


class PlanSearcher(Searcher):
    """Hands a plan's trials to Ray Tune one by one, and once more those that are to be tried again.

    To Ray each attempt is a trial of its own; a trial of the run goes on from its own checkpoint.

    Args:
        plan: what is left to do.
        search: the search, where the space has one.
        describe: makes Ray's configuration of an attempt at a planned trial.
        planned: called with each newly searched trial before it starts; the record is kept there.
        earlier: trials of an earlier run, which the sampler learns from and the plan knows nothing of.
    """

    def __init__(
        self,
        plan: Plan,
        search: ResolvedSearch | None,
        describe: Callable[[PlannedTrial], dict[str, Any]],
        planned: Callable[[PlannedTrial], None],
        earlier: Sequence[TrialRecord] = (),
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._fixed = deque(plan.fixed)
        self._to_search = plan.to_search
        self._numbered = plan.searched
        self._next_index = len(plan.finished) + len(plan.fixed)
        self._describe, self._planned = describe, planned
        self._again: deque[PlannedTrial] = deque()
        self._running: dict[str, PlannedTrial] = {}
        self._sampler = TreeParzen(search) if search is not None else None
        if self._sampler is not None:
            for record in (*earlier, *plan.finished):
                self._sampler.replay(record)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the tuner's own pickle, which nothing reads: the run's record is what lasts."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return Ray's configuration of the next trial, FINISHED, or None while a running one may have to go again."""
        if self._again:
            planned = self._again.popleft()
        elif self._fixed:
            planned = self._fixed.popleft()
            if self._sampler is not None:
                self._sampler.enter(planned.trial, planned.config)
        elif self._to_search and self._sampler is not None:
            self._to_search -= 1
            self._numbered += 1
            config = self._sampler.suggest(f"search-{self._numbered:04d}")
            planned = from_search(config, self._numbered, self._next_index)
            self._next_index += 1
            self._planned(planned)
        else:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = planned
        return self._describe(planned)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the sampler of an epoch."""
        if self._sampler is not None and result["outcome"] in ("running", "complete"):
            self._sampler.report(self._running[trial_id].trial, result["epoch"], result[METRIC])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the sampler how a trial ended; of a fault, `try_again` or `give_up` says what follows from it."""
        if error or result is None:
            return
        planned = self._running.pop(trial_id)
        # A trial that ends while it still reports itself as running was stopped by the scheduler.
        status = "stopped" if result["outcome"] == "running" else result["outcome"]
        if self._sampler is None:
            return
        if status == "stopped":
            # Tune does not pass on the result at which the scheduler stopped the trial; a resumed run is told of it.
            self._sampler.report(planned.trial, result["epoch"], result[METRIC])
        self._sampler.end(planned.trial, status, result[METRIC])

    def try_again(self, trial_id: str) -> None:
        """Hand a trial out once more, before any other; to the sampler it has not ended."""
        self._again.append(self._running.pop(trial_id))

    def give_up(self, trial_id: str) -> None:
        """Tell the sampler that a trial failed."""
        planned = self._running.pop(trial_id)
        if self._sampler is not None:
            self._sampler.end(planned.trial, "failed", None)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the run's own record is what a resume reads."""
        Path(checkpoint_path).write_text(json.dumps({}))

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""
