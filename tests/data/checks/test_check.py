from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bts_tune.data.checks.check import QUANTILES, CheckReport, check_dataset, render
from bts_tune.data.open import open_dataset
from tests.data.builders import (
    annotation,
    compressed,
    noise,
    read_json,
    rectangle,
    write_coco,
    write_image,
    write_json,
    write_pairs,
)
from tests.data.splits.builders import Scanned


def check(root: Path) -> CheckReport:
    return check_dataset(open_dataset(root))


def codes(report: CheckReport) -> list[tuple[str, str, str, int | str | None]]:
    return [(one.level, one.code, one.file, one.annotation) for one in report.issues]


def with_annotations(root: Path, *segmentations: Any) -> CheckReport:
    """Check a dataset whose second and third training images are in order and whose first has these annotations."""
    first = [annotation(10 + index, 0, one) for index, one in enumerate(segmentations)]
    others = [annotation(number, number, [rectangle(10, 5, 20, 15)]) for number in (1, 2)]
    return check(write_coco(root, annotations=[*first, *others]))


def test_a_dataset_in_order(tmp_path: Path) -> None:
    report = check(write_coco(tmp_path))
    assert report.issues == ()
    train = report.splits["train"]
    assert (train.images, train.without_tumor, train.several_annotations) == (3, 0, 0)
    assert train.annotations == {0: 0, 1: 3, 2: 0}
    assert train.sizes == {"60 x 40": 3}
    assert train.kinds == {"grey 8-bit": 3}
    assert train.tumor_share == pytest.approx([300 / 2400] * len(QUANTILES))


def test_quantiles_are_over_images_with_a_tumour(tmp_path: Path) -> None:
    annotations = [annotation(1, 0, [rectangle(0, 0, 10, 12)]), annotation(2, 1, [rectangle(0, 0, 20, 24)])]
    train = check(write_coco(tmp_path, annotations=annotations)).splits["train"]
    assert train.without_tumor == 1
    assert train.tumor_share[0] == pytest.approx(0.05)
    assert train.tumor_share[3] == pytest.approx(0.125)
    assert train.tumor_share[-1] == pytest.approx(0.2)


def test_images_without_and_with_several_annotations(tmp_path: Path) -> None:
    annotations = [annotation(number, 0, [rectangle(5 * number, 5, 20, 15)]) for number in (1, 2)]
    annotations.append(annotation(3, 2, [rectangle(10, 5, 20, 15)]))
    report = check(write_coco(tmp_path, annotations=annotations))
    assert codes(report) == [
        ("warning", "no-tumor", "train/1.png", None),
        ("warning", "several-annotations", "train/0.png", None),
    ]
    assert "(1, 2)" in report.issues[1].message


@pytest.mark.parametrize(
    ("segmentation", "code"),
    [
        ([rectangle(20, 20, 2.5, 7.5)], "tiny-annotation"),
        ([[1, 1, 20, 20, 30, 30]], "degenerate-annotation"),
        ([rectangle(5, 5, 0, 0)], "degenerate-annotation"),
        ([rectangle(50, 20, 30, 10)], "partly-outside"),
        (compressed(np.zeros((40, 60), dtype=np.uint8)), "degenerate-annotation"),
    ],
)
def test_odd_annotations_are_warnings_that_name_them(tmp_path: Path, segmentation: Any, code: str) -> None:
    report = with_annotations(tmp_path, segmentation)
    assert report.errors == ()
    assert ("warning", code, "train/0.png", 10) in codes(report)


def test_a_polygon_of_two_points_beside_a_whole_one(tmp_path: Path) -> None:
    report = with_annotations(tmp_path, [[1, 1, 20, 20], rectangle(10, 5, 20, 15)])
    assert codes(report) == [("warning", "degenerate-annotation", "train/0.png", 10)]
    assert report.issues[0].message == "1 of its 2 polygon(s) have fewer than 3 points."


def test_issues_of_the_reading_are_part_of_it(tmp_path: Path) -> None:
    report = with_annotations(tmp_path, None)
    assert ("error", "broken-annotation", "train/0.png", 10) in codes(report)
    assert report.issues[0].level == "error"


def test_missing_broken_and_wrongly_sized_images_are_all_listed(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    (root / "train" / "0.png").unlink()
    (root / "train" / "1.png").write_bytes(b"\x89PNG broken")
    write_image(root / "valid" / "1.png", noise(41, 60, seed=7))
    report = check(root)
    assert codes(report) == [
        ("error", "missing-image", "train/0.png", None),
        ("error", "unreadable-image", "train/1.png", None),
        ("error", "wrong-size", "valid/1.png", None),
    ]
    assert report.issues[2].message == "the image has 60 x 41 pixels, its entry declares 60 x 40."


def test_a_name_that_no_file_system_allows_is_a_missing_image(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    content = read_json(root / "train")
    content["images"][0]["file_name"] = "x" * 1000 + ".png"
    write_json(root / "train", content)
    assert "missing-image" in [one.code for one in check(root).errors]


def test_blank_slices_are_no_duplicates(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    for name in ("train/0.png", "train/2.png", "valid/1.png"):
        pixels = cv2.imread(str(root / name))
        write_image(root / name, np.zeros_like(pixels))
    assert not [code for _, code, *_ in codes(check(root)) if code.startswith("duplicate")]


def test_duplicates_within_and_across_splits(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    shutil.copy(root / "train" / "0.png", root / "train" / "2.png")
    shutil.copy(root / "train" / "0.png", root / "valid" / "1.png")
    report = check(root)
    assert codes(report) == [
        ("warning", "duplicate-across-splits", "valid/1.png", None),
        ("warning", "duplicate-file", "train/2.png", None),
        ("warning", "identical-across-splits", "valid", None),
        ("warning", "leak", "valid", None),
    ]
    assert "50.0% of its images (1 of 2) are related to one in train" in report.issues[3].message
    assert "the same file as train/0.png" in report.issues[0].message


@pytest.mark.parametrize(("split", "level"), [("train", "error"), ("valid", "error"), ("test", "warning")])
def test_a_split_without_a_tumour_and_an_empty_one(tmp_path: Path, split: str, level: str) -> None:
    root = write_coco(tmp_path)
    content = read_json(root / split)
    content["annotations"] = []
    write_json(root / split, content)
    left_out = ("warning", "split-without-masks", "test/_annotations.coco.json", None)
    assert (left_out if split == "test" else (level, "no-tumor-in-split", split, None)) in codes(check(root))
    content["images"] = []
    write_json(root / split, content)
    assert (level, "empty-split", split, None) in codes(check(root))


def test_a_blank_image(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    write_image(root / "test" / "0.png", np.full((40, 60), 7, dtype=np.uint8))
    assert codes(check(root)) == [("warning", "blank-image", "test/0.png", None)]


def test_annotations_of_all_but_the_tumour(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    for split, count in (("train", 3), ("valid", 2)):
        content = read_json(root / split)
        content["annotations"] = [annotation(number, number, [rectangle(2, 2, 50, 35)]) for number in range(count)]
        write_json(root / split, content)
    (issue,) = check(root).issues
    assert (issue.level, issue.code) == ("warning", "large-annotations")
    assert "more than half of the image in 5 of 6 images" in issue.message


def test_masks_of_folders(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        write_pairs(tmp_path / split, 6, seed=10 * number)
    masks = tmp_path / "train" / "masks"
    write_image(masks / "s000.png", np.ones((20, 30), dtype=np.uint8))
    (masks / "s001.png").write_bytes(b"")
    (masks / "s002.png").unlink()
    write_image(masks / "s002.jpg", noise())
    write_image(masks / "s003.png", np.zeros((40, 60), dtype=np.uint8))
    assert [one[:3] for one in codes(check(tmp_path))] == [
        ("error", "odd-mask", "train/images/s002.png"),
        ("error", "unreadable-mask", "train/images/s001.png"),
        ("error", "wrong-mask-size", "train/images/s000.png"),
        ("warning", "full-mask", "train/images/s000.png"),
        ("warning", "no-tumor", "train/images/s003.png"),
    ]


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (noise().astype(np.uint16), "grey 16-bit"),
        (np.dstack([noise()] * 3), "colour 8-bit, equal channels"),
        (np.dstack([noise(), noise(), noise(seed=1)]), "colour 8-bit"),
        (np.dstack([noise()] * 4), "colour 8-bit with alpha, equal channels"),
    ],
)
def test_kinds_of_pixels(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    root = write_coco(tmp_path)
    write_image(root / "test" / "0.png", pixels)
    assert check(root).splits["test"].kinds == {kind: 1}


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_dataset(open_dataset(write_coco(tmp_path)), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_the_summary_is_json(tmp_path: Path) -> None:
    summary = with_annotations(tmp_path, [rectangle(20, 20, 2, 2)], None).to_dict()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["errors"] == {"broken-annotation": 1}
    assert summary["warnings"] == {"tiny-annotation": 1}
    assert summary["leak"]["splits"]["valid"]["related"] == 0
    assert summary["splits"]["train"]["annotations"] == {"0": 0, "1": 4, "2": 0}
    assert set(summary["splits"]["train"]["tumor_share"]) == {f"{quantile:g}" for quantile in QUANTILES}


class TestRendering:
    def test_shows_counts_and_no_issues(self, tmp_path: Path) -> None:
        text = render(check(write_coco(tmp_path)))
        lines = text.splitlines()
        assert lines[0] == f"{tmp_path}: COCO export"
        assert "train       3               0            3                    0" in lines
        assert "1   0            yes      3      2     1" in lines
        assert "Errors: none" in lines
        assert "Warnings: none" in lines

    def test_issues_of_a_kind_are_cut_unless_verbose(self, tmp_path: Path) -> None:
        annotations = [annotation(1, 0, [rectangle(10, 5, 20, 15)])]
        report = check(write_coco(tmp_path, count=12, annotations=annotations))
        short, long = render(report), render(report, verbose=True)
        assert "  no-tumor (11)" in short.splitlines()
        assert "… and 6 more" in short
        assert "more" not in long
        assert all(f"train/{index}.png: nothing" in long for index in range(1, 12))

    def test_names_the_annotation(self, tmp_path: Path) -> None:
        text = render(with_annotations(tmp_path, [rectangle(20, 20, 2, 2)]))
        assert "    train/0.png, annotation 10: it covers 4 of the image's 2400 pixels." in text.splitlines()

    def test_a_file_name_cannot_command_the_terminal(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path)
        content = read_json(root / "train")
        content["images"][0]["file_name"] = "\x1b[2J\n.png"
        write_json(root / "train", content)
        text = render(check(root))
        assert "\x1b" not in text
        assert "\\x1b[2J\\n.png" in text

    def test_folders_have_no_columns_of_annotations(self, tmp_path: Path) -> None:
        text = render(check(write_pairs(tmp_path, 10)))
        assert "image/mask folders" in text
        assert "annotations" not in text


def test_the_real_dataset(real: Scanned) -> None:
    report = check_dataset(real.dataset, scan=real.scan)
    assert [report.splits[split].images for split in ("train", "valid", "test")] == [1502, 429, 215]
    assert all(set(summary.sizes) == {"640 x 640"} for summary in report.splits.values())
    assert all(set(summary.kinds) == {"colour 8-bit, equal channels"} for summary in report.splits.values())
    assert report.splits["train"].annotations == {0: 0, 1: 771, 2: 731}
    two = "train/176_jpg.rf.23ef40c30986ba54b865d55a934bfa72.jpg"
    assert report.leak.splits["valid"].near_duplicate_share == pytest.approx(0.758, abs=0.01)
    assert codes(report) == [
        ("warning", "leak", "test", None),
        ("warning", "leak", "valid", None),
        ("warning", "no-tumor", "train/2369_jpg.rf.8b8afa9d79c61fa42ca128c940b9cbc0.jpg", None),
        ("warning", "several-annotations", two, None),
        ("warning", "tiny-annotation", two, 1006),
    ]


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [((40, 60), "Width and height are swapped"), ((120, 80), "Were they resized after"), (None, "5 of 9 slices.")],
)
def test_many_images_of_another_size_than_declared_are_one_error(
    tmp_path: Path, declared: tuple[int, int] | None, sentence: str
) -> None:
    root = write_coco(tmp_path, count=6)
    content = read_json(root / "train")
    for number, image in enumerate(content["images"][1:]):
        image["width"], image["height"] = declared or (61 + number, 40)
    write_json(root / "train", content)
    (error,) = check(root).errors
    assert (error.code, error.file) == ("wrong-size", "train/1.png")
    assert "This is so of 5 of 9 slices." in error.message
    assert sentence in error.message


def test_many_masks_that_are_no_masks_are_one_error(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_pairs(tmp_path / split, 4)
        for number, path in enumerate(sorted((tmp_path / split / "masks").iterdir())):
            write_image(path, np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    (error,) = check(tmp_path).errors
    assert (error.code, error.file) == ("unclear-mask", "train/images/s000.png")
    assert error.message.endswith("save it in grey, with 0 for the background. This is so of 8 of 8 slices.")


def test_a_split_whose_masks_are_inverted_is_an_error(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("valid", 3)):
        write_pairs(tmp_path / split, count, seed=count)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:20, 10:30] = 255
    for split in ("train", "valid"):
        for path in (tmp_path / split / "masks").iterdir():
            write_image(path, mask if split == "train" else np.bitwise_not(mask))
    (error,) = check(tmp_path).errors
    assert (error.code, error.file) == ("inverted-split", "valid")
    assert "in 3 of 3 masks of this split" in error.message
    chosen = check_dataset(open_dataset(tmp_path, tumor_labels=["255"]))
    assert (chosen.errors, "inverted-split" in {issue.code for issue in chosen.warnings}) == ((), True)
