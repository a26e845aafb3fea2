"""Outlines of masks: exact, along the sides of the pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bts_tune.report.figures.outlines import outline


def filled(path: str, size: int) -> np.ndarray:
    """Return the pixels whose left side is crossed an odd number of times by the path's upright lines."""
    crossed = np.zeros((size, size + 1), int)
    for x, y, length in re.findall(r"M(\d+) (\d+)v(\d+)", path):
        crossed[int(y) : int(y) + int(length), int(x)] += 1
    return (np.cumsum(crossed, axis=1)[:, :size] % 2).astype(bool)


def test_a_rectangle_has_four_sides() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:3, 2:5] = True
    assert outline(mask) == "M2 1h3M2 3h3M2 1v2M5 1v2"


def test_an_empty_mask_has_no_outline_and_a_full_one_that_of_the_image() -> None:
    assert outline(np.zeros((4, 4), bool)) == ""
    assert outline(np.ones((4, 4), bool)) == "M0 0h4M0 4h4M0 0v4M4 0v4"


@pytest.mark.parametrize("seed", range(3))
def test_what_it_encloses_is_the_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((12, 12)) > 0.6
    path = outline(mask)
    assert (filled(path, 12) == mask).all()
    turned = re.sub(r"M(\d+) (\d+)([hv])", lambda m: f"M{m[2]} {m[1]}{'v' if m[3] == 'h' else 'h'}", path)
    assert (filled(turned, 12) == mask.T).all()
