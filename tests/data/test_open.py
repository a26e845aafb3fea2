from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.readers.base import ReaderOptions
from bts_tune.data.readers.folders import FoldersReader
from bts_tune.data.records import Dataset
from bts_tune.errors import DataError
from tests.data.builders import noise, write_coco, write_coco_split, write_image, write_pairs


def test_coco_is_preferred_to_folders_of_the_same_split(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_pairs(tmp_path / "train", 1)
    assert open_dataset(tmp_path).layout == "coco"


def test_val_is_valid_and_test_is_optional(tmp_path: Path) -> None:
    write_coco_split(tmp_path / "train")
    write_coco_split(tmp_path / "val", count=2)
    dataset = open_dataset(tmp_path)
    assert {split: len(records) for split, records in dataset.records.items()} == {"train": 3, "valid": 2, "test": 0}
    assert dataset.records["valid"][0].name == "val/0.png"


@pytest.mark.parametrize(
    ("remove", "sentence"),
    [
        ("train", "has no train split"),
        ("valid/_annotations.coco.json", r"valid/_annotations\.coco\.json: missing"),
    ],
)
def test_an_incomplete_coco_export(tmp_path: Path, remove: str, sentence: str) -> None:
    path = write_coco(tmp_path) / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=sentence):
        open_dataset(tmp_path)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a dataset; expected train/ and valid/"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        open_dataset(tmp_path / "file")


def test_a_single_split_is_told_from_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name the folder above it"):
        open_dataset(write_coco(tmp_path) / "train")


def test_both_names_of_the_validation_split(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="both valid/ and val/"):
        open_dataset(tmp_path)


def test_a_split_without_masks(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train", 2)
    write_pairs(tmp_path / "valid", 2)
    (tmp_path / "valid" / "masks").rename(tmp_path / "valid" / "drawn")
    with pytest.raises(DataError, match="valid: has no folder masks/"):
        open_dataset(tmp_path)
    shutil.rmtree(tmp_path / "train" / "masks")
    with pytest.raises(DataError, match="train: has no folder masks/"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("below", [".", "train"])
def test_folders_have_no_categories(tmp_path: Path, below: str) -> None:
    write_pairs(tmp_path / below, 3)
    with pytest.raises(DataError, match="no categories to choose from"):
        open_dataset(tmp_path, tumor_categories=["1"])


@pytest.mark.parametrize(
    ("layout", "chosen", "sentence"),
    [
        ("folders", {"plane": "coronal"}, r"no volumes to cut into slices; leave --plane out\."),
        ("folders", {"empty_slices": 1.0}, r"no volumes to cut into slices; leave --empty-slices out\."),
        ("coco", {"plane": "sagittal"}, r"no volumes to cut into slices; leave --plane out\."),
        ("pairs", {"plane": "sagittal"}, r"no volumes to cut into slices; leave --plane out\."),
        (
            "folders",
            {"sequence": "flair"},
            r"no sequences to choose from in image/mask folders; leave --sequence out\.",
        ),
        ("coco", {"sequence": "all"}, r"no sequences to choose from in COCO export; leave --sequence out\."),
        ("pairs", {"sequence": "flair"}, r"no sequences to choose from without volumes; leave --sequence out\."),
    ],
)
def test_what_a_dataset_does_not_have_cannot_be_chosen(
    tmp_path: Path, layout: str, chosen: dict[str, Any], sentence: str
) -> None:
    if layout == "coco":
        write_coco(tmp_path)
    elif layout == "folders":
        write_pairs(tmp_path, 3)
    else:
        for number in range(3):
            write_image(tmp_path / f"x{number}.png", noise(seed=number))
            write_image(tmp_path / f"x{number}_mask.png", np.eye(40, 60, dtype=np.uint8))
    with pytest.raises(DataError, match=sentence):
        open_dataset(tmp_path, **chosen)
    assert open_dataset(tmp_path, plane="axial", empty_slices=0.2).layout == layout


def test_labels_of_masks_are_refused_where_there_are_none(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match="has no mask files to choose labels in"):
        open_dataset(root, tumor_labels=["1"])


def test_the_real_dataset(brain_tumor_coco: Path) -> None:
    dataset = open_dataset(brain_tumor_coco)
    assert {split: len(records) for split, records in dataset.records.items()} == {
        "train": 1502,
        "valid": 429,
        "test": 215,
    }
    assert dataset.categories == {0: "Tumor", 1: "0", 2: "1"}
    assert dataset.tumor_categories == (0, 1, 2)
    assert dataset.annotation_counts == {"train": {1: 771, 2: 731}, "valid": {1: 210, 2: 219}, "test": {1: 118, 2: 97}}
    assert dataset.issues == ()
    assert [record.name for record in dataset if not record.annotations] == [
        "train/2369_jpg.rf.8b8afa9d79c61fa42ca128c940b9cbc0.jpg"
    ]


def test_a_name_is_preferred_to_an_id_in_the_real_dataset(brain_tumor_coco: Path) -> None:
    assert open_dataset(brain_tumor_coco, tumor_categories=["1"]).tumor_categories == (2,)
    assert open_dataset(brain_tumor_coco, tumor_categories=["id:1"]).tumor_categories == (1,)


def test_folders_without_a_slice_are_told(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    with pytest.raises(DataError, match="is read as image/mask folders, and holds no slice of it"):
        open_dataset(tmp_path)


def test_two_slices_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's reader may give them; everything that is known of a slice is found by its name."""
    root = write_pairs(tmp_path, 3)
    read = FoldersReader.read

    def twice(self: FoldersReader, folder: Path, options: ReaderOptions) -> Dataset:
        found = read(self, folder, options)
        return replace(found, records={"train": (*found.records["train"], found.records["train"][0])})

    monkeypatch.setattr(FoldersReader, "read", twice)
    with pytest.raises(DataError, match=r"the reader 'folders' gives 2 slices the name 'images/s000\.png'"):
        open_dataset(root)
