from __future__ import annotations

from bts_tune.space.layers import scaled_grace_period, still_searched, within_budget, without_choices
from bts_tune.space.parameter import Parameter


def choices(*values: object, **when: list[object]) -> Parameter:
    return Parameter(choices=list(values), when=when)


def test_thawing_within_the_budget() -> None:
    parameters = {
        "freeze": choices("none", "epochs"),
        "freeze_epochs": Parameter(int=[1, 10], when={"freeze": ["epochs"]}),
    }
    assert within_budget(parameters, 5)["freeze_epochs"].bounds == (1, 4)
    without = within_budget(parameters, 1)
    assert without["freeze"].choices == ["none"]
    assert "freeze_epochs" not in without


def test_what_is_fixed_is_no_longer_searched() -> None:
    parameters = {"optimizer": choices("adam", "adamw"), "weight_decay": choices(0.1, 0.2, optimizer=["adamw"])}
    assert still_searched(parameters, {"optimizer": "adam"}, {"optimizer"}) == {}
    (left,) = still_searched(parameters, {"optimizer": "adamw"}, {"optimizer"}).values()
    assert left.when == {}


def test_what_a_fixed_field_leaves_without_effect_is_no_longer_searched() -> None:
    parameters = {"momentum": choices(0.5, 0.9), "ema_decay": choices(0.9, 0.99)}
    fields = {"optimizer": "adam", "weight_average": "none"}
    assert list(still_searched(parameters, fields, {"optimizer"})) == ["ema_decay"]
    assert list(still_searched(parameters, {**fields, "optimizer": "sgd"}, {"optimizer"})) == ["momentum", "ema_decay"]


def test_the_grace_period_is_the_same_share_of_a_smaller_budget() -> None:
    assert scaled_grace_period(6, epochs=10, documented=30) == 2
    assert scaled_grace_period(6, epochs=1, documented=30) == 1
    assert scaled_grace_period(6, epochs=60, documented=30) == 6


def test_the_grace_period_is_at_most_the_budget() -> None:
    assert scaled_grace_period(40, epochs=30, documented=30) == 30
    assert scaled_grace_period(40, epochs=35, documented=30) == 35
    assert scaled_grace_period(90, epochs=10, documented=30) == 10


def test_without_a_choice_what_hangs_on_it_goes_too() -> None:
    parameters = {
        "encoder": choices("a", "b", "c"),
        "freeze": choices("none", "all", encoder=["b"]),
        "weight_decay": choices(0.1, freeze=["all"]),
        "optimizer": choices("adam", "adamw", encoder=["a", "b"]),
    }
    left = without_choices(parameters, "encoder", {"b"})
    assert list(left) == ["encoder", "optimizer"]
    assert (left["encoder"].choices, left["optimizer"].when) == (["a", "c"], {"encoder": ["a"]})
    assert without_choices(parameters, "encoder", {"c"})["freeze"] == parameters["freeze"]
