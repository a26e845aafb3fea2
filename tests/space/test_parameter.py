from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.errors import ConfigError
from bts_tune.space.parameter import Parameter, check_fields, check_parameters, range_kind

TRIAL = optuna.trial.FixedTrial


@given(st.floats(1e-5, 1e-2))
def test_a_range_draws_what_it_contains(value: float) -> None:
    parameter = Parameter(float=[1e-5, 1e-2], log=True)
    assert parameter.suggest("learning_rate", TRIAL({"learning_rate": value})) == value
    assert parameter.contains(value)
    assert not parameter.contains(0.1)


def test_steps_and_values() -> None:
    parameter = Parameter(int=[1, 7], step=3)
    assert parameter.values() == [1, 4, 7]
    assert parameter.contains(4)
    assert not parameter.contains(5)
    with pytest.raises(TypeError, match="no list of values"):
        Parameter(float=[0.0, 1.0]).values()


def test_a_field_of_a_loss_is_checked_as_it_declares_it() -> None:
    assert check_fields({"tversky_alpha": 1}, "x") == {"tversky_alpha": 1.0}
    with pytest.raises(ConfigError, match=r"x\.tversky_alpha: input should be less than or equal to 1"):
        check_fields({"tversky_alpha": 2}, "x")
    assert range_kind("tversky_alpha") == "float"
    assert range_kind("loss") is None


def test_a_condition_must_name_an_earlier_choice() -> None:
    loss = Parameter(choices=["focal", "tversky"])
    alpha = Parameter(float=[0.1, 0.9], when={"loss": ["tversky"]})
    found = check_parameters({"loss": loss, "tversky_alpha": alpha}, "p")
    assert found["tversky_alpha"].holds({"loss": "tversky"})
    assert not found["tversky_alpha"].holds({"loss": "focal"})
    with pytest.raises(ConfigError, match="is not an earlier parameter with choices"):
        check_parameters({"tversky_alpha": alpha}, "p")
