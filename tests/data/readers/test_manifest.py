from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.data.open import open_dataset
from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.readers.manifest import ManifestReader
from bts_tune.data.records import Dataset
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise, write_image

PLAIN = "image,mask,patient,split\n"


def write_files(root: Path, count: int = 8) -> Path:
    """Write images and masks whose folders say nothing."""
    for number in range(count):
        write_image(root / "a" / f"s{number}.png", noise(seed=number))
        mask = np.zeros((40, 60), dtype=np.uint8)
        mask[4:12, 4 : 12 + number] = 255
        write_image(root / "b" / f"drawn {number}.png", mask)
    return root


def row(number: int, *more: str) -> str:
    return ",".join([f"a/s{number}.png", f"b/drawn {number}.png", *more]) + "\n"


def read(root: Path, text: str, name: str = "train.csv") -> Dataset:
    (root / name).write_text(text, encoding="utf-8")
    return open_dataset(root)


class TestManifest(ReaderContract):
    @pytest.fixture
    def reader(self) -> ManifestReader:
        return ManifestReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        root = write_files(tmp_path / "dataset")
        rows = [row(number, f"p{number // 2}", "train" if number < 4 else "valid") for number in range(8)]
        (root / "data.csv").write_text(PLAIN + "".join(rows))
        return root

    @pytest.fixture
    def broken_folder(self, dataset_folder: Path) -> Path:
        (dataset_folder / "b" / "drawn 3.png").unlink()
        return dataset_folder


def test_patients_and_splits_are_those_of_the_table(tmp_path: Path) -> None:
    splits = ["train", "Training", "val", "validation", "test", "testing"]
    rows = [row(number, f"p{number}", split) for number, split in enumerate(splits)]
    dataset = read(write_files(tmp_path), PLAIN + "".join(rows))
    assert dataset.layout == "manifest"
    assert {split: [one.group for one in members] for split, members in dataset.records.items()} == {
        "train": ["p0", "p1"],
        "valid": ["p2", "p3"],
        "test": ["p4", "p5"],
    }


def test_rows_without_a_split_or_a_patient_are_told(tmp_path: Path) -> None:
    rows = [row(0, "p0", "train"), row(1, "nan", "valid"), row(2, "", ""), row(3, "p0", "NaN"), row(4, "None", "train")]
    dataset = read(write_files(tmp_path), PLAIN + "".join(rows))
    assert [record.group for record in dataset] == ["p0", "a/s4.png", "a/s1.png"]
    (error,) = dataset.errors
    assert "2 of 5 rows have no split, while others have one (line 4, line 5)" in error.message
    assert "2 slices without a patient" in next(one.message for one in dataset.issues if one.code == "no-patient")


def test_without_splits_one_is_made_and_without_patients_there_are_none(tmp_path: Path) -> None:
    dataset = read(write_files(tmp_path), "Image Path;Mask-Path\n" + "".join(map(row, range(4))).replace(",", ";"))
    assert (len(dataset), dataset.own_splits) == (4, ())
    assert {record.group for record in dataset} == {None}


def test_several_tables_are_the_splits_of_their_names(tmp_path: Path) -> None:
    write_files(tmp_path)
    read(tmp_path, "image,mask\n" + row(0) + row(1), "train.csv")
    dataset = read(tmp_path, "image,mask\n" + row(2), "val.csv")
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [2, 1, 0]


def test_paths_of_other_systems_are_the_one_file_that_fits(tmp_path: Path) -> None:
    text = 'image,mask\nC:\\data\\a\\s0.png,"/home/me/b/drawn 0.png"\n./a/S1.PNG,b\\drawn 1.png\n'
    dataset = read(write_files(tmp_path), text)
    assert [record.name for record in dataset] == ["a/s0.png", "a/s1.png"]
    assert "nearly-fitting-names" in {issue.code for issue in dataset.issues}


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", noise())
    root = write_files(tmp_path / "data")
    dataset = read(root, f"image,mask\n{row(0)}../secret.png,b/drawn 1.png\n{tmp_path}/secret.png,b/drawn 2.png\n")
    assert [record.name for record in dataset] == ["a/s0.png"]
    assert [issue.code for issue in dataset.errors] == ["missing-image"]


def test_what_is_missing_or_twice_is_told_once_with_its_number(tmp_path: Path) -> None:
    text = "image,mask\n" + row(0) + row(0) + "a/none.png,b/drawn 1.png\na/s2.png,\na/s3.png,b/none.png\n"
    dataset = read(write_files(tmp_path), text)
    told = {issue.code: issue.message for issue in dataset.errors}
    assert told.keys() == {"duplicate-entry", "missing-image", "missing-mask"}
    assert "1 of its 5 rows" in told["missing-image"]
    assert "2 of its 5 rows" in told["missing-mask"]
    assert "none in line 5" in told["missing-mask"]


def test_a_row_without_a_mask_says_nothing_of_renamed_files(tmp_path: Path) -> None:
    dataset = read(write_files(tmp_path), "image,mask\n" + row(0) + "a/s1.png,\na/s2.png,\n")
    (error,) = dataset.errors
    assert error.message == (
        "2 of its 3 rows name no mask that is there (none in line 3, none in line 4); a slice without a tumour needs "
        "an all-zero mask."
    )


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_missing_file_is_none_of_the_other_kind(tmp_path: Path, kind: str) -> None:
    for folder in ("a", "b"):
        for number in range(3):
            write_image(tmp_path / folder / f"P{number}" / "1.png", noise(seed=number))
    folder, other = ("a", "b") if kind == "image" else ("b", "a")
    (tmp_path / folder / "P1" / "1.png").unlink()
    (tmp_path / other / "P2" / "1.png").unlink()  # and of a patient that the table does not list, one is left
    dataset = read(tmp_path, "image,mask\n" + "".join(f"a/P{n}/1.png,b/P{n}/1.png\n" for n in range(2)))
    (error,) = dataset.errors
    assert error.code == f"missing-{kind}"
    assert [(one.name, one.mask) for one in dataset] == [("a/P0/1.png", tmp_path / "b/P0/1.png")]


def test_an_image_in_two_tables_is_told_with_both(tmp_path: Path) -> None:
    root = write_files(tmp_path)
    (root / "train_small.csv").write_text("image,mask\n" + row(0))
    (error,) = read(root, "image,mask\n" + row(1) + row(0)).errors
    assert error.message == "train_small.csv, line 2: lists it again after train.csv, line 3; once is allowed."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,mask,split\na/s0.png,b/drawn 0.png,fold 1\n", "split 'fold 1': must be one of train, valid, test"),
        ("image,mask\na/s0.nii.gz,b/drawn 0.png\n", "line 2: image 'a/s0.nii.gz': must be an image of a slice"),
        ("image,mask,split\na/s0.png,b/drawn 0.png,valid\n", "has no train split"),
        ("id,EncodedPixels\na,1 2\n", "holds run lengths"),
        ("image,mask\na/s0.png,0\na/s1.png,1\n", "no column for masks: 'mask' holds 0 and 1, which tells whether a"),
        ("image,Mask\na/s0.png,False\na/s1.png,True\n", "'mask' holds False and True, which tells whether a slice has"),
        ("image,age\na/s0.png,3\n", "train.csv has no column for masks, found are 'image', 'age'"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write_files(tmp_path), text)
    assert said in str(caught.value)


def test_folders_that_can_be_read_are_preferred(tmp_path: Path) -> None:
    root = write_files(tmp_path)
    (root / "a").rename(root / "images")
    (root / "b").rename(root / "masks")
    for number in range(8):
        (root / "masks" / f"drawn {number}.png").rename(root / "masks" / f"s{number}.png")
    text = "image,mask\n" + "".join(f"images/s{number}.png,masks/s{number}.png\n" for number in range(3))
    assert read(root, text).layout == "folders"
    assert len(open_dataset(root, reader="manifest")) == 3


@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda text: f"image,mask,split\n{text}".encode())
    )
)
def test_any_table_gives_a_dataset_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = tmp_path_factory.mktemp("any")
    write_image(root / "a" / "s0.png", noise())
    (root / "train.csv").write_bytes(content)
    try:
        dataset = ManifestReader().read(root, ReaderOptions())
    except DataError:
        return
    assert all(record.image.is_relative_to(root) for members in dataset.records.values() for record in members)


@pytest.mark.parametrize(
    "titles",
    [
        "image_filename,mask_filename",
        "Image Path,Label",
        "img,seg",
        "imagepath,maskpath",
        "scan,ground_truth",
        "image,target",
    ],
)
def test_usual_titles(tmp_path: Path, titles: str) -> None:
    text = f"{titles},patient_id\n" + "".join(row(number, f"p{number // 2}") for number in range(8))
    dataset = read(write_files(tmp_path), text)
    assert (dataset.issues, len(dataset), {record.group for record in dataset}) == ((), 8, {f"p{n}" for n in range(4)})


@pytest.mark.parametrize(
    ("titles", "cells"),
    [
        ("patient_id,image_path,mask_path,mask", "p,a/s{0}.png,b/drawn {0}.png,1"),
        ("image,mask,image_file,label", "{0},0,a/s{0}.png,b/drawn {0}.png"),
    ],
)
def test_of_several_columns_the_one_with_names_of_files_is_read(tmp_path: Path, titles: str, cells: str) -> None:
    text = f"{titles}\n" + "".join(f"{cells.format(number)}\n" for number in range(8))
    dataset = read(write_files(tmp_path), text)
    assert dataset.issues == ()
    assert [(one.name, one.mask) for one in dataset] == [
        (f"a/s{n}.png", tmp_path / "b" / f"drawn {n}.png") for n in range(8)
    ]


def test_a_column_of_kinds_is_none_of_masks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column for masks"):
        read(write_files(tmp_path), "image,label\na/s0.png,glioma\na/s1.png,meningioma\n")


def test_absolute_paths_of_images_and_masks_of_one_name(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "scans" / f"{number}.png", noise(seed=number))
        write_image(tmp_path / "drawn" / f"{number}.png", np.full((40, 60), number, dtype=np.uint8))
    text = "image,mask\n" + "".join(f"/home/me/scans/{n}.png,/home/me/drawn/{n}.png\n" for n in range(3))
    dataset = read(tmp_path, text)
    assert [(one.name, one.mask) for one in dataset] == [
        (f"scans/{n}.png", tmp_path / "drawn" / f"{n}.png") for n in range(3)
    ]
