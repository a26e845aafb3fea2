from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.figshare import FigshareReader
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import noise


def write_slice(path: Path, image: np.ndarray, mask: np.ndarray, patient: str = "100360", label: int = 1) -> Path:
    """Write a file as MATLAB 7.3 does: columns first, words as numbers, 512 bytes of MATLAB's own in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        content = file.create_group("cjdata")
        content["image"] = image.T.astype(np.int16)
        content["tumorMask"] = mask.T.astype(np.uint8)
        content["PID"] = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)
        content["label"] = np.array([[float(label)]])
    return path


def square() -> np.ndarray:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:20, 10:30] = 1
    return mask


def write_set(root: Path, count: int = 8) -> Path:
    for number in range(1, count + 1):
        folder = root / f"brainTumorDataPublic_{(number - 1) // 4}"
        write_slice(folder / f"{number}.mat", noise(seed=number), square(), f"10{number // 3}", 1 + number % 3)
    return root


class TestContract(ReaderContract):
    @pytest.fixture
    def reader(self) -> FigshareReader:
        return FigshareReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_set(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_set(tmp_path / "dataset")
        (root / "brainTumorDataPublic_0" / "2.mat").write_bytes(b"no file of MATLAB's")
        return root


def test_pixels_patients_and_kinds_are_read(tmp_path: Path) -> None:
    image = np.zeros((40, 60), dtype=np.int16)
    image[3, 7], image[30, 50] = 1000, 500
    write_slice(tmp_path / "1.mat", image, square(), "MR040240B", 2)
    (record,) = open_dataset(tmp_path)
    assert (record.name, record.group, record.strata) == ("1.mat", "MR040240B", (("tumour", "glioma"),))
    assert np.array_equal(read_mask(record), square())
    grey = read_slice(record)
    assert (grey.shape, grey[3, 7], grey[30, 50], grey[0, 0]) == ((40, 60), 255, 128, 0)


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        write_slice(tmp_path / f"{number}.mat", noise(seed=number), square())
    assert [record.name for record in open_dataset(tmp_path)] == ["2.mat", "9.mat", "10.mat"]


@pytest.mark.parametrize("kind", ["external link", "external storage"])
def test_a_field_that_lies_in_another_file_is_not_read(tmp_path: Path, kind: str) -> None:
    root = write_set(tmp_path / "dataset", 2)
    outside = tmp_path / "secret.h5"
    with h5py.File(outside, "w") as file:
        file["x"] = np.full((40, 60), 7, dtype=np.int16)
    with h5py.File(root / "brainTumorDataPublic_0" / "1.mat", "r+") as file:
        del file["cjdata/image"]
        if kind == "external link":
            file["cjdata/image"] = h5py.ExternalLink(str(outside), "x")
        else:
            file.create_dataset("cjdata/image", (4, 6), "i2", external=[(str(outside), 0, 48)])
    dataset = open_dataset(root)
    (error,) = dataset.errors
    assert (error.code, error.file) == ("unreadable-image", "brainTumorDataPublic_0/1.mat")
    assert len(dataset) == 1


def test_without_h5py_one_sentence_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        DataError, match=r"is read with h5py, which is not installed: pip install 'bts-tune\[figshare\]'"
    ):
        open_dataset(write_one(tmp_path))


def write_one(root: Path) -> Path:
    (root / "1.mat").write_bytes(b"")
    return root


def test_the_older_format_is_named(tmp_path: Path) -> None:
    for number in (1, 2):
        content = {"cjdata": {"image": np.ones((4, 4)), "tumorMask": np.eye(4), "PID": "1", "label": 1}}
        scipy.io.savemat(tmp_path / f"{number}.mat", content)
    with pytest.raises(DataError, match=r"1\.mat: is of MATLAB's older format, which is not read; save it with -v7\.3"):
        open_dataset(tmp_path)
