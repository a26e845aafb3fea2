"""Early stopping by ASHA and by learning curves, which never stops a baseline and still learns from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from bts_tune.experiment.search.learning_curve_stopper import LearningCurveStopper
from bts_tune.results.record.objective import DICE_LOSS, Objective


class ASHAWithProtectedTrials(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020) and `LearningCurveStopper` over trials named by the run's own identifiers.

    A plain ASHA stops a baseline that starts slowly. Here the results of a protected trial enter the rungs like all
    others, but it is never stopped. What earlier processes recorded enters by `replay`, so that a resumed run decides
    by the same rungs and the same curves.

    Args:
        epochs: the full budget of a searched trial.
        longest: that of the longest trial, a named one perhaps: at its `max_t` ASHA ends every trial.
        grace_period: epochs before a trial may be stopped.
        reduction_factor: at each rung one trial in this many goes on.
        min_complete_trials: complete trials from which on learning curves stop trials between the rungs too; 0: never.
        objective: what is optimised.
    """

    def __init__(
        self,
        *,
        epochs: int,
        longest: int,
        grace_period: int,
        reduction_factor: float,
        min_complete_trials: int,
        objective: Objective = DICE_LOSS,
    ) -> None:
        super().__init__(
            time_attr="epoch",
            metric=objective.best_column,
            mode=objective.mode,
            max_t=longest,
            grace_period=min(grace_period, epochs),
            reduction_factor=reduction_factor,
        )
        self._objective = objective
        self._learning_curves = LearningCurveStopper(
            epochs=epochs, grace_period=grace_period, min_complete_trials=min_complete_trials
        )
        self._reasons: dict[str, str] = {}

    def replay(self, trial: str, rows: list[dict[str, Any]]) -> None:
        """Enter the epochs that a trial has already been through."""
        stand_in = SimpleNamespace(trial_id=trial)
        super().on_trial_add(None, stand_in)
        for row in rows:
            super().on_trial_result(None, stand_in, row)
            self._learning_curves.add(trial, row["epoch"], self._distance(row))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial its bracket."""
        super().on_trial_add(tune_controller, _by_own_name(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a trial that is behind at a rung, or has no prospect of the best, unless it is protected."""
        decision = super().on_trial_result(tune_controller, _by_own_name(trial), result)
        self._add_to_curves(trial, result)
        if trial.config["protected"]:
            return TrialScheduler.CONTINUE
        name, epoch = trial.config["trial"], result["epoch"]
        if decision == TrialScheduler.STOP:
            self._reasons[name] = "behind the other trials"
        elif self._learning_curves.is_out_of_reach(name, epoch):
            self._reasons[name] = "no prospect of becoming the best"
            return TrialScheduler.STOP
        return decision

    def reason(self, trial: str) -> str:
        """Return why a trial was stopped, in a few words."""
        return self._reasons[trial]

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Enter the trial's last result."""
        super().on_trial_complete(tune_controller, _by_own_name(trial), result)
        self._add_to_curves(trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that was taken out; its rungs stay."""
        super().on_trial_remove(tune_controller, _by_own_name(trial))

    def _add_to_curves(self, trial: Any, result: dict[str, Any]) -> None:
        # A trial that failed reports the worst value, which is no point of its learning curve.
        if result.get("outcome", "running") in ("running", "complete"):
            self._learning_curves.add(trial.config["trial"], result["epoch"], self._distance(result))

    def _distance(self, row: dict[str, Any]) -> float:
        return self._objective.distance(row[self._objective.best_column])


def _by_own_name(trial: Any) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.config["trial"])
