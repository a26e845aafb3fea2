"""The file of scores: what goes in comes out, and a spoilt file is one sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bts_tune.errors import RunError
from bts_tune.results.record.scores import SUMS, Scores, Shapes, SplitScores, read_scores


def split_scores(count: int) -> SplitScores:
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    names = [f"{number} é.png" for number in range(count)]
    return SplitScores.of(names, images, random.uniform(0, 64, (count, len(SUMS))), shapes(count))


def shapes(count: int) -> Shapes:
    random = np.random.default_rng(count + 1)
    place = np.arange(count, dtype=float)[:, np.newaxis]
    distance = random.uniform(0, 9, count)
    distance[0] = np.nan
    return Shapes(
        tolerance=2.0,
        hausdorff=distance,
        surface_dice=random.uniform(0, 1, count),
        false_positive_area=np.zeros(count),
        true_boxes=np.hstack([place, random.uniform(0, 8, (count, 4))]),
        boxes=np.hstack([place, random.uniform(0, 8, (count, 4)), random.uniform(0.5, 1, (count, 1))]),
    )


@pytest.mark.parametrize("splits", [{"valid": 5, "test": 3}, {"valid": 1}])
def test_what_goes_in_comes_out(tmp_path: Path, splits: dict[str, int]) -> None:
    scores = Scores(7, 64, {name: split_scores(count) for name, count in splits.items()})
    file = tmp_path / "a.npz"
    file.write_bytes(scores.to_bytes())
    found = read_scores(file)
    assert (found.epoch, found.pixels, set(found.splits)) == (7, 64, set(splits))
    for name, split in scores.splits.items():
        assert found.splits[name].names == split.names
        for field in ("sums", "brightness", "contrast"):
            np.testing.assert_array_equal(getattr(found.splits[name], field), getattr(split, field))
        kept, given = found.splits[name].shapes, split.shapes
        assert kept is not None
        assert given is not None
        for one in fields(Shapes):
            np.testing.assert_array_equal(getattr(kept, one.name), getattr(given, one.name))


def test_a_file_without_shapes_is_read(tmp_path: Path) -> None:
    """As an earlier version wrote it."""
    file = tmp_path / "a.npz"
    file.write_bytes(Scores(1, 64, {"valid": replace(split_scores(3), shapes=None)}).to_bytes())
    assert read_scores(file).splits["valid"].shapes is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hausdorff": np.zeros(2)}, "differ in length"),
        ({"false_positive_area": np.full(3, -1.0)}, "not finite"),
        ({"surface_dice": np.full(3, np.inf)}, "not finite"),
        ({"tolerance": np.inf}, "not finite"),
        ({"boxes": np.zeros((1, 5))}, "no 6 columns"),
        ({"true_boxes": np.zeros(5)}, "no 5 columns"),
        ({"true_boxes": np.array([[3.0, 0, 0, 1, 1]])}, "of no image"),
        ({"boxes": np.full((1, 6), np.nan)}, "of no image"),
    ],
)
def test_spoilt_shapes_are_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    file = tmp_path / "a.npz"
    spoilt = replace(split_scores(3), shapes=replace(shapes(3), **change))
    file.write_bytes(Scores(1, 64, {"valid": spoilt}).to_bytes())
    with pytest.raises(RunError, match=sentence):
        read_scores(file)


def test_brightness_and_contrast_are_shares_of_white() -> None:
    images = np.array([np.full((4, 4), 255), np.zeros((4, 4)), np.tile([0, 255], (4, 2))], dtype=np.uint8)
    found = SplitScores.of(["a", "b", "c"], images, np.zeros((3, len(SUMS))))
    assert list(found.brightness) == [1.0, 0.0, 0.5]
    assert list(found.contrast) == [0.0, 0.0, 0.5]


def test_a_split_without_images_has_no_scores() -> None:
    found = SplitScores.of([], np.zeros((0, 4, 4), dtype=np.uint8), np.zeros((0, len(SUMS))))
    assert found.brightness.shape == found.contrast.shape == (0,)


def test_a_missing_or_spoilt_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with pytest.raises(RunError, match=r"scores/a\.npz is missing"):
        read_scores(file)
    file.write_bytes(b"spoilt")
    with pytest.raises(RunError, match=r"scores/a\.npz cannot be read"):
        read_scores(file)
    np.savez(file, columns=np.array(["other"]))
    with pytest.raises(RunError, match="its columns are not"):
        read_scores(file)
    whole = split_scores(3)
    short = SplitScores(whole.names[:2], whole.sums, whole.brightness, whole.contrast)
    file.write_bytes(Scores(1, 64, {"valid": short}).to_bytes())
    with pytest.raises(RunError, match="differ in length"):
        read_scores(file)
    file.write_bytes(
        Scores(
            1, 64, {"valid": SplitScores.of(["a"], np.zeros((1, 2, 2), np.uint8), np.full((1, len(SUMS)), np.nan))}
        ).to_bytes()
    )
    with pytest.raises(RunError, match="not finite"):
        read_scores(file)
