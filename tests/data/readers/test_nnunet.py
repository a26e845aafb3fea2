from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.prepared.prepare import with_mask_rule
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


def test_a_case_whose_name_ends_like_a_channel_is_known_by_its_label(tmp_path: Path) -> None:
    root = write_raw(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        for path in sorted((root / folder).iterdir()):
            path.rename(path.with_name(f"scan_000{path.stem[4]}.png"))
    dataset = open_dataset(root)
    assert dataset.errors == ()
    assert [record.image_id for record in dataset] == [f"scan_000{case}" for case in range(4)]


@pytest.mark.parametrize("missing", [(2,), (0, 3)])
def test_a_label_that_is_missing_makes_no_channels_of_cases(tmp_path: Path, missing: tuple[int, ...]) -> None:
    root = write_raw(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        for path in sorted((root / folder).iterdir()):
            path.rename(path.with_name(f"scan_000{path.stem[4]}.png"))
    for case in missing:
        (root / "labelsTr" / f"scan_000{case}.png").unlink()
    dataset = open_dataset(root)
    (error,) = dataset.errors
    names = ", ".join(f"scan_000{case}" for case in missing)
    assert error.message == f"{len(missing)} of 4 cases have no file of their name in labelsTr/: {names}."
    assert len(dataset) == 4 - len(missing)


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


# --- the Medical Segmentation Decathlon: all sequences of a case in one file ---

MODALITIES = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
OBLIQUE = np.array([[-1.0, 0.1, 0, 10], [0, -1.2, 0.1, 5], [0, 0, 2.0, -7], [0, 0, 0, 1]])


def write_decathlon(root: Path, volumes: tuple[int, ...] = (4, 4, 4)) -> Path:
    nibabel = pytest.importorskip("nibabel")
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (root / name).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"name": "BRATS", "modality": MODALITIES, "labels": {"0": "none"}}))
    for case, count in enumerate(volumes):
        rng = np.random.default_rng(case)
        image = rng.integers(0, 3000, (20, 24, 12, count)).astype(np.int16)
        mask = np.zeros(image.shape[:3], dtype=np.uint8)
        mask[3:9, 4:12, 4 : 6 + case] = 1
        nibabel.save(nibabel.Nifti1Image(image, OBLIQUE), root / "imagesTr" / f"BRATS_{case:03}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, OBLIQUE), root / "labelsTr" / f"BRATS_{case:03}.nii.gz")
    return root


def as_shown(root: Path, case: str, number: int, index: int) -> np.ndarray:
    """Return an axial slice of one sequence, computed by nibabel and NumPy alone, uint8."""
    import nibabel

    stored: Any = nibabel.load(root / "imagesTr" / f"{case}.nii.gz")
    one = nibabel.as_closest_canonical(nibabel.Nifti1Image(stored.get_fdata()[..., number], stored.affine))
    values = one.get_fdata()
    low, high = np.quantile(values, (0.005, 0.995))
    return np.round(np.clip((np.rot90(values[:, :, index]) - low) / (high - low), 0, 1) * 255)


@pytest.mark.parametrize(("wanted", "number"), [("FLAIR", 0), ("t1gd", 2), ("3", 3)])
def test_a_sequence_of_a_four_dimensional_file_is_chosen(tmp_path: Path, wanted: str, number: int) -> None:
    root = write_decathlon(tmp_path)
    dataset = open_dataset(root, sequence=wanted, empty_slices=0.0)
    assert {record.group for record in dataset} == {"BRATS_000", "BRATS_001", "BRATS_002"}
    assert len(dataset.records["train"]) == 2 + 3 + 4
    for record in dataset:
        case, index = str(record.image_id).split("/")
        found, expected = read_slice(record).astype(float), as_shown(root, case, number, int(index))
        assert np.abs(found - expected).max() <= 1
        assert read_mask(record).sum() == 6 * 8


def test_all_sequences_of_a_four_dimensional_file_are_channels(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path)
    record = open_dataset(root, sequence="all", empty_slices=0.0).records["train"][0]
    case, index = str(record.image_id).split("/")
    found = read_slice(record, 4)
    assert found.shape == (24, 20, 4)
    for number in range(4):
        assert np.abs(found[..., number].astype(float) - as_shown(root, case, number, int(index))).max() <= 1


def test_a_sequence_of_a_four_dimensional_file_must_be_chosen(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path)
    with pytest.raises(DataError, match=r"has 4 sequences \(FLAIR, T1w, t1gd, T2w\); choose one: --sequence FLAIR"):
        open_dataset(root)
    with pytest.raises(DataError, match="--sequence 'DWI': must be one of FLAIR, T1w, t1gd, T2w"):
        open_dataset(root, sequence="DWI")


def test_a_case_that_lacks_the_sequence_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(write_decathlon(tmp_path, (4, 2, 1)), sequence="t1gd")
    assert {record.group for record in dataset} == {"BRATS_000"}
    messages = {issue.file: issue.message for issue in dataset.issues if issue.code == "unreadable-volume"}
    assert messages["imagesTr/BRATS_001.nii.gz"] == "holds 2 volumes, none of which has the number 2."
    assert messages["imagesTr/BRATS_002.nii.gz"] == "holds 1 volume, none of which has the number 2."


def test_the_sequence_is_part_of_what_is_prepared(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path)
    one, other = (open_dataset(root, sequence=name).records["train"][0].source for name in ("FLAIR", "T2w"))
    assert one is not None
    assert other is not None
    assert one.describe() != other.describe()


@pytest.mark.parametrize(
    "labels", [{"background": 0, "tumour": 1, "ignore": 2}, {"background": 0, "all": [1, 3], "ignore": 2}]
)
def test_the_label_to_be_ignored_is_no_tumour(tmp_path: Path, labels: dict[str, Any]) -> None:
    root = write_raw(tmp_path)
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, "labels": labels}))
    for case in range(4):
        mask = np.zeros((40, 60), dtype=np.uint8)
        mask[5:20, 10:20] = 1
        mask[30:] = 2
        write_image(root / "labelsTr" / f"case{case}.png", mask)
    dataset = with_mask_rule(open_dataset(root))
    assert {int(read_mask(record, dataset.mask_rule).sum()) for record in dataset} == {150}
    (issue,) = dataset.issues
    assert (issue.file, issue.code, issue.level) == ("dataset.json", "ignore-label", "warning")
    chosen = with_mask_rule(open_dataset(root, tumor_labels=["2"]))
    assert {int(read_mask(record, chosen.mask_rule).sum()) for record in chosen} == {600}
    assert chosen.fingerprint() != dataset.fingerprint()


@pytest.mark.parametrize("labels", [False, True])
def test_test_images_without_labels_are_left_out_and_said(tmp_path: Path, labels: bool) -> None:
    root = write_raw(tmp_path)
    if labels:
        (root / "labelsTs").mkdir()
    write_image(root / "imagesTs" / "case9_0000.png", noise())
    dataset = open_dataset(root)
    assert sorted(issue.code for issue in dataset.issues) == ["left-out", "split-without-masks"]
