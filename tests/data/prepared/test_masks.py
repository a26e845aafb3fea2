from __future__ import annotations

import io
import random
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bts_tune.data.prepared.masks import (
    PlaneSource,
    draw_mask,
    drawn_area,
    mask_plane,
    mask_values,
    run_lengths,
)
from bts_tune.data.records import Annotation
from bts_tune.errors import DataError
from tests.data.builders import compressed, rectangle, uncompressed

# The module that decodes silences these outside of pytest, which resets the filters.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

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


def pictures() -> dict[str, bytes]:
    """Return a mask in files of several kinds."""
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[5:20, 10:25] = 1
    palette = Image.fromarray(mask).convert("P")
    palette.putpalette([0, 0, 0, 200, 0, 0])
    grey = Image.fromarray(mask * 255)
    found = {}
    for name, picture, kind in (
        ("palette", palette, "PNG"),
        ("palette in a TIFF", palette, "TIFF"),
        ("GIF", palette, "GIF"),
        ("grey and alpha", Image.merge("LA", [grey, grey]), "TIFF"),
        ("transparent", Image.merge("RGBA", [grey, grey, grey, grey]), "PNG"),
        ("WebP", grey, "WEBP"),
        ("BMP", grey, "BMP"),
        ("one bit", grey.convert("1"), "TIFF"),
    ):
        file = io.BytesIO()
        picture.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
        found[name] = file.getvalue()
    return found


class TestFiles:
    def test_of_several_kinds_hold_the_same(self) -> None:
        for name, data in pictures().items():
            plane, _ = mask_plane(data, name)
            assert (plane != 0).sum() == 225, name
            assert (plane[5:20, 10:25] != 0).all(), name

    @given(st.sampled_from(sorted(pictures())), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
    def test_damaged_ones_give_values_or_a_data_error(self, name: str, place: int, damage: bytes) -> None:
        data = bytearray(pictures()[name])
        start = place % len(data)
        data[start : start + len(damage)] = damage
        try:
            plane, source = mask_plane(bytes(data), name)
        except DataError:
            return
        assert plane.ndim == 2
        values = mask_values(plane, source, name)
        assert values.counts.sum() == plane.size


class TestValues:
    def test_are_counted_with_those_in_flat_regions(self) -> None:
        plane = np.zeros((5, 6), dtype=np.uint8)
        plane[1:4, 1:4] = 7
        values = mask_values(plane, PlaneSource(), "masks/a.png")
        assert (values.values.tolist(), values.counts.tolist()) == ([0, 7], [21, 9])
        assert values.flat.tolist() == [9, 1]
        assert values.exact

    @given(st.integers(0, 1000), st.sampled_from([1.0, 255.0, 65535.0]), st.sampled_from([np.float32, np.float64]))
    def test_too_many_are_binned_such_that_half_of_the_scale_is_exact(self, seed: int, scale: float, kind: Any) -> None:
        plane = (np.random.default_rng(seed).random((40, 40)) * scale).astype(kind)
        plane[:3] = 0
        values = mask_values(plane, PlaneSource(), "a")
        assert not values.exact
        assert len(values.values) <= 258
        assert values.counts[values.values > scale / 2].sum() == (plane > scale / 2).sum()
        assert values.counts[values.values != 0].sum() == (plane != 0).sum()
        assert (np.diff(values.values) > 0).all()


class TestRunLengths:
    @given(masks)
    def test_agree_with_what_pycocotools_encodes(self, mask: np.ndarray) -> None:
        assert run_lengths(compressed(mask)["counts"]) == uncompressed(mask)["counts"]

    @pytest.mark.parametrize("text", ["", "o", "0o", "\x01", "0 0", "PPPPPPPPPP0", "é"])
    def test_refuse_a_broken_text(self, text: str) -> None:
        assert run_lengths(text) is None
