"""Early stopping by ASHA and by learning curves, which never stops a baseline and still learns from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

METRIC = "best_val_dice_loss"
EPOCH = "epoch"


class Outlook:
    """Whether a trial may still become the best, judged by how the run's complete trials went on from the same epoch.

    Predictive termination (Domhan et al. 2015) with the run's own curves in place of a parametric family: a trial is
    hopeless where its running best, multiplied by the smallest ratio of final to running best that any complete trial
    had at that epoch, stays above the best final value. The more trials are complete, the more cautious that is.

    Args:
        epochs: the full budget; a trial is complete when it has as many.
        grace_period: epochs before a trial is judged.
        outlook_after: complete trials before any trial is judged; 0: none ever is.
    """

    def __init__(self, *, epochs: int, grace_period: int, outlook_after: int) -> None:
        self._epochs, self._grace_period, self._outlook_after = epochs, grace_period, outlook_after
        self._curves: dict[str, dict[int, float]] = {}
        self._complete: dict[str, dict[int, float]] = {}

    def enter(self, trial: str, epoch: int, value: float) -> None:
        """Take up a trial's running best after an epoch; one that comes again changes nothing."""
        curve = self._curves.setdefault(trial, {})
        curve[epoch] = value
        if epoch >= self._epochs:
            self._complete[trial] = curve

    def hopeless(self, trial: str, epoch: int) -> bool:
        """Return whether a trial that is at this epoch is not expected to become the best."""
        value = self._curves.get(trial, {}).get(epoch)
        if value is None or not self._outlook_after or not self._grace_period <= epoch < self._epochs:
            return False
        if len(self._complete) < self._outlook_after:
            return False
        finals = [(curve[self._epochs], curve.get(epoch)) for curve in self._complete.values()]
        # A trial without any value at that epoch, or with a perfect one, says nothing about how far one can still get.
        ratios = [final / then for final, then in finals if then]
        return bool(ratios) and value * min(ratios) > min(final for final, _ in finals)


class SparingASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over trials named by the run's own identifiers, and `Outlook`.

    A plain ASHA stops a baseline that starts slowly. Here a spared trial's results enter the rungs like all others, but
    it is never stopped. What earlier processes recorded enters by `replay`, so that a resumed run decides by the same
    rungs and the same curves.

    Args:
        epochs: the full budget of a trial.
        grace_period: epochs before a trial may be stopped.
        reduction_factor: at each rung one trial in this many goes on.
        outlook_after: complete trials from which on learning curves stop trials between the rungs too; 0: never.
    """

    def __init__(self, *, epochs: int, grace_period: int, reduction_factor: float, outlook_after: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=METRIC,
            mode="min",
            max_t=epochs,
            grace_period=min(grace_period, epochs),
            reduction_factor=reduction_factor,
        )
        self._outlook = Outlook(epochs=epochs, grace_period=grace_period, outlook_after=outlook_after)
        self._reasons: dict[str, str] = {}

    def replay(self, trial: str, rows: list[dict[str, Any]]) -> None:
        """Enter the epochs that a trial has already been through."""
        stand_in = SimpleNamespace(trial_id=trial)
        super().on_trial_add(None, stand_in)
        for row in rows:
            super().on_trial_result(None, stand_in, row)
            self._outlook.enter(trial, row[EPOCH], row[METRIC])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial its bracket."""
        super().on_trial_add(tune_controller, _by_own_name(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a trial that is behind at a rung, or has no prospect of the best, unless it is spared."""
        decision = super().on_trial_result(tune_controller, _by_own_name(trial), result)
        self._enter(trial, result)
        if trial.config["spared"]:
            return TrialScheduler.CONTINUE
        name, epoch = trial.config["trial"], result[EPOCH]
        if decision == TrialScheduler.STOP:
            self._reasons[name] = "behind the other trials"
        elif self._outlook.hopeless(name, epoch):
            self._reasons[name] = "no prospect of becoming the best"
            return TrialScheduler.STOP
        return decision

    def reason(self, trial: str) -> str:
        """Return why a trial was stopped, in a few words."""
        return self._reasons[trial]

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Enter the trial's last result."""
        super().on_trial_complete(tune_controller, _by_own_name(trial), result)
        self._enter(trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that was taken out; its rungs stay."""
        super().on_trial_remove(tune_controller, _by_own_name(trial))

    def _enter(self, trial: Any, result: dict[str, Any]) -> None:
        # A trial that failed reports the worst value, which is no point of its learning curve.
        if result.get("outcome", "running") in ("running", "complete"):
            self._outlook.enter(trial.config["trial"], result[EPOCH], result[METRIC])


def _by_own_name(trial: Any) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.config["trial"])
