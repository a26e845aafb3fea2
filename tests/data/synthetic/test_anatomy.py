"""A synthetic patient: slices that can be cut again, and a tumour that shows in exactly the slices asked for."""

from __future__ import annotations

import numpy as np
import pytest

from bts_tune.data.synthetic.anatomy import Patient, random_stream


def test_a_slice_can_be_cut_again_in_any_order() -> None:
    patient = Patient(seed=3, number=1, slices=6, tumor_slices=4)
    first = [patient.render(index, 64) for index in range(6)]
    again = [Patient(seed=3, number=1, slices=6, tumor_slices=4).render(index, 64) for index in reversed(range(6))]
    for (image, mask), (same_image, same_mask) in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(mask, same_mask)


@pytest.mark.parametrize("tumor_slices", [0, 1, 3, 6])
def test_the_tumour_shows_in_neighbouring_slices_as_many_as_asked_for(tumor_slices: int) -> None:
    for number in range(5):
        patient = Patient(seed=0, number=number, slices=6, tumor_slices=tumor_slices)
        shown = [bool(patient.render(index, 64)[1].any()) for index in range(6)]
        assert sum(shown) == tumor_slices
        places = np.flatnonzero(shown)
        assert np.all(np.diff(places) == 1)
        assert (patient.tumor is None) == (tumor_slices == 0)


def test_the_tumour_lies_within_the_head() -> None:
    for number in range(10):
        patient = Patient(seed=1, number=number, slices=3, tumor_slices=3)
        image, mask = patient.render(1, 128)
        assert mask.dtype == image.dtype == np.uint8
        assert set(np.unique(mask).tolist()) == {0, 1}
        assert not mask[:8].any()
        assert not mask[:, :8].any()
        assert image[mask == 1].mean() > 2 * image[:8, :8].mean()


def test_plain_tumours_are_larger_and_bright_in_the_same_heads() -> None:
    areas = []
    for number in range(12):
        varied, plain = (Patient(seed=1, number=number, slices=2, tumor_slices=2, plain=one) for one in (False, True))
        assert plain.tumor is not None
        assert plain.tumor.kind == "solid"
        assert plain.contrast_agent
        assert plain.half_length == varied.half_length
        (_, small), (image, large) = varied.render(0, 64), plain.render(0, 64)
        areas.append((int(small.sum()), int(large.sum())))
        assert image[large == 1].mean() > image[(large == 0) & (image > 0)].mean()
    assert sum(large for _, large in areas) > 1.5 * sum(small for small, _ in areas)


def test_patients_and_seeds_differ() -> None:
    images = [Patient(seed, number, 2, 0).render(0, 32)[0] for seed in (0, 1) for number in (0, 1)]
    assert len({image.tobytes() for image in images}) == 4


def test_streams_of_random_numbers_are_independent_by_key() -> None:
    drawn = [random_stream(*key).random() for key in ((0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0))]
    assert len(set(drawn)) == 4
    assert random_stream(0, 1, 0).random() == drawn[0]
