from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.records import SPLITS, image_files
from bts_tune.errors import DataError
from tests.data.builders import noise, read_json, rectangle, write_coco, write_image, write_json, write_pairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "data")


def test_a_dataset_is_iterated_split_by_split(root: Path) -> None:
    dataset = open_dataset(root)
    assert [record.split for record in dataset] == ["train"] * 3 + ["valid"] * 2 + ["test"]
    assert len(dataset) == 6
    assert tuple(dataset.records) == SPLITS


def test_fingerprint_does_not_depend_on_where_the_dataset_is(root: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(root, tmp_path / "elsewhere")
    assert open_dataset(root).fingerprint() == open_dataset(copied).fingerprint()


def test_fingerprint_ignores_what_is_not_used(root: Path) -> None:
    before = open_dataset(root).fingerprint()
    content = read_json(root / "train")
    content["info"] = {"description": "another export"}
    write_json(root / "train", content, bom=True)
    write_image(root / "train" / "unlisted.png", noise())
    assert open_dataset(root).fingerprint() == before


def test_fingerprint_changes_with_a_pixel_an_annotation_and_a_category(root: Path) -> None:
    seen = {open_dataset(root).fingerprint(), open_dataset(root, tumor_categories=["name:0"]).fingerprint()}
    write_image(root / "test" / "0.png", noise(seed=999))
    seen.add(open_dataset(root).fingerprint())
    content = read_json(root / "valid")
    content["annotations"][0]["segmentation"] = [rectangle(10, 5, 20, 16)]
    write_json(root / "valid", content)
    seen.add(open_dataset(root).fingerprint())
    assert len(seen) == 4


def test_fingerprint_changes_with_a_mask_and_a_split(tmp_path: Path) -> None:
    root = write_pairs(tmp_path, 10)
    dataset = open_dataset(root)
    seen = {dataset.fingerprint(), dataset.with_splits({one.name: "valid" for one in dataset}).fingerprint()}
    write_image(root / "masks" / "s003.png", noise())
    seen.add(open_dataset(root).fingerprint())
    assert len(seen) == 3


def test_fingerprint_without_splits_is_that_of_the_slices_alone(root: Path) -> None:
    dataset = open_dataset(root)
    names = [record.name for record in dataset]
    other = dataset.with_splits({name: "valid" if place % 2 else "train" for place, name in enumerate(names)})
    assert other.fingerprint() != dataset.fingerprint()
    assert other.fingerprint(splits=False) == dataset.fingerprint(splits=False) != dataset.fingerprint()
    narrower = open_dataset(root, tumor_categories=["name:0"])
    assert narrower.fingerprint(splits=False) != dataset.fingerprint(splits=False)


def test_splits_of_another_dataset_are_refused(root: Path) -> None:
    dataset = open_dataset(root)
    splits = {record.name: record.split for record in dataset}
    with pytest.raises(DataError, match="train/more is split but not there"):
        dataset.with_splits({**splits, "train/more": "train"})
    with pytest.raises(DataError, match=r"train/0\.png has no split"):
        dataset.with_splits({name: one for name, one in splits.items() if name != "train/0.png"})
    with pytest.raises(DataError, match=r"the split of train/0\.png is 'val'; allowed are train, valid, test"):
        dataset.with_splits({**splits, "train/0.png": "val"})


def test_a_group_changes_no_fingerprint(root: Path) -> None:
    dataset = open_dataset(root)
    records = {
        split: tuple(replace(record, group=record.name) for record in members)
        for split, members in dataset.records.items()
    }
    assert replace(dataset, records=records).fingerprint() == dataset.fingerprint()


def test_fingerprint_names_a_file_that_cannot_be_read(root: Path) -> None:
    dataset = open_dataset(root)
    (root / "train" / "1.png").unlink()
    with pytest.raises(DataError, match=r"train/1\.png: cannot be read"):
        dataset.fingerprint()


def test_errors_are_the_issues_of_that_level(root: Path) -> None:
    (root / "train" / "3.png").write_bytes(b"")
    dataset = open_dataset(root)
    assert [issue.level for issue in dataset.issues] == ["warning"]
    assert dataset.errors == ()
    error = replace(dataset.issues[0], level="error")
    assert replace(dataset, issues=(*dataset.issues, error)).errors == (error,)


def test_image_files_passes_over_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.tiff", "note.txt", ".hidden.png", "below/c.jpg", ".cache/d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert [path.name for path in image_files(tmp_path)] == ["a.tiff", "b.PNG"]
    assert [path.name for path in image_files(tmp_path, recursive=True)] == ["a.tiff", "b.PNG", "c.jpg"]
