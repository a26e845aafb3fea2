"""Boundaries, regions and boxes, against definitions written out and against MONAI and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from bts_tune.results.record.scores import Shapes
from bts_tune.training.shapes import MAX_REGIONS, TOLERANCE, ShapeCollector, boundary_figures

Mask = np.ndarray


def box(left: int, top: int, width: int, height: int, size: int = 32) -> Mask:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def collected(probabilities: np.ndarray, truths: np.ndarray, batch: int = 100) -> Shapes:
    collector = ShapeCollector()
    for start in range(0, len(truths), batch):
        logits = torch.logit(torch.from_numpy(probabilities[start : start + batch]).float())
        collector.add(logits.unsqueeze(1), torch.from_numpy(truths[start : start + batch]).unsqueeze(1).float())
    return collector.shapes()


def edge(mask: Mask) -> np.ndarray:
    """The coordinates of a mask's pixels that have a neighbour outside of it."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    values = draw(st.lists(st.integers(0, 5), min_size=144, max_size=144))
    return np.array(values).reshape(12, 12) > draw(st.integers(1, 4))


@given(masks(), masks())
@settings(deadline=None, max_examples=60)
def test_boundaries_by_their_definitions(predicted: Mask, truth: Mask) -> None:
    if not predicted.any() or not truth.any():
        return
    found, dice = boundary_figures(predicted, truth)
    distances = cdist(edge(predicted), edge(truth))
    forth, back = distances.min(axis=1), distances.min(axis=0)
    assert found == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)), abs=1e-5)
    within = (forth <= TOLERANCE).sum() + (back <= TOLERANCE).sum()
    assert dice == pytest.approx(within / (len(forth) + len(back)), abs=1e-6)


@given(masks(), masks())
@settings(deadline=None, max_examples=40)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_boundaries_are_those_of_monai(predicted: Mask, truth: Mask) -> None:
    # Here, since every worker reads this file, and MONAI takes seconds.
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    if not predicted.any() or not truth.any():
        return
    one, other = (torch.from_numpy(mask)[None, None] for mask in (predicted, truth))
    distance = compute_hausdorff_distance(one, other, include_background=True, percentile=95)
    dice = compute_surface_dice(one, other, class_thresholds=[TOLERANCE], include_background=True)
    assert boundary_figures(predicted, truth) == pytest.approx((distance.item(), dice.item()), abs=1e-5)


def test_boundaries_of_a_shifted_box() -> None:
    distance, dice = boundary_figures(box(8, 8, 10, 10), box(11, 8, 10, 10))
    assert distance == pytest.approx(3.0)
    assert 0.5 < dice < 1.0
    assert boundary_figures(box(8, 8, 10, 10), box(10, 8, 10, 10)) == (2.0, 1.0)
    assert boundary_figures(box(0, 0, 32, 32), box(0, 0, 32, 32)) == (0.0, 1.0)


def test_boundaries_of_empty_masks() -> None:
    nothing, something = box(0, 0, 0, 0), box(3, 3, 4, 4)
    assert np.isnan(boundary_figures(nothing, nothing)).all()
    for pair in ((nothing, something), (something, nothing)):
        distance, dice = boundary_figures(*pair)
        assert np.isnan(distance)
        assert dice == 0.0


def test_boxes_are_those_that_opencv_draws() -> None:
    random = np.random.default_rng(1)
    truths = ndimage.gaussian_filter(random.random((6, 32, 32)), (0, 2, 2)) > 0.52
    found = collected(np.full((6, 32, 32), 0.1), truths)
    for place, mask in enumerate(truths):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        expected = {cv2.boundingRect(contour) for contour in contours}
        assert {tuple(row[1:].astype(int)) for row in found.true_boxes if row[0] == place} == expected
    assert found.boxes.shape == (0, 6)


def test_a_regions_score_is_its_mean_probability() -> None:
    probability = np.full((1, 32, 32), 0.2)
    probability[0, 4:8, 4:8] = 0.9
    probability[0, 20:22, 10:20] = 0.6
    probability[0, 22, 20] = 0.8  # touches the corner of the region above
    found = collected(probability, box(5, 5, 2, 2)[None])
    np.testing.assert_allclose(found.true_boxes, [[0, 5, 5, 2, 2]])
    np.testing.assert_allclose(
        found.boxes, [[0, 4, 4, 4, 4, 0.9], [0, 10, 20, 11, 3, (20 * 0.6 + 0.8) / 21]], rtol=1e-5
    )
    assert list(found.false_positive_area) == [21]


def test_of_countless_regions_the_likeliest_are_kept() -> None:
    probability = np.full((1, 64, 64), 0.1)
    probability[0, ::2, ::2] = np.linspace(0.6, 0.9, 32 * 32).reshape(32, 32)
    found = collected(probability, np.zeros((1, 64, 64), dtype=bool))
    assert len(found.boxes) == MAX_REGIONS
    assert found.boxes[:, 5].min() > 0.86
    assert list(found.false_positive_area) == [1024]


def test_conventions_where_nothing_is_there_or_nothing_predicted() -> None:
    truths = np.stack([box(0, 0, 0, 0), box(4, 4, 8, 8), box(0, 0, 0, 0), box(4, 4, 8, 8)])
    predicted = np.stack([box(0, 0, 0, 0), box(0, 0, 0, 0), box(4, 4, 8, 8), box(4, 4, 8, 8)])
    found = collected(np.where(predicted, 0.9, 0.1), truths)
    np.testing.assert_array_equal(found.hausdorff, [np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(found.surface_dice, [np.nan, 0, 0, 1])
    np.testing.assert_array_equal(found.false_positive_area, [0, 0, 64, 0])
    assert list(found.true_boxes[:, 0]) == [1, 3]
    assert list(found.boxes[:, 0]) == [2, 3]
    assert found.problem(4) is None


@given(st.integers(1, 9), st.permutations(range(7)))
@settings(deadline=None, max_examples=25)
def test_neither_batch_size_nor_order_matters(batch: int, order: list[int]) -> None:
    random = np.random.default_rng(3)
    probability = ndimage.gaussian_filter(random.random((7, 16, 16)), (0, 1.5, 1.5))
    probability = ((probability - 0.5) * 4 + 0.5).clip(0.01, 0.99)
    truths = np.stack([box(number, 4, 6, 5, size=16) for number in range(7)])
    whole, parts = collected(probability, truths), collected(probability[order], truths[order], batch)
    for name in ("hausdorff", "surface_dice", "false_positive_area"):
        np.testing.assert_array_equal(getattr(whole, name)[order], getattr(parts, name))
    for name in ("true_boxes", "boxes"):
        moved = getattr(parts, name).copy()
        moved[:, 0] = np.array(order)[moved[:, 0].astype(int)]
        np.testing.assert_array_equal(moved[np.argsort(moved[:, 0], kind="stable")], getattr(whole, name))


def test_a_split_without_images_has_no_shapes() -> None:
    assert ShapeCollector().shapes().problem(0) is None
