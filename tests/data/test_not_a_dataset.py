from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.data.not_a_dataset import what_else_to_do
from bts_tune.data.open import open_dataset
from bts_tune.errors import DataError
from tests.data.builders import noise, write_image, write_pairs


def test_an_archive_and_what_it_leaves_are_told(tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"data\.zip: is an archive, which is not opened; unpack it"):
        open_dataset(archive)
    with pytest.raises(DataError, match=r"holds archives \(data\.zip\), which are not opened"):
        open_dataset(tmp_path)
    write_image(tmp_path / "images\\0.png", noise())
    with pytest.raises(DataError, match=r"backslashes in their names .* unpack it anew"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(("suffix", "tool"), [(".json", "LabelMe"), (".txt", "YOLO"), (".xml", "Pascal VOC")])
def test_outlines_beside_the_images_are_told(tmp_path: Path, suffix: str, tool: str) -> None:
    write_image(tmp_path / "a.png", noise())
    (tmp_path / f"a{suffix}").write_text("{}")
    with pytest.raises(DataError, match=f"holds a{suffix} beside an image of its name: .*{tool}.* export masks"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("volume_1_slice_0.h5", "HDF5 files"),
        ("data/train-00000-of-00001.parquet", "Parquet"),
        ("images.npy", "arrays that are no pairs"),
        ("brain.xlsx", "spreadsheets"),
        ("dataset.pkl", "pickled"),
    ],
)
def test_files_of_other_kinds_are_told_with_what_to_do(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"holds {what}.*\({Path(name).name}\), which are not read; save each slice"):
        open_dataset(tmp_path)


def test_an_archive_beside_what_was_unpacked_or_a_note_is_no_riddle(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK")
    (tmp_path / "README.txt").write_text("Unpack me.")
    with pytest.raises(DataError, match=r"holds archives \(images\.zip\), which are not opened"):
        open_dataset(tmp_path)
    write_pairs(tmp_path / "brain", 3)
    with pytest.raises(DataError, match=r"is not a dataset, but .*brain is; name that folder"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("place", ["", "yes", "Training/glioma"])
def test_images_without_masks_are_told(tmp_path: Path, place: str) -> None:
    write_image(tmp_path / place / "a.png", noise())
    with pytest.raises(DataError, match=r"it holds images, such as .*a\.png, and neither .* are for classification\."):
        open_dataset(tmp_path)


def test_a_project_of_via_is_told(tmp_path: Path) -> None:
    (tmp_path / "via_region_data.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds via_region_data\.json, of the VGG Image Annotator .* export it"):
        open_dataset(tmp_path)


def test_there_is_nothing_to_say_of_an_empty_folder(tmp_path: Path) -> None:
    assert what_else_to_do(tmp_path) is None
