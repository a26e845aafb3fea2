"""What a trial was given."""

from __future__ import annotations

from typing import Any

import pytest

from bts_tune.results.resources import gpus_per_trial


@pytest.mark.parametrize(
    ("options", "expected"), [({"gpus_per_trial": 0.5}, 0.5), ({"gpus_per_trial": None}, 1.0), ({}, 1.0), ([], 1.0)]
)
def test_gpus_of_a_trial(options: Any, expected: float) -> None:
    assert gpus_per_trial({"options": options}) == expected
