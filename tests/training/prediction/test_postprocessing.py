from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.training.prediction.postprocessing import GRID, SMALLEST, THRESHOLDS, Postprocessing, choose, grid_counts


def blob(size: int = 64, radius: float = 12) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return ((y - 32) ** 2 + (x - 32) ** 2 < radius**2).astype(np.uint8)


def test_without_anything_chosen_a_mask_is_what_lies_above_one_half() -> None:
    probability = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    assert np.array_equal(Postprocessing().mask(probability), probability > 0.5)


def test_regions_below_the_smallest_are_dropped_and_those_of_its_size_stay() -> None:
    probability = np.zeros((100, 100), dtype=np.float32)
    probability[:2, :5] = probability[50:53, 50:53] = 1.0  # 10 and 9 pixels
    probability[53, 53] = 1.0  # touches the second at a corner: 10
    probability[80, 80] = 1.0
    mask = Postprocessing(smallest_region=0.001).mask(probability)
    assert mask.sum() == 20
    assert mask[80, 80] == 0


def test_a_model_that_is_too_timid_gets_a_lower_threshold() -> None:
    truth = blob()
    timid = (0.1 + 0.25 * truth).astype(np.float32)
    found = choose([(timid, truth)])
    assert 0.1 <= found.threshold < 0.35
    assert np.array_equal(found.mask(timid), truth)


def test_specks_are_dropped_where_that_helps() -> None:
    truth = blob()
    speckled = truth.astype(np.float32).copy()
    speckled[2, 2] = speckled[60, 5] = 0.9
    found = choose([(speckled, truth)])
    assert found.smallest_region > 0
    assert np.array_equal(found.mask(speckled), truth)


def test_of_equals_what_is_done_without_is_kept() -> None:
    truth = blob()
    assert choose([(truth.astype(np.float32), truth)]) == Postprocessing()
    empty = np.zeros((16, 16), dtype=np.uint8)
    assert choose([(empty.astype(np.float32), empty)]) == Postprocessing()


@given(st.sampled_from(THRESHOLDS), st.sampled_from(SMALLEST), st.integers(0, 1000))
def test_more_postprocessing_never_adds_a_pixel(threshold: float, smallest: float, seed: int) -> None:
    probability = np.random.default_rng(seed).random((24, 24), dtype=np.float32)
    plain = Postprocessing(threshold).mask(probability)
    assert (Postprocessing(threshold, smallest).mask(probability) <= plain).all()


@given(st.integers(0, 1000), st.booleans())
def test_the_counts_of_an_image_are_those_of_its_masks(seed: int, empty: bool) -> None:
    random = np.random.default_rng(seed)
    probability = random.random((24, 20), dtype=np.float32) ** 2
    truth = np.zeros((24, 20), dtype=np.uint8) if empty else (random.random((24, 20)) > 0.7).astype(np.uint8)
    counts = grid_counts(probability, truth)
    for one, (hits, alarms, misses) in zip(GRID, counts, strict=True):
        mask = one.mask(probability)
        expected = ((mask & truth).sum(), (mask & ~truth & 1).sum(), (~mask & truth & 1).sum())
        assert (hits, alarms, misses) == expected
