from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bts_tune.cli.main import main
from bts_tune.data.checks.check import check_dataset, render
from bts_tune.data.open import open_dataset
from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import scan_dataset
from bts_tune.data.scan.similarity import signature
from bts_tune.data.splits.groups import group_slices
from bts_tune.data.splits.leakage import WORST, Leak, draw_pairs, measure_leak
from bts_tune.results.record.leaks import read_leaks
from tests.data.builders import (
    annotation,
    coco_content,
    read_json,
    rectangle,
    write_coco_split,
    write_image,
    write_json,
)
from tests.data.scan.test_similarity import smooth


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


def grey(root: Path, name: str) -> np.ndarray:
    image = cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def brighter(image: np.ndarray) -> np.ndarray:
    """The same picture in another file."""
    return np.where(image < 255, image + 1, image).astype(np.uint8)


def test_identical_is_told_from_the_same_scan_and_both_from_similar(root: Path) -> None:
    rng = np.random.default_rng(3)
    first, second, third, turned = (grey(root, f"test/test{number}x.png") for number in range(4))
    _, data = cv2.imencode(".jpg", first, [cv2.IMWRITE_JPEG_QUALITY, 90])
    again = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert again is not None
    add(root / "train", "again.png", again)
    # Fine noise is lost at 32 px, and not at 256.
    noisy = cv2.resize(second, (256, 256)) + rng.normal(0, 25, (256, 256))
    add(root / "train", "noisy.png", np.clip(noisy, 0, 255).astype(np.uint8))
    other = smooth(1, seed=99)[0]
    share = next(share for share in np.linspace(0.2, 0.9, 141) if 0.93 < mixed_correlation(third, other, share) < 0.95)
    # Of other detail, else it would be of the same scan.
    blended = cv2.resize(mixed(third, other, share), (256, 256)) + rng.normal(0, 60, (256, 256))
    add(root / "train", "mixed.png", np.clip(blended, 0, 255).astype(np.uint8))
    add(root / "train", "turned.png", np.ascontiguousarray(np.rot90(turned)))
    _, leak = measure(root)
    found = {pair.file: (pair.relation, pair.train_file) for pair in leak.pairs}
    assert found == {
        "test/test0x.png": ("identical", "train/again.png"),
        "test/test1x.png": ("same scan", "train/noisy.png"),
        "test/test2x.png": ("similar", "train/mixed.png"),
        "test/test3x.png": ("identical", "train/turned.png"),
    }
    one = leak.splits["test"]
    assert (one.identical, one.identical_turned, one.same_scan, one.similar, one.near_duplicates) == (2, 1, 1, 1, 4)
    assert [pair.relation for pair in leak.pairs] == ["identical", "identical", "same scan", "similar"]


def test_detail_tells_the_same_scan_where_the_brightness_differs(root: Path) -> None:
    rng = np.random.default_rng(5)
    detail = cv2.resize(rng.normal(0, 20, (64, 64)).astype(np.float32), (128, 128))
    for split, part in (("train", 3), ("test", 4)):
        coarse = cv2.resize(smooth(5, seed=70)[part], (128, 128)) / 2 + 60
        add(root / split, "same.png", np.clip(coarse + detail, 0, 255).astype(np.uint8))
    _, leak = measure(root)
    (pair,) = leak.pairs
    assert (pair.file, pair.train_file, pair.relation) == ("test/same.png", "train/same.png", "same scan")
    assert pair.correlation < 0.9
    assert leak.splits["test"].same_scan == leak.splits["test"].related == 1


def mixed(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return np.clip((1 - share) * one + share * other, 0, 255).astype(np.uint8)


def mixed_correlation(one: np.ndarray, other: np.ndarray, share: float) -> float:
    return float(signature(one) @ signature(mixed(one, other, share)))


def test_every_fine_look_is_taken_once(root: Path) -> None:
    for index in range(3):
        add(root / "train", f"again{index}.png", brighter(grey(root, f"valid/valid{index}x.png")))
    dataset = open_dataset(root)
    scan = scan_dataset(dataset)
    first = measure_leak(dataset, scan, group_slices(scan))
    assert first.splits["valid"].identical == 3
    # What was measured is kept with the scan: nothing is opened again.
    for index in range(3):
        (root / "train" / f"again{index}.png").unlink()
    assert measure_leak(dataset, scan, group_slices(scan)) == first


def test_a_test_image_that_stands_in_the_validation_split_is_told_apart(root: Path) -> None:
    add(root / "valid", "again.png", brighter(grey(root, "test/test0x.png")))
    for split in ("train", "valid"):
        add(root / split, "both.png", brighter(grey(root, "test/test1x.png")))
    _, leak = measure(root)
    assert (leak.splits["test"].identical, leak.splits["test"].identical_in_valid) == (1, 1)
    assert leak.splits["valid"].identical_in_valid == 0


def test_an_image_that_is_gone_is_not_called_identical(root: Path) -> None:
    add(root / "train", "again.png", brighter(grey(root, "valid/valid0x.png")))
    dataset = open_dataset(root)
    scan = scan_dataset(dataset)
    (root / "train" / "again.png").unlink()
    (pair,) = measure_leak(dataset, scan, group_slices(scan)).pairs
    assert (pair.relation, pair.correlation_256) == ("same scan", None)


def test_masks_of_identical_images_tell_how_far_annotators_agree(tmp_path: Path) -> None:
    images = smooth(4, seed=21)
    for split, right in (("train", 30), ("test", 40)):
        for number, image in enumerate(images):
            mask = np.zeros(image.shape, np.uint8)
            mask[10:20, 10 : 20 if number == 3 else right] = 255
            (tmp_path / split / "images").mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / split / "images" / f"{number}a.png", image)
            write_image(tmp_path / split / "masks" / f"{number}a.png", mask)
    dataset = open_dataset(tmp_path)
    report = check_dataset(dataset)
    # 10 x 20 and 10 x 30 pixels share 10 x 20.
    agreement = report.leak.agreement
    assert (agreement.pairs, agreement.different) == (4, 3)
    assert agreement.median == pytest.approx(0.8)
    assert "a median Dice of 0.800 between the two" in render(report)


def test_the_command_names_identical_images_one_by_one_and_all_in_a_file(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, image in enumerate(smooth(22, seed=9)):
        add(root / "train", f"a{index:02}x.png", image)
        add(root / "valid", f"b{index:02}x.png", image)
    file = tmp_path / "leaks.csv"
    assert main(["data", "check", str(root), "--leaks", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "Identical to one in train: 22, 0 of them mirrored or rotated" in shown
    assert shown.count("  train/a") == 20
    assert "… and 2 more" in shown
    assert "identical-across-splits (1)" in shown
    assert "31 % of the pairs at 0.90 to 0.92" in shown
    assert "Patients are not known" in shown
    pairs = read_leaks(file)
    assert pairs is not None
    assert {(pair.file, pair.train_file, pair.relation) for pair in pairs} == {
        (f"valid/b{index:02}x.png", f"train/a{index:02}x.png", "identical") for index in range(22)
    }
    assert main(["data", "check", str(root), "--leaks", str(tmp_path / "leaks.csv" / "no")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_unreadable_image_and_an_empty_dataset_are_no_leak(tmp_path: Path) -> None:
    write_coco_split(tmp_path / "train", count=1)
    write_coco_split(tmp_path / "valid", count=1, seed=4)
    (tmp_path / "valid" / "0.png").unlink()
    assert not measure(tmp_path)[1].leaks
    for split in ("train", "valid"):
        write_json(tmp_path / split, coco_content([], []))
    assert main(["data", "check", str(tmp_path)]) == 1
