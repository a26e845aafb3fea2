from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from bts_tune.experiment.search.scheduler import ASHAWithProtectedTrials


def asha(epochs: int = 9, *, longest: int = 0, min_complete_trials: int = 0) -> ASHAWithProtectedTrials:
    return ASHAWithProtectedTrials(
        epochs=epochs,
        longest=max(epochs, longest),
        grace_period=1,
        reduction_factor=3,
        min_complete_trials=min_complete_trials,
    )


def trial(name: str, *, protected: bool = False) -> Any:
    return SimpleNamespace(trial_id=f"ray-{name}", config={"trial": name, "protected": protected})


def step(scheduler: ASHAWithProtectedTrials, one: Any, epoch: int, value: float) -> str:
    return scheduler.on_trial_result(None, one, {"epoch": epoch, "best_val_dice_loss": value})


def test_a_trial_behind_at_a_rung_is_stopped() -> None:
    scheduler = asha()
    leader, last = trial("leader"), trial("last")
    for one in (leader, last):
        scheduler.on_trial_add(None, one)
    assert step(scheduler, leader, 1, 0.2) == TrialScheduler.CONTINUE
    assert step(scheduler, last, 1, 0.9) == TrialScheduler.STOP
    assert scheduler.reason("last") == "behind the other trials"


def test_a_named_trial_that_is_longer_than_the_search_goes_on_to_its_own_end() -> None:
    scheduler, one = asha(4, longest=12), trial("long")
    scheduler.on_trial_add(None, one)
    assert {step(scheduler, one, epoch, 1 / epoch) for epoch in range(1, 12)} == {TrialScheduler.CONTINUE}


def test_a_protected_trial_is_never_stopped_and_still_counts() -> None:
    scheduler = asha()
    baseline, weak, strong = trial("baseline", protected=True), trial("weak"), trial("strong")
    for one in (baseline, weak, strong):
        scheduler.on_trial_add(None, one)
    assert step(scheduler, strong, 1, 0.1) == TrialScheduler.CONTINUE
    for epoch in range(1, 10):
        assert step(scheduler, baseline, epoch, 0.5) == TrialScheduler.CONTINUE
    assert step(scheduler, weak, 1, 0.6) == TrialScheduler.STOP

    alone = asha()
    baseline, weak = trial("baseline", protected=True), trial("weak")
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


HALVED = (0.8, 0.6, 0.5, 0.4)


def full(scheduler: ASHAWithProtectedTrials, one: Any, curve: tuple[float, ...]) -> None:
    """As Tune does it: of a last epoch, with which a trial is done, the scheduler hears as of its completion."""
    scheduler.on_trial_add(None, one)
    for epoch, value in enumerate(curve[:-1], start=1):
        assert step(scheduler, one, epoch, value) == TrialScheduler.CONTINUE
    last = {"epoch": len(curve), "best_val_dice_loss": curve[-1], "outcome": "complete", "done": True}
    scheduler.on_trial_complete(None, one, last)


def test_a_trial_without_prospect_is_stopped_between_rungs_and_a_protected_one_is_not() -> None:
    scheduler = asha(4, min_complete_trials=1)
    full(scheduler, trial("baseline", protected=True), HALVED)
    weak, protected = trial("weak"), trial("protected", protected=True)
    for one, decision in ((weak, TrialScheduler.STOP), (protected, TrialScheduler.CONTINUE)):
        scheduler.on_trial_add(None, one)
        assert step(scheduler, one, 1, 0.8) == TrialScheduler.CONTINUE
        assert step(scheduler, one, 2, 0.7) == decision
    assert scheduler.reason("weak") == "no prospect of becoming the best"


def test_learning_curves_of_a_resumed_run_are_those_of_one_that_never_stopped() -> None:
    resumed = asha(4, min_complete_trials=1)
    resumed.replay("baseline", [{"epoch": n, "best_val_dice_loss": v} for n, v in enumerate(HALVED, start=1)])
    resumed.replay("weak", [{"epoch": 1, "best_val_dice_loss": 0.8}])
    weak = trial("weak")
    resumed.on_trial_add(None, weak)
    assert step(resumed, weak, 2, 0.7) == TrialScheduler.STOP


def test_a_trial_that_failed_in_its_last_epoch_is_not_judged_by() -> None:
    scheduler = asha(4, min_complete_trials=1)
    failed, weak = trial("failed", protected=True), trial("weak")
    scheduler.on_trial_add(None, failed)
    step(scheduler, failed, 1, 0.9)
    step(scheduler, failed, 2, 0.5)
    scheduler.on_trial_complete(None, failed, {"epoch": 4, "best_val_dice_loss": 1.0, "outcome": "failed"})
    scheduler.on_trial_add(None, weak)
    for epoch, value in ((1, 0.85), (2, 0.8)):
        assert step(scheduler, weak, epoch, value) == TrialScheduler.CONTINUE
