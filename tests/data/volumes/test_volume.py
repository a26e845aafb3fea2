"""Slices of volumes; what readers make of them is tested with the readers."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
import pytest

from bts_tune.data.volumes.planes import PLANES
from bts_tune.data.volumes.volume import (
    Volume,
    cut,
    filled_slices,
    nearest_turn,
    on_same_voxels,
    paste,
    pixel_spacing,
    slice_count,
    window_of,
)
from bts_tune.errors import DataError

SHAPE = (5, 6, 7)


@pytest.mark.parametrize("plane", PLANES)
def test_slices_that_are_pasted_make_the_volume(plane: str) -> None:
    values = np.random.default_rng(0).integers(0, 1000, SHAPE)
    again = np.zeros_like(values)
    for index in range(slice_count(SHAPE, plane)):
        paste(again, plane, index, cut(values, plane, index))
    assert np.array_equal(again, values)


def test_the_front_and_the_head_are_up_and_right_is_right() -> None:
    values = np.zeros(SHAPE)
    values[4, 5, 6] = 1  # right, front, top
    for plane, index in (("axial", 6), ("coronal", 5), ("sagittal", 4)):
        assert cut(values, plane, index)[0, -1] == 1
        assert filled_slices(values, plane).tolist() == [one == index for one in range(slice_count(SHAPE, plane))]


@pytest.mark.parametrize(
    ("lower", "size", "labels", "ignored", "shown"),
    [
        (1, 4, None, (), [0, 1]),  # 255 beside a region of 1
        (1, 1, None, (), [0, 1, 2, 3]),  # a speck of 1
        (1, 4, None, (1,), []),
        (1, 4, [255], (), [1, 2, 3]),
        (0, 4, None, (), [1, 2, 3]),  # 255 alone
        (100, 4, None, (), [0, 1, 2, 3]),  # values between
    ],
)
def test_ignored_labels_fill_no_slice(
    lower: int, size: int, labels: list[float] | None, ignored: tuple[float, ...], shown: list[int]
) -> None:
    mask = np.zeros((8, 8, 5), dtype=np.uint8)
    mask[2 : 2 + size, 2 : 2 + size, :2], mask[7, 7, 1:4] = lower, 255
    assert np.flatnonzero(filled_slices(mask, "axial", labels, ignored)).tolist() == shown


def test_the_spacing_is_of_rows_then_of_columns() -> None:
    found = [pixel_spacing((1.0, 2.0, 3.0), plane) for plane in ("axial", "coronal", "sagittal")]
    assert found == [(2.0, 1.0), (3.0, 1.0), (3.0, 2.0)]


@pytest.mark.parametrize("inverted", [False, True])
def test_grey_values_are_those_of_the_window(inverted: bool) -> None:
    values = np.zeros((3, 1, 1)) + np.array([-5.0, 5.0, 100.0]).reshape(3, 1, 1)
    volume = Volume(values, (1, 1, 1), np.eye(4), (0.0, 10.0), inverted)
    expected = np.array([0, 128, 255])
    assert volume.grey("axial", 0, "v")[0].tolist() == (255 - expected if inverted else expected).tolist()


def test_a_constant_volume_is_black_and_infinite_values_are_refused() -> None:
    constant = np.full(SHAPE, 7.0)
    assert not Volume(constant, (1, 1, 1), np.eye(4), window_of(constant)).grey("axial", 0, "v").any()
    constant[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="v: holds values that are infinite"):
        Volume(constant, (1, 1, 1), np.eye(4), window_of(constant)).grey("axial", 0, "v")


@pytest.mark.parametrize("seed", range(12))
def test_a_file_is_turned_to_the_nearest_axes_as_nibabel_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small, _ = np.linalg.qr(np.eye(3) + rng.normal(0, 0.1, (3, 3)))
    affine: np.ndarray = np.eye(4)
    affine[:3, :3] = (small * np.sign(np.diag(small)))[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine[:3, :3] *= rng.uniform(0.5, 4, 3)
    affine[:3, 3] = rng.normal(0, 50, 3)
    values = rng.integers(0, 1000, SHAPE).astype(np.int16)
    canonical: Any = nibabel.as_closest_canonical(nibabel.Nifti1Image(values, affine))
    turn = nearest_turn(affine)
    assert np.array_equal(turn.to_body(values), np.asanyarray(canonical.dataobj))
    assert turn.affine(affine, SHAPE) == pytest.approx(canonical.affine, abs=1e-4)
    assert np.array_equal(turn.to_file(turn.to_body(values)), values)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ([[0, 0, 0, 0.2]], True),
        ([[0, 0, 0, 0.26]], False),
        ([[0.002, 0, 0, 0]], True),
        ([[0.003, 0, 0, 0]], False),
        ([[0, 0, 0, 0.17], [0, 0, 0, 0.17]], True),
        ([[0, 0, 0, 0.2], [0, 0, 0, 0.2]], False),
    ],
)
def test_voxels_are_the_same_up_to_a_quarter_of_their_shortest_side(change: list[list[float]], same: bool) -> None:
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    other = affine.copy()
    other[: len(change)] += change
    assert on_same_voxels(affine, other, (101, 101, 20)) == same
