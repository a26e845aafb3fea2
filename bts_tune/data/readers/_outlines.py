"""Whether outlines are in pixels and run lengths in COCO's order: they are compared with their own boxes and areas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from bts_tune.data.prepared.masks import run_lengths
from bts_tune.data.records import Level

_SLACK = 3.0
"""Pixels by which an outline may differ from its box: some boxes are rounded, some lie on the pixels' outer edges."""


@dataclass(frozen=True)
class OutlineProblem:
    """What is wrong with the outlines of a file."""

    level: Level
    code: str
    message: str


class ScaledOutlines:
    """Counts the annotations whose outline fits their own box and area only in another unit, or not at all."""

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter()
        self._largest = 0.0
        self._smallest_side = math.inf

    def compare(self, polygons: Sequence[Sequence[float]], box: Any, area: Any, size: tuple[int, int]) -> None:
        """Note one annotation.

        Args:
            polygons: its outline, each `[x0, y0, x1, y1, …]`.
            box: its `bbox`, which may be anything.
            area: its `area`, which may be anything.
            size: width and height of its image.
        """
        points = np.concatenate([np.asarray(one, dtype=np.float64).reshape(-1, 2) for one in polygons])
        self._largest = max(self._largest, float(points.max()))
        self._smallest_side = min(self._smallest_side, *size)
        extent = np.array([*points.min(axis=0), *points.max(axis=0)])
        verdict = "unknown"
        given = _numbers(box)
        if given is not None and given[2] > 0 and given[3] > 0:
            x, y, width, height = given
            verdict = _verdict(extent, np.array([x, y, x + width, y + height]), size)
        # A box in the outline's own wrong unit agrees with it; the area, which is in pixels, does not.
        if isinstance(area, int | float) and not isinstance(area, bool) and 50 < area < 1e9 and verdict != "apart":
            verdict = _unit_by_area(sum(map(_area, polygons)), float(area), size) or verdict
        self._verdicts[verdict] += 1

    def problem(self) -> OutlineProblem | None:
        """Return what is wrong with most of the outlines, or None."""
        total = sum(self._verdicts.values())
        for verdict, unit in (("percent", "in percent of the image"), ("unit", "in shares of the image, from 0 to 1")):
            count = self._verdicts[verdict]
            if count and 2 * count > total:
                return _wrong_unit(unit, f"{count} of {total} agree with their own box and area only then")
        if 0 < self._largest <= 1 and self._smallest_side > 8:
            return _wrong_unit("in shares of the image, from 0 to 1", f"none exceeds {self._largest:g}")
        swapped = self._verdicts["swapped"]
        if swapped and 2 * swapped > total:
            message = f"x and y of its outlines are swapped, as {swapped} of {total} fit their own box only then."
            return OutlineProblem("error", "outlines-swapped", message)
        if total >= 4 and self._largest <= 100 and self._smallest_side >= 200:
            message = (
                f"all {total} outlines lie within the first {self._largest:g} pixels of images of at least "
                f"{self._smallest_side:g}; COCO has them in pixels: are they in percent?"
            )
            return OutlineProblem("warning", "outlines-perhaps-in-percent", message)
        apart = self._verdicts["apart"]
        if apart and 2 * apart > total:
            message = (
                f"{apart} of {total} outlines lie elsewhere than their own box (bbox: x, y, width, height in pixels); "
                "the outlines are used: look at the masks, which may be of images of another size."
            )
            return OutlineProblem("warning", "outlines-and-boxes-disagree", message)
        return None


class RunsByRow:
    """Counts the run-length encodings that fit their own box only where they are read along rows.

    COCO counts down columns; many write NumPy's order instead.
    """

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter()

    def compare(self, encoding: Mapping[str, Any], box: Any) -> None:
        """Note one annotation.

        Args:
            encoding: its run lengths, which add up to the image's pixels.
            box: its `bbox`, which may be anything.
        """
        given = _numbers(box)
        if given is None or given[2] <= 0 or given[3] <= 0:
            return
        height, width = encoding["size"]
        counts = encoding["counts"]
        x, y, wide, high = given
        wanted = np.array([x, y, x + wide, y + high])
        # pycocotools is quick; runs are looked at one by one where it finds them elsewhere.
        packed = coco_mask.frPyObjects(dict(encoding), height, width) if isinstance(counts, list) else encoding
        left, top, across, down = coco_mask.toBbox(packed)
        if _near(np.array([left, top, left + across, top + down]), wanted):
            self._verdicts["columns"] += 1
            return
        runs = np.array(counts if isinstance(counts, list) else run_lengths(counts) or [], dtype=np.int64)
        ends = np.cumsum(runs)
        first, last = ends[:-1:2], ends[1::2]  # of each run of ones, in the order that they are counted in
        first, last = first[last > first], last[last > first]
        if not len(first):
            return
        self._verdicts["rows" if _near(_extent(first, last, width), wanted) else "unknown"] += 1

    def problem(self) -> OutlineProblem | None:
        """Return what is wrong with most of the encodings, or None."""
        total, rows = sum(self._verdicts.values()), self._verdicts["rows"]
        if not rows or 2 * rows <= total:
            return None
        message = (
            f"the run lengths count along rows, as {rows} of {total} fit their own box only then; COCO counts down "
            "columns: encode each mask in column order (order='F'), as pycocotools does."
        )
        return OutlineProblem("error", "runs-along-rows", message)


def _extent(first: np.ndarray, last: np.ndarray, length: int) -> np.ndarray:
    """Return the box of runs along lines of a length: where it begins and ends along and across them."""
    crosses = (last - 1) // length > first // length
    along = (0, length) if crosses.any() else (int((first % length).min()), int(((last - 1) % length).max()) + 1)
    return np.array([along[0], first.min() // length, along[1], (last.max() - 1) // length + 1], dtype=np.float64)


def _wrong_unit(unit: str, why: str) -> OutlineProblem:
    message = f"its outlines are {unit}, as {why}; COCO has them in pixels: multiply x by the width and y by the height"
    message += " and divide by 100." if "percent" in unit else "."
    return OutlineProblem("error", "outlines-not-in-pixels", message)


def _verdict(extent: np.ndarray, wanted: np.ndarray, size: tuple[int, int]) -> str:
    scale = np.array([*size, *size], dtype=np.float64)
    if _near(extent, wanted):
        return "pixels"
    if _near(extent * scale / 100, wanted):
        return "percent"
    if _near(extent * scale, wanted):
        return "unit"
    if _near(extent[[1, 0, 3, 2]], wanted):
        return "swapped"
    overlap = np.minimum(extent[2:], wanted[2:]) - np.maximum(extent[:2], wanted[:2])
    return "apart" if (overlap <= 0).any() else "pixels"


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.abs(one - other) <= _SLACK + 0.02 * np.abs(other)).all())


def _unit_by_area(drawn: float, area: float, size: tuple[int, int]) -> str | None:
    """Return the unit in which an outline has its area, None where that is pixels or cannot be told.

    Some files give the box's area, so one that is a few times too large says nothing.
    """
    for unit, factor in (("percent", size[0] * size[1] / 1e4), ("unit", float(size[0] * size[1]))):
        if factor >= 4 and abs(drawn * factor - area) <= 0.25 * area:
            return unit
    return None


def _area(polygon: Sequence[float]) -> float:
    x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _numbers(box: Any) -> list[float] | None:
    if not isinstance(box, list) or len(box) != 4:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9 for one in box):
        return None
    return [float(one) for one in box]
