"""Early stopping by learning curves: of trials that are not expected to become the best."""

from __future__ import annotations


class LearningCurveStopper:
    """Whether a trial may still become the best, judged by how the run's complete trials went on from the same epoch.

    Predictive termination (Domhan et al. 2015) with the run's own curves in place of a parametric family: the best is
    out of reach where a trial's running best, multiplied by the smallest ratio of final to running best that any
    complete trial had at that epoch, stays above the best final value. The more trials are complete, the
    more cautious that is. Values are distances from a perfect one, at least 0, such as a Dice loss or 1 - IoU.

    Args:
        epochs: the full budget; a trial is complete when it has as many.
        grace_period: epochs before a trial is judged.
        min_complete_trials: complete trials before any trial is judged; 0: none ever is.
    """

    def __init__(self, *, epochs: int, grace_period: int, min_complete_trials: int) -> None:
        self._epochs, self._grace_period, self._min_complete_trials = epochs, grace_period, min_complete_trials
        self._curves: dict[str, dict[int, float]] = {}
        self._complete: dict[str, dict[int, float]] = {}

    def add(self, trial: str, epoch: int, value: float) -> None:
        """Add a trial's running best after an epoch; one that comes again changes nothing."""
        curve = self._curves.setdefault(trial, {})
        curve[epoch] = value
        if epoch >= self._epochs:
            self._complete[trial] = curve

    def is_out_of_reach(self, trial: str, epoch: int) -> bool:
        """Return whether the best is out of reach of a trial that is at this epoch."""
        value = self._curves.get(trial, {}).get(epoch)
        if value is None or not self._min_complete_trials or not self._grace_period <= epoch < self._epochs:
            return False
        if len(self._complete) < self._min_complete_trials:
            return False
        finals = [(curve[self._epochs], curve.get(epoch)) for curve in self._complete.values()]
        # A trial without any value at that epoch, or with a perfect one, says nothing about how far one can still get.
        ratios = [final / then for final, then in finals if then]
        return bool(ratios) and value * min(ratios) > min(final for final, _ in finals)
