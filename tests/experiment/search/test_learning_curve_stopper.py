from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.experiment.search.learning_curve_stopper import LearningCurveStopper
from bts_tune.metrics.base import objective


def stopper(*curves: tuple[float, ...], min_complete_trials: int = 2, grace_period: int = 1) -> LearningCurveStopper:
    """Curves of four epochs are complete."""
    added = LearningCurveStopper(epochs=4, grace_period=grace_period, min_complete_trials=min_complete_trials)
    for number, curve in enumerate(curves):
        for epoch, value in enumerate(curve, start=1):
            added.add(f"t{number}", epoch, value)
    return added


HALVED, FLAT = (0.8, 0.6, 0.5, 0.4), (0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(("value", "expected"), [(0.79, False), (0.81, True)])
def test_the_best_is_out_of_reach_where_the_steepest_complete_curve_does_not_lead_to_it(
    value: float, expected: bool
) -> None:
    judge = stopper(HALVED, FLAT, (value,))
    assert judge.is_out_of_reach("t2", 1) is expected


def test_nothing_is_out_of_reach_before_there_is_enough_to_judge_by() -> None:
    assert not stopper(HALVED, FLAT, (0.9,), min_complete_trials=3).is_out_of_reach("t2", 1)
    assert not stopper(HALVED, FLAT[:3], (0.9,)).is_out_of_reach("t2", 1), "a curve that has not ended was judged by"
    assert not stopper(HALVED, FLAT, (0.9,), grace_period=2).is_out_of_reach("t2", 1)
    assert not stopper(HALVED, FLAT, (0.9,), min_complete_trials=0).is_out_of_reach("t2", 1)
    assert not stopper(HALVED, FLAT, (0.9, 0.9, 0.9, 0.9)).is_out_of_reach("t2", 4), "it has ended"


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=8), st.integers(1, 3))
def test_the_best_was_never_out_of_reach_of_the_trial_that_became_the_best(
    curves: list[list[float]], epoch: int
) -> None:
    running_bests = [tuple(min(curve[: n + 1]) for n in range(4)) for curve in curves]
    judge = stopper(*running_bests, min_complete_trials=1)
    best = min(range(len(curves)), key=lambda number: running_bests[number][-1])
    ratio = running_bests[best][-1] / then if (then := running_bests[best][epoch - 1]) else 0.0
    rounded_up = then * ratio > running_bests[best][-1]  # its own ratio bounds the smallest but for that
    assert not judge.is_out_of_reach(f"t{best}", epoch) or rounded_up


def test_a_metric_that_begins_at_its_worst_keeps_its_prospect() -> None:
    """An IoU of 0, from which a complete trial rose to the best, says nothing against a trial that has it too."""
    iou = objective("iou")
    stopper = LearningCurveStopper(epochs=3, grace_period=1, min_complete_trials=2)
    for trial, curve in (("a", (0.0, 0.4, 0.6)), ("b", (0.2, 0.4, 0.5)), ("same", (0.0,)), ("stuck", (0.0, 0.0))):
        for epoch, value in enumerate(curve, start=1):
            stopper.add(trial, epoch, iou.distance(value))
    assert not stopper.is_out_of_reach("same", 1)
    assert stopper.is_out_of_reach("stuck", 2)
