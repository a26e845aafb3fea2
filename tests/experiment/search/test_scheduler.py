from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from bts_tune.experiment.search.scheduler import Outlook, SparingASHA


def asha(epochs: int = 9, *, outlook_after: int = 0) -> SparingASHA:
    return SparingASHA(epochs=epochs, grace_period=1, reduction_factor=3, outlook_after=outlook_after)


def trial(name: str, *, spared: bool = False) -> Any:
    return SimpleNamespace(trial_id=f"ray-{name}", config={"trial": name, "spared": spared})


def step(scheduler: SparingASHA, one: Any, epoch: int, value: float) -> str:
    return scheduler.on_trial_result(None, one, {"epoch": epoch, "best_val_dice_loss": value})


def test_a_trial_behind_at_a_rung_is_stopped() -> None:
    scheduler = asha()
    leader, last = trial("leader"), trial("last")
    for one in (leader, last):
        scheduler.on_trial_add(None, one)
    assert step(scheduler, leader, 1, 0.2) == TrialScheduler.CONTINUE
    assert step(scheduler, last, 1, 0.9) == TrialScheduler.STOP
    assert scheduler.reason("last") == "behind the other trials"


def test_a_spared_trial_is_never_stopped_and_still_counts() -> None:
    scheduler = asha()
    baseline, weak, strong = trial("baseline", spared=True), trial("weak"), trial("strong")
    for one in (baseline, weak, strong):
        scheduler.on_trial_add(None, one)
    assert step(scheduler, strong, 1, 0.1) == TrialScheduler.CONTINUE
    for epoch in range(1, 10):
        assert step(scheduler, baseline, epoch, 0.5) == TrialScheduler.CONTINUE
    assert step(scheduler, weak, 1, 0.6) == TrialScheduler.STOP

    alone = asha()
    baseline, weak = trial("baseline", spared=True), trial("weak")
    for one in (baseline, weak):
        alone.on_trial_add(None, one)
    step(alone, baseline, 1, 0.5)
    assert step(alone, weak, 1, 0.6) == TrialScheduler.STOP, "the baseline's result is not in the rung"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_a_resumed_scheduler_decides_as_one_that_never_stopped(curves: list[tuple[float, ...]]) -> None:
    whole, resumed = asha(), asha()
    for number, curve in enumerate(curves):
        one = trial(f"t{number}")
        whole.on_trial_add(None, one)
        rows = []
        for epoch, value in zip((1, 3, 9), curve, strict=True):
            rows.append({"epoch": epoch, "best_val_dice_loss": value})
            if step(whole, one, epoch, value) == TrialScheduler.STOP:
                break
        resumed.replay(f"t{number}", rows)
    newcomers = trial("new"), trial("new")
    for scheduler, one in zip((whole, resumed), newcomers, strict=True):
        scheduler.on_trial_add(None, one)
    for epoch, value in ((1, 0.5), (3, 0.4)):
        assert step(whole, newcomers[0], epoch, value) == step(resumed, newcomers[1], epoch, value)


def test_a_trial_that_goes_on_is_not_judged_again_by_epochs_it_has_been_through() -> None:
    scheduler = asha()
    scheduler.replay("early", [{"epoch": 1, "best_val_dice_loss": 0.8}])
    scheduler.replay("better", [{"epoch": 1, "best_val_dice_loss": 0.1}])
    again = trial("early")
    scheduler.on_trial_add(None, again)
    assert step(scheduler, again, 1, 0.8) == TrialScheduler.CONTINUE


def outlook(*curves: tuple[float, ...], outlook_after: int = 2, grace_period: int = 1) -> Outlook:
    """Curves of four epochs are complete."""
    entered = Outlook(epochs=4, grace_period=grace_period, outlook_after=outlook_after)
    for number, curve in enumerate(curves):
        for epoch, value in enumerate(curve, start=1):
            entered.enter(f"t{number}", epoch, value)
    return entered


HALVED, FLAT = (0.8, 0.6, 0.5, 0.4), (0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(("value", "hopeless"), [(0.79, False), (0.81, True)])
def test_a_trial_is_hopeless_where_the_steepest_complete_curve_would_not_take_it_to_the_best(
    value: float, hopeless: bool
) -> None:
    judging = outlook(HALVED, FLAT, (value,))
    assert judging.hopeless("t2", 1) is hopeless


def test_no_trial_is_hopeless_before_there_is_enough_to_judge_by() -> None:
    assert not outlook(HALVED, FLAT, (0.9,), outlook_after=3).hopeless("t2", 1)
    assert not outlook(HALVED, FLAT[:3], (0.9,)).hopeless("t2", 1), "a curve that has not ended was judged by"
    assert not outlook(HALVED, FLAT, (0.9,), grace_period=2).hopeless("t2", 1)
    assert not outlook(HALVED, FLAT, (0.9,), outlook_after=0).hopeless("t2", 1)
    assert not outlook(HALVED, FLAT, (0.9, 0.9, 0.9, 0.9)).hopeless("t2", 4), "it has ended"


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=8), st.integers(1, 3))
def test_no_complete_trial_that_became_the_best_would_have_been_hopeless(curves: list[list[float]], epoch: int) -> None:
    running_bests = [tuple(min(curve[: n + 1]) for n in range(4)) for curve in curves]
    judging = outlook(*running_bests, outlook_after=1)
    best = min(range(len(curves)), key=lambda number: running_bests[number][-1])
    ratio = running_bests[best][-1] / then if (then := running_bests[best][epoch - 1]) else 0.0
    rounded_up = then * ratio > running_bests[best][-1]  # its own ratio bounds the smallest but for that
    assert not judging.hopeless(f"t{best}", epoch) or rounded_up


def full(scheduler: SparingASHA, one: Any, curve: tuple[float, ...]) -> None:
    """As Tune does it: of a last epoch, with which a trial is done, the scheduler hears as of its completion."""
    scheduler.on_trial_add(None, one)
    for epoch, value in enumerate(curve[:-1], start=1):
        assert step(scheduler, one, epoch, value) == TrialScheduler.CONTINUE
    last = {"epoch": len(curve), "best_val_dice_loss": curve[-1], "outcome": "complete", "done": True}
    scheduler.on_trial_complete(None, one, last)


def test_a_trial_without_prospect_is_stopped_between_rungs_and_a_spared_one_is_not() -> None:
    scheduler = asha(4, outlook_after=1)
    full(scheduler, trial("baseline", spared=True), HALVED)
    weak, spared = trial("weak"), trial("spared", spared=True)
    for one, decision in ((weak, TrialScheduler.STOP), (spared, TrialScheduler.CONTINUE)):
        scheduler.on_trial_add(None, one)
        assert step(scheduler, one, 1, 0.8) == TrialScheduler.CONTINUE
        assert step(scheduler, one, 2, 0.7) == decision
    assert scheduler.reason("weak") == "no prospect of becoming the best"


def test_a_resumed_outlook_is_that_of_a_run_that_never_stopped() -> None:
    resumed = asha(4, outlook_after=1)
    resumed.replay("baseline", [{"epoch": n, "best_val_dice_loss": v} for n, v in enumerate(HALVED, start=1)])
    resumed.replay("weak", [{"epoch": 1, "best_val_dice_loss": 0.8}])
    weak = trial("weak")
    resumed.on_trial_add(None, weak)
    assert step(resumed, weak, 2, 0.7) == TrialScheduler.STOP


def test_a_trial_that_failed_in_its_last_epoch_is_not_judged_by() -> None:
    scheduler = asha(4, outlook_after=1)
    failed, weak = trial("failed", spared=True), trial("weak")
    scheduler.on_trial_add(None, failed)
    step(scheduler, failed, 1, 0.9)
    step(scheduler, failed, 2, 0.5)
    scheduler.on_trial_complete(None, failed, {"epoch": 4, "best_val_dice_loss": 1.0, "outcome": "failed"})
    scheduler.on_trial_add(None, weak)
    for epoch, value in ((1, 0.85), (2, 0.8)):
        assert step(scheduler, weak, epoch, value) == TrialScheduler.CONTINUE
