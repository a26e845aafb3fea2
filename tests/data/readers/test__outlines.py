from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.prepared.masks import run_lengths
from bts_tune.data.readers._outlines import ScaledOutlines
from tests.data.builders import annotation, read_json, rectangle, write_coco, write_json


class TestOutlines:
    """Outlines in another unit than pixels, and points in other forms than a flat list."""

    SIZE = 256
    BOX = (90, 60, 50, 40)

    def issues(self, tmp_path: Path, outline: Any, box: Any = BOX, area: Any = 2000) -> list[str]:
        root = write_coco(tmp_path / "dataset", height=self.SIZE, width=self.SIZE)
        content = read_json(root / "train")
        content["annotations"] = [
            {**annotation(number, number, outline), "bbox": box, "area": area} for number in range(3)
        ]
        write_json(root / "train", content)
        dataset = open_dataset(root)
        if not dataset.issues:
            assert {int(read_mask(record).sum()) for record in dataset.records["train"]} == {2000}
        return [f"{issue.level} {issue.code}" for issue in dataset.issues]

    def outline(self, factor: float = 1.0) -> list[float]:
        return [factor * value for value in rectangle(*self.BOX)]

    def test_pixels_are_not_suspected(self, tmp_path: Path) -> None:
        assert self.issues(tmp_path, [self.outline()]) == []

    @pytest.mark.parametrize(
        ("box", "area"), [(BOX, 2000), (BOX, None), (None, 2000), ([35.2, 23.4, 19.5, 15.6], 2000)]
    )
    def test_percent(self, tmp_path: Path, box: Any, area: Any) -> None:
        assert self.issues(tmp_path, [self.outline(100 / self.SIZE)], box, area) == ["error outlines-not-in-pixels"]

    @pytest.mark.parametrize(("box", "area"), [(BOX, 2000), (None, None), ([0.352, 0.234, 0.195, 0.156], None)])
    def test_shares_of_the_image(self, tmp_path: Path, box: Any, area: Any) -> None:
        assert self.issues(tmp_path, [self.outline(1 / self.SIZE)], box, area) == ["error outlines-not-in-pixels"]

    def test_swapped_coordinates(self, tmp_path: Path) -> None:
        x, y, width, height = self.BOX
        assert self.issues(tmp_path, [rectangle(y, x, height, width)]) == ["error outlines-swapped"]

    def test_outlines_beside_their_boxes(self, tmp_path: Path) -> None:
        assert self.issues(tmp_path, [rectangle(10, 150, 50, 40)]) == ["warning outlines-and-boxes-disagree"]

    @pytest.mark.parametrize("box", ["x", [1, 2, 3], [1, 2, None, 4], [0, 0, 0, 0], [1e300] * 4])
    def test_boxes_that_say_nothing(self, tmp_path: Path, box: Any) -> None:
        assert self.issues(tmp_path, [self.outline()], box, "many") == []

    @pytest.mark.parametrize("form", ["pairs", "rings", "names"])
    def test_points_in_other_forms(self, tmp_path: Path, form: str) -> None:
        points = np.array(self.outline()).reshape(-1, 2).tolist()
        named = [{"x": x, "y": y} for x, y in points]
        assert self.issues(tmp_path, {"pairs": points, "rings": [points], "names": named}[form]) == []


def test_a_few_odd_ones_among_many_say_nothing() -> None:
    outlines = ScaledOutlines()
    for number in range(5):
        outlines.compare(
            [rectangle(10, 160, 50, 40)], [10, 160, 50, 40] if number else [160, 10, 40, 50], 2000, (256, 256)
        )
    assert outlines.problem() is None


def test_without_annotations_nothing_is_wrong() -> None:
    assert ScaledOutlines().problem() is None


class TestRunLengths:
    """Run lengths in the order of rows, which add up to the image all the same."""

    def issues(self, tmp_path: Path, order: str, box: Any = (90, 60, 50, 40), compress: bool = False) -> list[str]:
        root = write_coco(tmp_path, height=200, width=240)
        mask = np.zeros((200, 240), dtype=np.uint8, order="F")
        mask[60:100, 90:140] = 1
        counted = mask if order == "columns" else np.asfortranarray(mask.reshape(-1).reshape((200, 240), order="F"))
        encoding = coco_mask.encode(counted)
        counts: Any = encoding["counts"].decode() if compress else run_lengths(encoding["counts"].decode())
        content = read_json(root / "train")
        content["annotations"] = [
            {**annotation(number, number, {"size": [200, 240], "counts": counts}), "bbox": box} for number in range(3)
        ]
        write_json(root / "train", content)
        dataset = open_dataset(root)
        if order == "columns":
            assert all(np.array_equal(read_mask(record), mask) for record in dataset.records["train"])
        return [f"{issue.level} {issue.code}" for issue in dataset.issues]

    @pytest.mark.parametrize("compress", [False, True])
    def test_in_the_order_of_rows_is_an_error(self, tmp_path: Path, compress: bool) -> None:
        assert self.issues(tmp_path / "a", "rows", compress=compress) == ["error runs-along-rows"]
        assert self.issues(tmp_path / "b", "columns", compress=compress) == []

    @pytest.mark.parametrize("box", [None, [1, 2, 3], [0, 0, 0, 0], [5, 150, 20, 20], "x"])
    def test_boxes_that_say_nothing(self, tmp_path: Path, box: Any) -> None:
        assert self.issues(tmp_path, "rows", box) == []
