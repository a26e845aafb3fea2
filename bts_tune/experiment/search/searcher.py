"""Which configuration to run next: first the planned trials, then what Optuna's TPE suggests."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from bts_tune.experiment.planning.plan import Plan, PlannedTrial, from_search
from bts_tune.experiment.search.tpe import OptunaTPE
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.space import ResolvedSearch


class PlanSearcher(Searcher):
    """Hands a plan's trials to Ray Tune one by one, and once more those that are retried.

    To Ray each attempt is a trial of its own; a trial of the run goes on from its own checkpoint.

    Args:
        plan: what is left to do.
        search: the search, where the space has one.
        describe: makes Ray's configuration of an attempt at a planned trial.
        planned: called with each newly searched trial before it starts; the record is kept there.
        earlier: trials of an earlier run, which the sampler learns from and the plan knows nothing of.
        objective: what is optimised.
        concurrent: returns how many trials may run at a time, which changes as nodes of a cluster come and go; without
            it, Tune's own limit holds.
    """

    def __init__(
        self,
        plan: Plan,
        search: ResolvedSearch | None,
        describe: Callable[[PlannedTrial], dict[str, Any]],
        planned: Callable[[PlannedTrial], None],
        earlier: Sequence[TrialRecord] = (),
        objective: Objective = DICE_LOSS,
        concurrent: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(metric=objective.best_column, mode=objective.mode)
        self._fixed = deque(plan.fixed)
        self._to_search = plan.to_search
        self._numbered = plan.searched
        self._next_index = len(plan.finished) + len(plan.fixed)
        self._describe, self._planned, self._concurrent = describe, planned, concurrent
        self._to_retry: deque[PlannedTrial] = deque()
        self._running: dict[str, PlannedTrial] = {}
        self._full = search.full if search is not None else {}
        self._sampler = OptunaTPE(search, objective) if search is not None else None
        if self._sampler is not None:
            for record in (*earlier, *plan.finished):
                self._sampler.replay(record)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the tuner's own pickle, which nothing reads: the run's record is what lasts."""
        return {}

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tell Tune whether the limit is kept here."""
        return self._concurrent is not None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return Ray's configuration of the next trial, FINISHED, or None while a running one may have to go again."""
        if self._concurrent is not None and len(self._running) >= self._concurrent():
            return None
        if self._to_retry:
            planned = self._to_retry.popleft()
        elif self._fixed:
            planned = self._fixed.popleft()
            if self._sampler is not None:
                self._sampler.add(planned.trial, planned.config)
        elif self._to_search and self._sampler is not None:
            self._to_search -= 1
            self._numbered += 1
            config = self._sampler.suggest(f"search-{self._numbered:04d}")
            planned = from_search(config, self._numbered, self._next_index, self._full)
            self._next_index += 1
            self._planned(planned)
        else:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = planned
        return self._describe(planned)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the sampler of an epoch."""
        if self._sampler is not None and result["outcome"] in ("running", "complete"):
            self._sampler.report(self._running[trial_id].trial, result["epoch"], result[self.metric])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the sampler how a trial ended; of a fault, `retry` or `fail` says what follows from it."""
        if error or result is None:
            return
        planned = self._running.pop(trial_id)
        # A trial that ends while it still reports itself as running was stopped by the scheduler.
        status = "stopped" if result["outcome"] == "running" else result["outcome"]
        if self._sampler is None:
            return
        if status == "stopped":
            # Tune does not pass on the result at which the scheduler stopped the trial; a resumed run is told of it.
            self._sampler.report(planned.trial, result["epoch"], result[self.metric])
        self._sampler.finish(planned.trial, status, result[self.metric])

    def retry(self, trial_id: str) -> None:
        """Hand a trial out once more, before any other; to the sampler it has not ended."""
        self._to_retry.append(self._running.pop(trial_id))

    def fail(self, trial_id: str) -> None:
        """Tell the sampler that a trial failed."""
        planned = self._running.pop(trial_id)
        if self._sampler is not None:
            self._sampler.finish(planned.trial, "failed", None)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the run's own record is what a resume reads."""
        Path(checkpoint_path).write_text(json.dumps({}))

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing; see `save`."""
