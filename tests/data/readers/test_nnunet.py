from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.nnunet import NnunetReader
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise, write_image


def write_raw(root: Path, sequences: tuple[str, ...] = ("T1",), test: bool = False) -> Path:
    """Write a 2-D dataset as nnU-Net wants it."""
    (root / "imagesTr").mkdir(parents=True)
    named = {str(number): name for number, name in enumerate(sequences)}
    content = {"channel_names": named, "labels": {"background": 0, "tumour": 1}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(content))
    for part in ("Tr", "Ts") if test else ("Tr",):
        for case in range(4):
            for number in range(len(sequences)):
                write_image(root / f"images{part}" / f"case{case}_{number:04}.png", noise(seed=10 * case + number))
            mask = np.zeros((40, 60), dtype=np.uint8)
            mask[5:20, 10 : 20 + case] = 1
            write_image(root / f"labels{part}" / f"case{case}.png", mask)
    return root


class TestContract(ReaderContract):
    @pytest.fixture
    def reader(self) -> NnunetReader:
        return NnunetReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_raw(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_raw(tmp_path / "dataset")
        (root / "labelsTr" / "case2.png").unlink()
        return root


def test_image_and_label_belong_together(tmp_path: Path) -> None:
    for record in open_dataset(write_raw(tmp_path)):
        case = int(str(record.image_id)[4:])
        assert np.array_equal(read_slice(record), noise(seed=10 * case))
        assert read_mask(record).sum() == 15 * (10 + case)


def test_the_test_split_is_its_own(tmp_path: Path) -> None:
    dataset = open_dataset(write_raw(tmp_path, test=True))
    assert [len(dataset.records[split]) for split in ("train", "valid", "test")] == [4, 0, 4]
    assert dataset.own_splits == ("train", "test")


def test_one_of_several_sequences_is_chosen(tmp_path: Path) -> None:
    root = write_raw(tmp_path, ("T1", "FLAIR"))
    with pytest.raises(DataError, match=r"has 2 sequences \(T1, FLAIR\); choose one: --sequence T1"):
        open_dataset(root)
    for wanted in ("flair", "1"):
        record = open_dataset(root, sequence=wanted).records["train"][0]
        assert record.name == "imagesTr/case0_0001.png"
    with pytest.raises(DataError, match="--sequence 'T2': must be one of T1, FLAIR"):
        open_dataset(root, sequence="T2")
