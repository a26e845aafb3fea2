from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from bts_tune.data.checks.check import check_dataset
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


def write_like_matlab(
    path: Path, image: np.ndarray, mask: np.ndarray, patient: object, label: int, *, cell: bool = False
) -> None:
    """Write a slice with all that the set's own files hold: classes, the border, and cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        content = file.create_group("cjdata")
        content.attrs["MATLAB_class"] = np.bytes_("struct")

        def put(where: h5py.Group, name: str, values: np.ndarray, kind: str) -> h5py.Dataset:
            where[name] = values
            where[name].attrs["MATLAB_class"] = np.bytes_(kind)
            return where[name]

        put(content, "image", np.asfortranarray(image).T, "int16")
        put(content, "tumorMask", np.asfortranarray(mask).T.astype(np.uint8), "logical")
        put(content, "label", np.array([[float(label)]]), "double")
        put(content, "tumorBorder", np.array([[20.5], [10.25], [30.0], [12.0]]), "double")
        where, name = (file.create_group("#refs#"), "a") if cell else (content, "PID")
        if isinstance(patient, str):
            letters = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)
            stored = put(where, name, letters if patient else np.zeros(2, np.uint64), "char")
            if not patient:
                stored.attrs["MATLAB_empty"] = np.uint8(1)
        else:
            stored = put(where, name, np.array([[patient]], dtype=np.float64), "double")
        if cell:
            content.create_dataset("PID", (1, 1), dtype=h5py.ref_dtype)[0, 0] = stored.ref
            content["PID"].attrs["MATLAB_class"] = np.bytes_("cell")


def test_a_set_as_the_real_one_is(tmp_path: Path) -> None:
    """Sides of 256 and 512 pixels, of three kinds of tumour, with the fold of each slice in `cvind.mat`."""
    images, masks = [], []
    for number in range(1, 13):
        side = 256 if number % 4 == 0 else 512
        image = np.zeros((side, side), dtype=np.int16)
        image[: side // 4, : side // 8] = 900  # high and narrow at the top left, as a viewer shows it
        image[side // 2, :] = number
        mask = np.zeros((side, side), dtype=np.uint8)
        mask[10:90, 20:40] = 1
        images.append(image)
        masks.append(mask)
        write_like_matlab(tmp_path / f"{number}.mat", image, mask, f"MR0{number // 3}", 1 + number % 3)
    with h5py.File(tmp_path / "cvind.mat", "w", userblock_size=512) as file:
        file["cvind"] = np.array([[float(1 + number % 5) for number in range(12)]])
    dataset = open_dataset(tmp_path)
    assert [(issue.code, issue.file) for issue in dataset.issues] == [("left-out", "cvind.mat")]
    for record, image, mask in zip(dataset, images, masks, strict=True):
        assert record.source is not None
        assert np.array_equal(record.source.image(), image)
        assert np.array_equal(read_mask(record), mask)
    assert [record.group for record in dataset] == [f"MR0{number // 3}" for number in range(1, 13)]
    kinds = {1: "meningioma", 2: "glioma", 3: "pituitary"}
    assert [dict(record.strata)["tumour"] for record in dataset] == [kinds[1 + number % 3] for number in range(1, 13)]
    report = check_dataset(dataset)
    assert {issue.code for issue in report.errors} == {"empty-split"}  # it is split afterwards
    assert report.splits["train"].sizes == {"512 x 512": 9, "256 x 256": 3}


@pytest.mark.parametrize(
    ("patient", "cell", "expected"),
    [
        ("100360", True, "100360"),
        ("MR040240B", True, "MR040240B"),
        (100360, False, "100360"),
        (100360, True, "100360"),
        ("", False, "7"),
    ],
)
def test_forms_of_a_patients_name(tmp_path: Path, patient: object, cell: bool, expected: str) -> None:
    """MATLAB writes a cell as a reference, and a word without letters as its size."""
    write_like_matlab(tmp_path / "7.mat", noise().astype(np.int16), square(), patient, 1, cell=cell)
    (record,) = open_dataset(tmp_path)
    assert record.group == expected
