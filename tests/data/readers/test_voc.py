from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.readers.voc import VocReader
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise, write_image


def write_voc(root: Path, **lists: str) -> Path:
    """Write eight images, six of them with masks: palettes of class 1 with a border of 255, as VOC's own are."""
    for number in range(8):
        write_image(root / "JPEGImages" / f"s{number}.jpg", noise(seed=number))
    (root / "SegmentationClass").mkdir()
    for number in range(6):
        indices = np.zeros((40, 60), dtype=np.uint8)
        indices[4:12, 4:12] = 255
        indices[5:11, 5:11] = 1
        image = Image.fromarray(indices, mode="P")
        image.putpalette([0, 0, 0, 128, 0, 0] + [0, 0, 0] * 253 + [224, 224, 192])
        image.save(root / "SegmentationClass" / f"s{number}.png")
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for name, stems in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(f"s{stem}" for stem in stems) + "\n")
    return root


class TestVoc(ReaderContract):
    @pytest.fixture
    def reader(self) -> VocReader:
        return VocReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_voc(tmp_path / "dataset", train="0123", val="45", trainval="012345")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_voc(tmp_path / "dataset", train="0123", val="45")
        (root / "SegmentationClass" / "s2.png").unlink()
        return root


def test_lists_are_the_splits_and_what_none_names_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(write_voc(tmp_path, train="012", val="3", test="45", trainval="0123"))
    names = {split: [record.image.stem for record in members] for split, members in dataset.records.items()}
    assert names == {"train": ["s0", "s1", "s2"], "valid": ["s3"], "test": ["s4", "s5"]}
    assert [issue.code for issue in dataset.issues] == ["left-out"]
    report = check_dataset(dataset)
    assert not report.errors
    rule = report.masks.rule
    assert read_mask(dataset.records["train"][0], rule).sum() == 36


def test_without_lists_a_split_is_made_of_what_has_a_mask(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    for _ in range(2):
        dataset = open_dataset(root)
        assert (len(dataset), dataset.own_splits) == (6, ())
        shutil.rmtree(root / "ImageSets", ignore_errors=True)


@pytest.mark.parametrize(
    ("lists", "sizes"),
    [
        ({"trainval": "0123", "test": "45"}, {"train": 4, "valid": 0, "test": 2}),
        ({"train_val": "01234", "val": "4", "test": "5"}, {"train": 4, "valid": 1, "test": 1}),
        ({"glioma_trainval": "01", "tumor_trainval": "23", "glioma_test": "45"}, {"train": 4, "valid": 0, "test": 2}),
    ],
)
def test_training_and_validation_in_one_list_are_the_training_split(
    tmp_path: Path, lists: dict[str, str], sizes: dict[str, int]
) -> None:
    dataset = open_dataset(write_voc(tmp_path, **lists))
    assert {split: len(members) for split, members in dataset.records.items()} == sizes
    assert "test" in (dataset.own_splits or dataset.records)
    assert not dataset.errors


def test_lists_without_training_images_are_named_as_unused(tmp_path: Path) -> None:
    dataset = open_dataset(write_voc(tmp_path, val="4", test="5"))
    (warning,) = (issue for issue in dataset.issues if issue.code == "unused-splits")
    assert "test.txt, ImageSets/Segmentation/val.txt are not used" in warning.message
    assert len(dataset.records["train"]) == 6


def test_a_stem_in_two_lists_and_one_without_a_file_are_errors(tmp_path: Path) -> None:
    issues = open_dataset(write_voc(tmp_path, train="0129", val="23")).errors
    assert [(issue.code, issue.file) for issue in issues] == [
        ("missing-image", "ImageSets/Segmentation/train.txt"),
        ("several-splits", "ImageSets/Segmentation/val.txt"),
    ]


@pytest.mark.parametrize("lists", [{}, {"train": "0123", "val": "45"}])
def test_masks_may_say_that_they_are(tmp_path: Path, lists: dict[str, str]) -> None:
    root = write_voc(tmp_path, **lists)
    for path in (root / "SegmentationClass").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    dataset = open_dataset(root)
    assert (dataset.errors, len(dataset)) == ((), 6)


def test_lists_of_classes_are_united(tmp_path: Path) -> None:
    dataset = open_dataset(write_voc(tmp_path, glioma_train="01", meningioma_train="23", glioma_val="4", tumor_val="5"))
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [4, 2, 0]


def test_a_stem_whose_mask_is_missing_has_an_image(tmp_path: Path) -> None:
    (error,) = open_dataset(write_voc(tmp_path, train="0167", val="45")).errors
    assert (error.code, error.file) == ("missing-mask", "JPEGImages/s6.jpg")


def test_a_list_that_is_no_text_is_told(tmp_path: Path) -> None:
    root = write_voc(tmp_path, train="0")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt: is no text in UTF-8"):
        open_dataset(root)


@pytest.mark.parametrize("place", ["Segmentation", "Main", "."])
@pytest.mark.parametrize("form", ["s{}", "s{}.jpg", "s{} 1", "s{} -1"])
def test_lists_as_programs_write_them(tmp_path: Path, place: str, form: str) -> None:
    root = write_voc(tmp_path)
    shutil.rmtree(root / "ImageSets")
    folder = root / "ImageSets" / place
    folder.mkdir(parents=True)
    for name, stems in (("train", "0123"), ("val", "45"), ("tumor_train", "0")):
        (folder / f"{name}.txt").write_bytes("\r\n".join(form.format(stem) for stem in stems).encode())
    dataset = open_dataset(root)
    assert dataset.errors == ()
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [4, 2, 0]


def test_stems_with_spaces(tmp_path: Path) -> None:
    root = write_voc(tmp_path, train="0123", val="45")
    for folder in ("JPEGImages", "SegmentationClass"):
        for path in (root / folder).iterdir():
            path.rename(path.with_name(f"the {path.name}"))
    for path in (root / "ImageSets" / "Segmentation").iterdir():
        path.write_text("".join(f"the {line}\n" for line in path.read_text().split()))
    dataset = open_dataset(root)
    assert (dataset.errors, len(dataset)) == ((), 6)
