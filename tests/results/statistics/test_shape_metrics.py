"""Metrics of boundaries and boxes: COCO's average precision by hand, and what empty splits give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.results.record.scores import Shapes
from bts_tune.results.statistics.shape_metrics import average_precision, box_iou, shape_metrics

Row = tuple[float, ...]


def shapes(images: int, true: Sequence[Row], predicted: Sequence[Row], **changes: Any) -> Shapes:
    """True regions as (image, left, top, width, height), predicted ones with a score behind."""
    found = Shapes(
        tolerance=2.0,
        hausdorff=np.full(images, np.nan),
        surface_dice=np.full(images, np.nan),
        false_positive_area=np.zeros(images),
        true_boxes=np.array(true, dtype=float).reshape(-1, 5),
        boxes=np.array(predicted, dtype=float).reshape(-1, 6),
    )
    return replace(found, **changes)


def plain_average_precision(found: Shapes) -> float:
    """COCO's 101-point interpolation, written out."""
    taken: set[int] = set()
    hits = []
    for image, left, top, width, height, _ in sorted(found.boxes.tolist(), key=lambda row: -row[5]):
        best, match = 0.5, None
        for number, (at, x, y, w, h) in enumerate(found.true_boxes.tolist()):
            if at != image or number in taken:
                continue
            across = max(0.0, min(left + width, x + w) - max(left, x))
            down = max(0.0, min(top + height, y + h) - max(top, y))
            iou = across * down / (width * height + w * h - across * down)
            if iou >= best:
                best, match = iou, number
        hits.append(match is not None)
        taken |= {match} if match is not None else set()
    found_so_far = np.cumsum(hits)
    recall = found_so_far / len(found.true_boxes)
    precision = found_so_far / np.arange(1, len(hits) + 1)
    points = np.linspace(0, 1, 101)
    return float(np.mean([precision[recall >= point].max(initial=0.0) for point in points]))


def test_average_precision_by_hand() -> None:
    true = [(0, 0, 0, 10, 10), (1, 20, 20, 10, 10)]
    both = [(0, 0, 0, 10, 10, 0.9), (1, 20, 20, 10, 10, 0.8)]
    assert average_precision(shapes(2, true, both)) == 1.0
    assert average_precision(shapes(2, true, both[:1])) == pytest.approx(51 / 101)
    # A false box of the highest score halves the precision up to the first hit.
    wrong = [(0, 40, 40, 10, 10, 0.95), *both]
    assert average_precision(shapes(2, true, wrong)) == pytest.approx(2 / 3)
    # An IoU of a third is no match.
    assert average_precision(shapes(2, true, [(0, 5, 0, 10, 10, 0.9)])) == 0.0


@st.composite
def scenes(draw: st.DrawFn) -> Shapes:
    edge = st.integers(1, 12)
    box = st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12), edge, edge)
    true = draw(st.lists(box, min_size=1, max_size=8))
    predicted = draw(st.lists(box, max_size=8))
    near = [(image, x + 1, y, w, h) for image, x, y, w, h in true[: draw(st.integers(0, 8))]]
    boxes = [(*row, 0.99 - 0.01 * number) for number, row in enumerate([*predicted, *near])]
    return shapes(4, true, boxes)


@given(scenes())
@settings(deadline=None, max_examples=80)
def test_average_precision_by_its_definition(found: Shapes) -> None:
    measured = average_precision(found)
    assert measured is not None
    assert measured == pytest.approx(plain_average_precision(found) if len(found.boxes) else 0.0, abs=1e-9)


@given(scenes(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_images_and_regions_changes_nothing(found: Shapes, random: Any) -> None:
    images, rows = list(range(4)), list(range(len(found.boxes)))
    random.shuffle(images)
    random.shuffle(rows)
    renamed = np.argsort(images)
    moved = replace(found, boxes=found.boxes[rows].copy(), true_boxes=found.true_boxes[::-1].copy())
    for boxes in (moved.boxes, moved.true_boxes):
        boxes[:, 0] = renamed[boxes[:, 0].astype(int)]
    assert average_precision(moved) == pytest.approx(average_precision(found))
    assert box_iou(moved) == pytest.approx(box_iou(found))


def test_box_iou_is_that_of_the_best_box_of_the_image() -> None:
    true = [(0, 0, 0, 10, 10), (1, 0, 0, 10, 10), (2, 0, 0, 10, 10)]
    predicted = [(0, 0, 0, 10, 5, 0.6), (0, 30, 30, 5, 5, 0.9), (1, 5, 0, 10, 10, 0.7), (3, 0, 0, 10, 10, 0.9)]
    assert box_iou(shapes(4, true, predicted)) == pytest.approx((0.5 + 1 / 3 + 0) / 3)


def test_where_nothing_is_there_or_nothing_predicted() -> None:
    nothing = shape_metrics(shapes(2, [], []))
    assert (nothing.average_precision, nothing.box_iou, nothing.hausdorff, nothing.surface_dice) == (None,) * 4
    alarm = shape_metrics(shapes(2, [], [(0, 1, 1, 4, 4, 0.8)], surface_dice=np.array([0.0, np.nan])))
    assert (alarm.average_precision, alarm.surface_dice, alarm.regions) == (None, None, 1)
    lost = shape_metrics(shapes(2, [(1, 1, 1, 4, 4)], [], surface_dice=np.array([np.nan, 0.0])))
    assert (lost.average_precision, lost.box_iou, lost.surface_dice) == (0.0, 0.0, 0.0)
    assert (lost.hausdorff, lost.measured, lost.tumours) == (None, 0, 1)


def test_means_stand_beside_the_number_of_their_images() -> None:
    found = shape_metrics(
        shapes(
            3,
            [(0, 1, 1, 4, 4), (0, 9, 9, 4, 4), (2, 1, 1, 4, 4)],
            [],
            hausdorff=np.array([3.0, np.nan, np.nan]),
            surface_dice=np.array([0.5, 0.0, 0.0]),
        )
    )
    assert (found.hausdorff, found.measured) == (3.0, 1)
    assert (found.surface_dice, found.tumours) == (0.25, 2)  # the tumour-free image's 0 is no part of it
