from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.checks.check import check_dataset
from bts_tune.data.left_out import left_out_lines
from bts_tune.data.open import open_dataset
from bts_tune.data.records import Issue
from bts_tune.errors import DataError
from tests.data.builders import noise, write_coco, write_image, write_pairs


def write_splits(root: Path) -> Path:
    for split in ("train", "valid"):
        write_pairs(root / split, 3)
    return root


def test_each_kind_of_file_that_is_not_used_is_counted_and_named(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    for number in range(6):
        (root / "train" / "images" / f"d{number}.dcm").touch()
    (root / "train" / "masks" / "d0.nii.gz").touch()
    for name in ("IM0001", "IM0002", "DICOMDIR", "LICENSE"):
        (root / "valid" / "images" / name).touch()
    (root / "old.tar.gz").touch()
    write_image(root / "elsewhere" / "x.png", noise())
    for name in ("README.md", "train/notes.txt", ".hidden.png"):
        (root / name).touch()
    dataset = open_dataset(root)
    assert dataset.errors == ()
    lines = "\n".join(left_out_lines(dataset))
    assert "6 .dcm files left out" in lines
    assert "train/images/d0.dcm, train/images/d1.dcm, train/images/d2.dcm, … and 3 more." in lines
    assert "1 .nii.gz file left out" in lines
    assert "2 files without a suffix left out" in lines
    assert "valid/images/IM0001, valid/images/IM0002." in lines
    assert "1 .tar.gz file left out" in lines
    assert "elsewhere/x.png" in lines
    assert not any(name in lines for name in ("README", "notes", "hidden"))
    assert {issue.code for issue in dataset.issues} == {"left-out"}


def test_nothing_is_said_where_all_files_are_used(tmp_path: Path) -> None:
    for root in (write_splits(tmp_path / "pairs"), write_coco(tmp_path / "coco")):
        dataset = open_dataset(root)
        assert (dataset.issues, left_out_lines(dataset)) == ((), [])


def test_masks_without_an_image_are_said_at_once(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    (root / "train" / "images" / "s001.png").unlink()
    (line,) = left_out_lines(open_dataset(root))
    assert line == "1 file without a counterpart, left out: train/masks/s001.png."


def test_a_layout_whose_files_are_all_of_another_format(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x.dcm").touch()
    with pytest.raises(DataError, match=r"is read as image/mask folders, and holds no slice of it; 2 \.dcm files"):
        open_dataset(tmp_path)


def test_links_to_folders_that_are_not_followed_are_said(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "data", 3)
    (root / "more").mkdir()
    (root / "images" / "P1").symlink_to("../more")
    (line,) = left_out_lines(open_dataset(root))
    assert line == "1 link to a folder not followed: images/P1; put the folder itself in its place."


def test_a_folder_of_images_that_is_a_link_to_one_beside_it_is_used(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "data", 3)
    (root / "images").rename(root / "stored")
    (root / "images").symlink_to("stored")
    dataset = open_dataset(root)
    assert (len(dataset), dataset.issues) == (3, ())


def test_a_link_to_itself_is_an_error_of_its_slice_alone(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    for kind in ("images", "masks"):
        (root / "train" / kind / "loop.png").symlink_to("loop.png")
    assert check_dataset(open_dataset(root)).errors == (
        Issue("error", "missing-image", "train/images/loop.png", None, "the file does not exist."),
    )
