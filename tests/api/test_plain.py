from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bts_tune.api.plain import plain


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("all"), "all"),
        (np.array([[1, 2]]), [[1, 2]]),
        (torch.tensor(2), 2),
        ({"a": (np.int8(1), {"b": np.float32(0.25)})}, {"a": [1, {"b": 0.25}]}),
        (Path("a/b"), "a/b"),
        (None, None),
        (1.5, 1.5),
        (np.float64, np.float64),
    ],
)
def test_values_are_those_of_plain_json(given: Any, expected: Any) -> None:
    found = plain(given)
    assert found == expected
    assert type(found) is type(expected)
