from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.data.prepared.masks import draw_mask, drawn_area, run_lengths
from bts_tune.data.records import Annotation
from tests.data.builders import compressed, rectangle, uncompressed

HEIGHT, WIDTH = 40, 60

masks = st.builds(
    lambda seed, height, width, share: (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8),
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
)


def drawn(segmentation: Any, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return draw_mask([Annotation(0, 1, segmentation)], height, width)


class TestDrawing:
    @given(masks)
    def test_both_run_length_encodings_give_the_mask(self, mask: np.ndarray) -> None:
        for segmentation in (compressed(mask), uncompressed(mask)):
            result = drawn(segmentation, *mask.shape)
            assert result.dtype == np.uint8
            assert np.array_equal(result, mask)

    @given(
        st.integers(0, 30), st.integers(0, 50), st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.booleans()
    )
    def test_a_whole_numbered_rectangle_covers_its_pixels(
        self, y: int, x: int, width: int, height: int, scale: int, closed: bool
    ) -> None:
        polygon = rectangle(x, y, width, height)
        mask = drawn([polygon if closed else polygon[:-2]])
        expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        expected[y : y + height, x : x + width] = 1
        assert np.array_equal(mask, expected)

    @given(st.integers(0, 2**32 - 1), st.integers(3, 12))
    def test_polygons_agree_with_opencv_inside_and_outside_their_edge(self, seed: int, points: int) -> None:
        rng = np.random.default_rng(seed)
        angle = np.sort(rng.random(points)) * 2 * np.pi
        radius = rng.uniform(4, 18, points)
        x, y = 30 + radius * np.cos(angle), 20 + radius * np.sin(angle)
        mask = drawn([np.stack([x, y], axis=1).ravel().tolist()])
        # COCO's pixel (i, j) covers i … i + 1, OpenCV's is centred on i.
        corners = np.rint((np.stack([x, y], axis=1) - 0.5) * 16).astype(np.int32)
        other = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        cv2.fillPoly(other, [corners], 1, shift=4)
        edge = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        cv2.polylines(edge, [corners], True, 1, thickness=3, shift=4)
        assert np.array_equal(mask[edge == 0], other[edge == 0])

    @given(st.lists(masks, min_size=1, max_size=4), st.randoms())
    def test_the_mask_is_the_union_in_any_order(self, parts: list[np.ndarray], shuffle: random.Random) -> None:
        canvases = []
        for part in parts:
            canvas = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            canvas[: part.shape[0], : part.shape[1]] = part
            canvases.append(canvas)
        annotations = [Annotation(number, 1, compressed(canvas)) for number, canvas in enumerate(canvases)]
        annotations.append(Annotation(99, 2, [rectangle(50, 30, 5, 5), rectangle(40, 30, 12, 2)]))
        union = np.any([*canvases, drawn(annotations[-1].segmentation)], axis=0)
        shuffle.shuffle(annotations)
        assert np.array_equal(draw_mask(annotations, HEIGHT, WIDTH), union)

    def test_the_polygons_of_an_annotation_are_united(self) -> None:
        mask = drawn([rectangle(0, 0, 10, 10), rectangle(5, 5, 10, 10)])
        assert mask.sum() == 100 + 100 - 25

    def test_a_hole_of_a_run_length_encoding_stays_open(self) -> None:
        ring = np.ones((9, 9), dtype=np.uint8)
        ring[3:6, 3:6] = 0
        assert np.array_equal(drawn(compressed(ring), 9, 9), ring)

    def test_two_points_are_not_taken_for_a_box(self) -> None:
        assert drawn([[1, 1, 20, 20]]).sum() == 0
        assert drawn_area(Annotation(0, 1, [[1, 1, 20, 20]]), HEIGHT, WIDTH) == 0
        assert drawn([[1, 1, 20, 20], rectangle(30, 30, 2, 2)]).sum() == 4

    def test_no_annotation_gives_an_empty_mask(self) -> None:
        assert np.array_equal(draw_mask([], 3, 4), np.zeros((3, 4), dtype=np.uint8))

    def test_what_reaches_beyond_the_image_is_cut_off(self) -> None:
        assert drawn([rectangle(-5, -5, 10, 10)]).sum() == 25


class TestRunLengths:
    @given(masks)
    def test_agree_with_what_pycocotools_encodes(self, mask: np.ndarray) -> None:
        assert run_lengths(compressed(mask)["counts"]) == uncompressed(mask)["counts"]

    @pytest.mark.parametrize("text", ["", "o", "0o", "\x01", "0 0", "PPPPPPPPPP0", "é"])
    def test_refuse_a_broken_text(self, text: str) -> None:
        assert run_lengths(text) is None
