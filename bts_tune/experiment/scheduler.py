"""Early stopping by ASHA that never stops a baseline and still learns from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

METRIC = "best_val_dice_loss"
EPOCH = "epoch"


class SparingASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over trials named by the run's own identifiers.

    A plain ASHA stops a baseline that starts slowly. Here a spared trial's results enter the rungs like all others, but
    it is never stopped. What earlier processes recorded enters by `replay`, so that a resumed run decides by the same
    rungs.
    """

    def __init__(self, *, epochs: int, grace_period: int, reduction_factor: float) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=METRIC,
            mode="min",
            max_t=epochs,
            grace_period=min(grace_period, epochs),
            reduction_factor=reduction_factor,
        )

    def replay(self, trial: str, rows: list[dict[str, Any]]) -> None:
        """Enter the epochs that a trial has already been through."""
        stand_in = SimpleNamespace(trial_id=trial)
        super().on_trial_add(None, stand_in)
        for row in rows:
            super().on_trial_result(None, stand_in, row)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial its bracket."""
        super().on_trial_add(tune_controller, _by_own_name(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a trial that is behind at a rung, unless it is spared."""
        decision = super().on_trial_result(tune_controller, _by_own_name(trial), result)
        return TrialScheduler.CONTINUE if trial.config["spared"] else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Enter the trial's last result."""
        super().on_trial_complete(tune_controller, _by_own_name(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that was taken out; its rungs stay."""
        super().on_trial_remove(tune_controller, _by_own_name(trial))


def _by_own_name(trial: Any) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.config["trial"])
