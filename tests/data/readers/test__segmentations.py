from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bts_tune.data.prepared.masks import draw_mask
from bts_tune.data.readers._segmentations import BrokenError, segmentation_of
from bts_tune.data.records import Annotation
from tests.data.builders import compressed, rectangle, uncompressed

HEIGHT, WIDTH = 40, 60
BOX = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
BOX[5:20, 10:30] = 1
RING = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
RING[2:30, 20:50] = 1
RING[10:20, 25:40] = 0


def drawn(value: Any) -> np.ndarray:
    return draw_mask([Annotation(1, 1, segmentation_of(value, WIDTH, HEIGHT))], HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        (None, "segmentation is missing; a box alone is not drawn"),
        ([], "segmentation is missing"),
        ([[]], "segmentation has no polygon of 3 points; a box alone is not drawn"),
        ([[10, 5, 30, 20]], "segmentation has no polygon of 3 points; a box alone is not drawn"),
        ([[1, 2, 3, 4, 5, 6, 7]], "segmentation[0] has 7 numbers; x and y must come in pairs"),
        ([1, 2, 3, 4], "segmentation[0]: input should be a valid list, got 1"),
        ([1, 2, 3, 4, 5, "6"], "segmentation[0]: input should be a valid list, got 1"),
        ([True, False, 3, 4, 5, 6], "segmentation[0]: input should be a valid list, got True"),
        ([[1, 2, "x", 4, 5, 6]], "segmentation[0][2]: input should be a valid number, got 'x'"),
        ("polygon", "valid list"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "finite"),
        ([[float("inf"), 2, 3, 4, 5, 6]], "finite"),
        ([[10**400, 2, 3, 4, 5, 6]], "segmentation[0][0]"),
        ([rectangle(1e9, 1e9, 5, 5)], "lies outside the image of 60 x 40 pixels"),
        ([rectangle(60, 0, 5, 5)], "lies outside the image"),
        ([rectangle(-9, 0, 9, 5)], "lies outside the image"),
        ([[-1e300, 0, 1e300, 0, 5, 5]], "lies outside the image"),
        ({"size": [HEIGHT, WIDTH]}, "segmentation.counts: field required"),
        ({"size": [WIDTH, HEIGHT], "counts": [2400]}, "segmentation.size is [60, 40], the image's is [40, 60]"),
        ({"size": [HEIGHT, WIDTH], "counts": [2399]}, "do not add up to the 2400 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [2401]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": []}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, 2401]}, "greater than or equal to 0"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooo"}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": 5}, "segmentation.counts: input should be a valid list, got 5"),
        ({"size": [HEIGHT, WIDTH], "counts": "b'"}, "do not add up"),
        ([compressed(BOX), [1, 2, 3, 4, 5, 6]], "segmentation[0]: input should be a valid list"),
        ([{"size": [HEIGHT, WIDTH], "counts": [2400]}, {"size": [1, 1], "counts": [1]}], "segmentation.size is [1, 1]"),
    ],
)
def test_what_cannot_be_drawn_is_said(segmentation: Any, sentence: str) -> None:
    with pytest.raises(BrokenError) as told:
        segmentation_of(segmentation, WIDTH, HEIGHT)
    assert sentence in str(told.value)
    assert not str(told.value).endswith(".")


def as_floats(rle: dict[str, Any]) -> dict[str, Any]:
    """Return run lengths as tables write them."""
    return {"size": [float(one) for one in rle["size"]], "counts": [float(one) for one in rle["counts"]]}


def as_shown(rle: dict[str, Any]) -> dict[str, Any]:
    """Return compressed counts as Python shows bytes."""
    return {**rle, "counts": repr(rle["counts"].encode())}


@pytest.mark.parametrize("mask", [BOX, RING, 1 - RING, np.ones_like(BOX)], ids=["box", "ring", "hole", "all"])
@pytest.mark.parametrize(
    "form",
    [
        compressed,
        uncompressed,
        lambda mask: as_floats(uncompressed(mask)),
        lambda mask: as_shown(compressed(mask)),
        lambda mask: [compressed(mask)],
        lambda mask: [uncompressed(mask)],
        lambda mask: [compressed(mask & BOX), uncompressed(mask & (1 - BOX))],
    ],
    ids=["compressed", "counts", "floats", "bytes", "list", "list-counts", "parts"],
)
def test_run_lengths_in_all_their_forms_are_the_same_pixels(mask: np.ndarray, form: Any) -> None:
    assert np.array_equal(drawn(form(mask)), mask)


@pytest.mark.parametrize(
    "form",
    [
        [rectangle(10, 5, 20, 15)],
        rectangle(10, 5, 20, 15),
        [[10, 5], [30, 5], [30, 20], [10, 20]],
        [[[10, 5], [30, 5], [30, 20], [10, 20]]],
        [{"x": 10, "y": 5}, {"x": 30, "y": 5}, {"x": 30, "y": 20}, {"x": 10, "y": 20}],
        [[], rectangle(10, 5, 20, 15)],
        [[10, 5, 30, 20], rectangle(10, 5, 20, 15)],
        [[10, 5, 30, 5, 30, 12.5, 10, 12.5], [10, 12, 30, 12, 30, 20, 10, 20]],
    ],
)
def test_polygons_in_all_their_forms_are_the_same_pixels(form: Any) -> None:
    assert np.array_equal(drawn(form), BOX)


def test_a_polygon_within_another_is_no_hole() -> None:
    inner = rectangle(15, 10, 5, 5)
    assert np.array_equal(drawn([rectangle(10, 5, 20, 15), inner]), BOX)


def test_what_reaches_beyond_the_image_is_cut_off() -> None:
    mask = drawn([rectangle(50, 30, 30, 30)])
    assert mask.sum() == 100
    assert mask[30:, 50:].all()
