from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.layout.split_folders import (
    image_and_mask_folders,
    possible_split_folders,
    require_training,
    split_folders,
)
from bts_tune.errors import DataError


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir()
    return root


def test_val_is_valid_and_the_order_is_that_of_the_splits(tmp_path: Path) -> None:
    root = folders(tmp_path, "val", "test", "train", "other")
    assert split_folders(root) == {"train": root / "train", "valid": root / "val", "test": root / "test"}
    assert list(split_folders(root)) == ["train", "valid", "test"]
    assert {path.name for path in possible_split_folders(root)} == {"train", "val", "test"}


def test_files_are_no_splits(tmp_path: Path) -> None:
    (tmp_path / "train").touch()
    assert split_folders(tmp_path) == {}
    assert possible_split_folders(tmp_path) == []


def test_both_names_of_the_validation_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both valid/ and val/"):
        split_folders(folders(tmp_path, "valid", "val"))


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("TRAINING", "validation", "testing"),
        ("train2017", "val2017", "test2017"),
        ("Training Set", "dev", "test_set"),
    ],
)
def test_usual_names_in_any_case(tmp_path: Path, names: tuple[str, str, str]) -> None:
    root = folders(tmp_path, *names)
    assert split_folders(root) == dict(zip(("train", "valid", "test"), (root / name for name in names), strict=True))


def test_a_missing_training_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no train split"):
        require_training(tmp_path, split_folders(folders(tmp_path, "val", "test")))
    require_training(tmp_path, {"train": tmp_path})


@pytest.mark.parametrize(
    ("images", "masks", "split"),
    [
        ("images", "masks", None),
        ("Imgs", "Labels", None),
        ("image", "Segmentations", None),
        ("train/images", "train/masks", "train"),
        ("Train/IMG", "Train/Annotations", "train"),
        ("images/train", "labels/train", "train"),
        ("Images/Training", "Masks/Training", "train"),
        ("train_images", "train_masks", "train"),
        ("trainImages", "trainMasks", "train"),
        ("validation-images", "validation-labels", "valid"),
    ],
)
def test_images_and_masks_are_found(tmp_path: Path, images: str, masks: str, split: str | None) -> None:
    for name in (images, masks):
        (tmp_path / name).mkdir(parents=True)
    found = image_and_mask_folders(tmp_path)
    assert {
        of: {kind: [place.folder for place in places] for kind, places in kinds.items()} for of, kinds in found.items()
    } == {split: {"images": [tmp_path / images], "masks": [tmp_path / masks]}}


@pytest.mark.parametrize("name", ["imagesTr", "patient_images", "p0", "results", "маски", "2017"])
def test_other_names_say_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert image_and_mask_folders(tmp_path) == {}
    assert split_folders(tmp_path) == {}
