from __future__ import annotations

import io

import numpy as np
from PIL import Image

from bts_tune.report.figures.critical_difference import critical_difference_diagram

BLUE = (0, 114, 178)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def blue_rows(png: bytes) -> int:
    return int((pixels(png) == BLUE).all(axis=2).any(axis=1).sum())


def test_bars_are_drawn_over_what_cannot_be_told_apart_alone() -> None:
    names, means = ["plain", "nested", "light"], [1.2, 1.9, 2.9]
    assert blue_rows(critical_difference_diagram(names, means, 0.5)) == 0
    one_bar = blue_rows(critical_difference_diagram(names, means, 0.8))
    two_bars = blue_rows(critical_difference_diagram(names, means, 1.05))
    assert 0 < one_bar < two_bars


def test_nothing_is_cut_off_with_long_names_and_many_configurations() -> None:
    names = [f"a configuration with a long name {number}" for number in range(12)]
    image = pixels(critical_difference_diagram(names, list(np.linspace(1.5, 11.5, 12)), 3.0))
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (edge == 255).all()
