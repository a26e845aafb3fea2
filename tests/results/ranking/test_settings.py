"""Settings as they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.results.ranking.settings import gpus_per_trial, settings, varied_fields
from bts_tune.testing.runs import make_trial


def test_settings_show_what_is_not_the_default() -> None:
    record = make_trial("a", encoder="resnet34", learning_rate=3.14159e-4, freeze="all", seed=7, epochs=3)
    assert settings(record) == "unet / resnet34, learning_rate 0.000314, freeze all"
    assert settings(record, ["batch_size"]) == "unet / resnet34, learning_rate 0.000314"
    assert varied_fields([record, make_trial("b", seed=7, epochs=3)]) == ["learning_rate", "encoder", "freeze"]


@pytest.mark.parametrize(
    ("options", "expected"), [({"gpus_per_trial": 0.5}, 0.5), ({"gpus_per_trial": None}, 1.0), ({}, 1.0), ([], 1.0)]
)
def test_gpus_of_a_trial(options: Any, expected: float) -> None:
    assert gpus_per_trial({"options": options}) == expected
