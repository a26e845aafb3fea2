from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.data.readers._polygons import MAX_POINTS, crosses_itself
from tests.data.builders import rectangle


@pytest.mark.parametrize(
    ("polygon", "crosses"),
    [
        ([5, 5, 30, 30, 30, 5, 5, 30], True),
        ([0, 0, 9, 9, 9, 0, 0, 9, 0, 0], True),
        (rectangle(1, 2, 3, 4), False),
        ([0, 0, 10, 0, 10, 10, 5, 2, 0, 10], False),
        ([0, 0, 10, 0, 5, 5, 5, 0, 0, 10], False),  # touches an edge
        ([0, 0, 4, 0, 2, 0, 6, 0], False),  # lies on itself
        ([3, 3, 3, 3, 3, 3, 3, 3], False),
        ([1, 1, 5, 5, 9, 1], False),
        ([1, 1, 5, 5], False),
        ([], False),
    ],
)
def test_crossing(polygon: list[float], crosses: bool) -> None:
    assert crosses_itself(polygon) is crosses


@given(st.integers(4, 40), st.integers(0, 1000))
def test_a_star_shaped_outline_does_not_cross_and_swapping_two_corners_of_a_convex_one_does(
    points: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(points) / points
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert not crosses_itself((ring * random.uniform(0.5, 9, (points, 1))).ravel().tolist())
    ring[[1, 2]] = ring[[2, 1]]
    assert crosses_itself(ring.ravel().tolist())


def test_a_gigantic_polygon_costs_nothing() -> None:
    begun = time.monotonic()
    crosses_itself(np.zeros(2 * MAX_POINTS).tolist())
    assert not crosses_itself([0.0, 1.0] * 10**5)
    assert time.monotonic() - begun < 2
