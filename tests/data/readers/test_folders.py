from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.readers.folders import FoldersReader
from bts_tune.data.records import SPLITS
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise, write_image, write_pairs


class TestAlone(ReaderContract):
    """One pair of folders, without splits."""

    @pytest.fixture
    def reader(self) -> FoldersReader:
        return FoldersReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_pairs(tmp_path / "dataset", 10)

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_pairs(tmp_path / "dataset", 10)
        (root / "masks" / "s003.png").unlink()
        return root


class TestInSplits(TestAlone):
    """A pair of folders in each split."""

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        for number, split in enumerate(("train", "val", "test")):
            write_pairs(tmp_path / "dataset" / split, 3, seed=10 * number)
        return tmp_path / "dataset"

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        for number, split in enumerate(("train", "valid")):
            write_pairs(tmp_path / "dataset" / split, 3, seed=10 * number)
        (tmp_path / "dataset" / "valid" / "images" / "s001.png").unlink()
        return tmp_path / "dataset"


def test_split_folders(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train", 4)
    write_pairs(tmp_path / "val", 2)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "folders"
    assert dataset.categories == {}
    assert {split: len(records) for split, records in dataset.records.items()} == {"train": 4, "valid": 2, "test": 0}
    record = dataset.records["valid"][0]
    assert (record.name, record.split, record.width) == ("val/images/s000.png", "valid", None)
    assert dataset.issues == ()


def test_image_and_mask_may_have_different_formats(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 2)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[1:9, 2:7] = 1
    (folder / "masks" / "s000.png").unlink()
    write_image(folder / "masks" / "s000.tif", mask)
    (record,) = (one for one in open_dataset(tmp_path) if one.image_id == "s000")
    assert np.array_equal(read_mask(record), mask)


def test_without_splits_all_slices_wait_to_be_split(tmp_path: Path) -> None:
    dataset = open_dataset(write_pairs(tmp_path, 12, height=8, width=8))
    assert dataset.own_splits == ()
    assert dataset.needs_splitting
    assert [len(dataset.records[split]) for split in SPLITS] == [12, 0, 0]


def test_an_image_without_a_mask_is_an_error(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 5)
    (folder / "masks" / "s002.png").unlink()
    dataset = open_dataset(tmp_path)
    assert [(one.code, one.level, one.file) for one in dataset.issues] == [("missing-mask", "error", "images/s002.png")]
    assert len(dataset) == 4


def test_a_mask_without_an_image_is_a_warning(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, 5)
    (folder / "images" / "s002.png").unlink()
    issues = open_dataset(tmp_path).issues
    assert [(one.code, one.level, one.file) for one in issues] == [("unlisted-file", "warning", "masks/s002.png")]


@pytest.mark.parametrize("where", ["images", "masks"])
def test_two_files_of_one_stem_are_an_error(tmp_path: Path, where: str) -> None:
    folder = write_pairs(tmp_path, 5)
    write_image(folder / where / "s001.tif", noise())
    (issue,) = open_dataset(tmp_path).issues
    assert (issue.code, issue.level) == ("duplicate-stem", "error")
    assert "s001.tif" in issue.message
