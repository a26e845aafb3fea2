from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bts_tune.cli.main import main
from bts_tune.data.checks.scan import scan_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.records import Dataset
from bts_tune.data.splits.groups import group_slices
from bts_tune.data.splits.leakage import WORST, Leak, draw_pairs, measure_leak
from tests.data.builders import (
    annotation,
    coco_content,
    read_json,
    rectangle,
    write_coco_split,
    write_image,
    write_json,
)
from tests.data.checks.test_similarity import smooth


def add(folder: Path, name: str, image: np.ndarray) -> None:
    """Add an image with one annotation to a split."""
    write_image(folder / name, image)
    content = read_json(folder)
    number = len(content["images"])
    content["images"].append({"id": number, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
    content["annotations"].append(annotation(number, number, [rectangle(10, 5, 20, 15)]))
    write_json(folder, content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten unrelated images in each split."""
    for number, split in enumerate(("train", "valid", "test")):
        write_json(tmp_path / "d" / split, coco_content([], []))
        for index, image in enumerate(smooth(10, seed=50 + number)):
            add(tmp_path / "d" / split, f"{split}{index}x.png", image)
    return tmp_path / "d"


def measure(root: Path) -> tuple[Dataset, Leak]:
    dataset = open_dataset(root)
    scan = scan_dataset(dataset)
    return dataset, measure_leak(dataset, scan, group_slices(scan))


def test_unrelated_splits_do_not_leak(root: Path) -> None:
    _, leak = measure(root)
    assert not leak.leaks
    assert leak.worst == ()
    assert [(one.images, one.near_duplicates, one.related) for one in leak.splits.values()] == [(10, 0, 0), (10, 0, 0)]


def test_copies_in_train_are_counted_once_an_image_and_the_best_is_named(root: Path) -> None:
    valid, test = (
        cv2.imread(str(root / split / f"{split}3x.png"), cv2.IMREAD_GRAYSCALE) for split in ("valid", "test")
    )
    assert valid is not None
    assert test is not None
    blurred = cv2.GaussianBlur(valid, (5, 5), 0)
    add(root / "train", "blurred.png", blurred)
    add(root / "train", "same.png", valid)
    add(root / "test", "turned.png", np.ascontiguousarray(np.rot90(valid)))
    add(root / "valid", "within.png", test)
    _, leak = measure(root)
    assert leak.leaks
    assert [(one.near_duplicates, one.related) for one in leak.splits.values()] == [(1, 1), (1, 1)]
    assert leak.splits["valid"].near_duplicate_share == pytest.approx(1 / 11)
    named = {pair.file: (pair.split, pair.train_file, pair.orientation) for pair in leak.worst}
    assert named == {
        "valid/valid3x.png": ("valid", "train/same.png", "as it is"),
        "test/turned.png": ("test", "train/same.png", "rotated by 90° anticlockwise"),
    }


def test_orientation_says_how_to_turn_the_training_slice_whichever_comes_first(root: Path) -> None:
    valid = cv2.imread(str(root / "valid" / "valid0x.png"), cv2.IMREAD_GRAYSCALE)
    assert valid is not None
    add(root / "train", "turned.png", np.ascontiguousarray(np.rot90(valid)))
    dataset, leak = measure(root)
    assert [(pair.file, pair.orientation) for pair in leak.worst] == [("valid/valid0x.png", "rotated by 90° clockwise")]
    moved = {"train": dataset.records["valid"], "valid": dataset.records["train"], "test": ()}
    swapped = replace(
        dataset, records={split: tuple(replace(one, split=split) for one in moved[split]) for split in moved}
    )
    scan = scan_dataset(dataset)
    back = measure_leak(swapped, scan, group_slices(scan))
    assert [(pair.file, pair.train_file, pair.orientation) for pair in back.worst] == [
        ("train/turned.png", "valid/valid0x.png", "rotated by 90° anticlockwise")
    ]


def test_worst_pairs_are_limited_and_drawn(root: Path) -> None:
    for index, image in enumerate(smooth(WORST + 6, seed=9)):
        add(root / "train", f"a{index}x.png", image)
        add(root / "valid", f"b{index}x.png", image)
    dataset, leak = measure(root)
    assert leak.splits["valid"].related == WORST + 6
    assert len(leak.worst) == WORST
    picture = cv2.imdecode(np.frombuffer(draw_pairs(dataset, leak), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    # Left and right halves of the first tile show the same image.
    assert np.array_equal(picture[6:230, 6:230], picture[6:230, 232:456])
    assert picture[6:230, 6:230].std() > 10


def test_the_command_reports_and_draws(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    valid = cv2.imread(str(root / "valid" / "valid0x.png"), cv2.IMREAD_GRAYSCALE)
    assert valid is not None
    add(root / "train", "same.png", valid)
    assert main(["data", "check", str(root), "--pairs", str(tmp_path / "pairs.png")]) == 0
    shown = capsys.readouterr().out
    assert "leak (1)" in shown
    assert "10.0% of its images (1 of 10) are related to one in train" in shown
    assert "Split provided: 11/10/10 train/valid/test, 30 groups" in shown
    assert cv2.imread(str(tmp_path / "pairs.png")) is not None
    assert main(["data", "check", str(root), "--split", "grouped", "--pairs", str(tmp_path / "none.png")]) == 0
    assert "leak (" not in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "none.png")) is not None
    assert main(["data", "check", str(root), "--split", "random"]) == 2
    assert "must be one of grouped, provided" in capsys.readouterr().err


def test_an_unreadable_image_and_an_empty_dataset_are_no_leak(tmp_path: Path) -> None:
    write_coco_split(tmp_path / "train", count=1)
    write_coco_split(tmp_path / "valid", count=1, seed=4)
    (tmp_path / "valid" / "0.png").unlink()
    assert not measure(tmp_path)[1].leaks
    for split in ("train", "valid"):
        write_json(tmp_path / split, coco_content([], []))
    assert main(["data", "check", str(tmp_path)]) == 1
