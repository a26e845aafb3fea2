from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.readers._split_folders import possible_split_folders, require_splits, split_folders
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
    ("names", "sentence"),
    [
        (("train",), "has no valid split"),
        (("val", "test"), "has no train split"),
        (("test",), "no train and no valid"),
    ],
)
def test_missing_splits_are_named(tmp_path: Path, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        require_splits(tmp_path, split_folders(folders(tmp_path, *names)))


def test_the_test_split_may_be_missing(tmp_path: Path) -> None:
    require_splits(tmp_path, split_folders(folders(tmp_path, "train", "val")))
