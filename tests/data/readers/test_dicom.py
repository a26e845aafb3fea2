from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.readers.dicom import DicomReader
from bts_tune.data.records import Dataset
from bts_tune.data.volumes.dicom_series import read_series
from bts_tune.errors import DataError
from bts_tune.testing.readers import ReaderContract
from tests.data.builders import write_image
from tests.data.volumes.dicoms import stack, write_multi_frame, write_segmentation, write_series

SHUFFLED = (5, 2, 7, 0, 3, 1, 6, 4)


def write_patients(root: Path, count: int = 3) -> Path:
    for number in range(count):
        image, mask = stack(number)
        files = write_series(root / f"P{number}" / "t1", image, patient=f"P{number}", order=SHUFFLED)
        write_segmentation(root / f"P{number}" / "seg" / "seg.dcm", files, mask)
    return root


def by_index(dataset: Dataset) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    return {int(one.name.rpartition("/")[2]): (read_slice(one), read_mask(one)) for one in dataset}


def expect(dataset: Dataset, image: np.ndarray, mask: np.ndarray) -> None:
    """The slices from foot to head. Rows run to the back already; columns run to the left, and are shown reversed."""
    found = by_index(dataset)
    assert sorted(found) == list(range(len(image)))
    low, high = np.quantile(image, (0.005, 0.995))
    for index, (pixels, labels) in found.items():
        assert np.array_equal(labels, mask[index][:, ::-1])
        expected = np.clip((image[index][:, ::-1] - low) / (high - low), 0, 1) * 255
        assert np.abs(pixels - expected).max() <= 0.51


class TestContract(ReaderContract):
    @pytest.fixture
    def reader(self) -> DicomReader:
        return DicomReader()

    @pytest.fixture
    def dataset_folder(self, tmp_path: Path) -> Path:
        return write_patients(tmp_path / "dataset")

    @pytest.fixture
    def broken_folder(self, tmp_path: Path) -> Path:
        root = write_patients(tmp_path / "dataset")
        (root / "P1" / "t1" / "IM003.dcm").write_bytes(b"no DICOM")
        return root


def test_files_are_sorted_by_position_and_patients_are_groups(tmp_path: Path) -> None:
    dataset = open_dataset(write_patients(tmp_path), empty_slices=1)
    assert (dataset.layout, dataset.own_splits) == ("dicom", ())
    assert {record.group for record in dataset} == {"P0", "P1", "P2"}
    assert not dataset.issues
    one = open_dataset(write_patients(tmp_path / "one", 1), empty_slices=1)
    expect(one, *stack(0))
    assert one.records["train"][0].spacing == pytest.approx((1.1, 0.8), abs=1e-3)


@pytest.mark.parametrize(
    ("names", "patients", "said"),
    [
        (("ANONYMOUS",) * 3, "studies", "PatientID is 'ANONYMOUS' in 3 of 3 series"),
        (("P7",) * 3, "studies", "PatientID is 'P7' in 3 of 3 series"),
        (("",) * 3, "studies", "PatientID is missing in 3 of 3 series"),
        (("P0", "xxxx", "de-identified"), "studies", "PatientID is 'de-identified', 'xxxx' in 2 of 3 series"),
        (("ANON1", "ANON2", "ANON2"), "names", None),
        (("P0", "P1", "unknown"), "studies", None),
    ],
)
def test_an_identifier_of_nobody_is_no_patient(
    tmp_path: Path, names: tuple[str, ...], patients: str, said: str | None
) -> None:
    for number, name in enumerate(names):
        image, mask = stack(number)
        files = write_series(tmp_path / f"{number}" / "t1", image, patient=name)
        write_segmentation(tmp_path / f"{number}" / "seg.dcm", files, mask)
    dataset = open_dataset(tmp_path)
    assert len({one.group for one in dataset}) == (3 if patients == "studies" else len(set(names)))
    messages = [issue.message for issue in dataset.issues if issue.code == "studies-as-patients"]
    assert len(messages) == (said is not None)
    if said is not None:
        assert messages[0].startswith(said)
        assert "studies (StudyInstanceUID) is taken for a patient" in messages[0]


@pytest.mark.parametrize(("plane", "shape"), [("axial", (12, 10)), ("coronal", (8, 10)), ("sagittal", (8, 12))])
def test_other_planes(tmp_path: Path, plane: str, shape: tuple[int, int]) -> None:
    for record in open_dataset(write_patients(tmp_path, 1), plane=plane):
        assert read_slice(record).shape == read_mask(record).shape == shape


def test_several_frames_in_one_file_with_scales_of_their_own(tmp_path: Path) -> None:
    image, mask = stack()
    path = write_multi_frame(tmp_path / "P1" / "mr.dcm", image, order=SHUFFLED)
    write_segmentation(tmp_path / "P1" / "seg.dcm", [path], mask[list(SHUFFLED)])
    scaled = 2.0 * image + np.arange(len(image))[:, np.newaxis, np.newaxis]
    expect(open_dataset(tmp_path, empty_slices=1), scaled, mask)


def test_rescaled_and_inverted(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(
        tmp_path / "P1", image, RescaleSlope=0.5, RescaleIntercept=-100, PhotometricInterpretation="MONOCHROME1"
    )
    write_segmentation(tmp_path / "P1" / "seg.dcm", files, mask)
    plain, other = tmp_path / "plain", tmp_path / "plain" / "P1"
    write_segmentation(other / "seg.dcm", write_series(other, image), mask)
    white, black = (by_index(open_dataset(root, empty_slices=1)) for root in (tmp_path / "P1", plain))
    assert all(np.abs(white[index][0].astype(int) + black[index][0] - 255).max() <= 1 for index in black)


def test_a_window_of_the_whole_series_is_used(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image, WindowCenter=500.5, WindowWidth=201)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    for index, (pixels, _) in by_index(open_dataset(tmp_path, empty_slices=1)).items():
        expected = np.clip((image[index][:, ::-1] - 400.0) / 200, 0, 1) * 255
        assert np.abs(pixels - expected).max() <= 0.51


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_kinds_of_segmentations(tmp_path: Path, kind: str) -> None:
    image, mask = stack()
    values = mask.astype(np.float32) * 0.9 + (1 - mask) * 0.2 if kind == "FRACTIONAL" else mask
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, values, kind)
    expect(open_dataset(tmp_path, empty_slices=1), image, mask)


def test_segments_are_labels(tmp_path: Path) -> None:
    image, mask = stack()
    mask[3, 0:2, 0:2] = 2
    write_segmentation(tmp_path / "seg.dcm", write_series(tmp_path, image), mask, segments=2)
    record = next(one for one in open_dataset(tmp_path) if one.name.endswith("/003"))
    assert record.source is not None
    assert np.array_equal(record.source.mask(), mask[3][:, ::-1])


@pytest.mark.parametrize("place", ["t1/mask.nii.gz", "t1_mask.nii", "t1.nii.gz"])
def test_a_nifti_mask_beside_the_series(tmp_path: Path, place: str) -> None:
    image, mask = stack()
    files = write_series(tmp_path / "t1", image)
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), read_series(files).affine), tmp_path / place)
    expect(open_dataset(tmp_path, empty_slices=1), image, mask)
    moved = read_series(files).affine
    moved[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), moved), tmp_path / place)
    (error,) = open_dataset(tmp_path).errors
    assert "does not lie on the voxels of its series" in error.message


def test_a_converted_copy_of_a_series_is_not_its_mask(tmp_path: Path) -> None:
    image, mask = stack()
    for name, description in (("t1", "T1"), ("t2", "T2")):
        files = write_series(tmp_path / name, image, description=description)
        copy = nibabel.Nifti1Image(image.astype(np.int16).transpose(2, 1, 0), read_series(files).affine)
        nibabel.save(copy, tmp_path / f"{name}.nii.gz")
        for path, pixels in zip(files, mask, strict=True) if name == "t1" else ():
            write_image(path.with_name(f"{path.stem}_mask.png"), pixels * 255)
    dataset = open_dataset(tmp_path, empty_slices=1)
    expect(dataset, image, mask)
    assert dataset.errors == ()
    assert any("1 of 2 series without a segmentation left out: T2" in issue.message for issue in dataset.issues)


def test_no_mask_is_taken_from_outside_of_the_dataset(tmp_path: Path) -> None:
    image, mask = stack()
    root = tmp_path / "t1"
    files = write_series(root, image)
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), read_series(files).affine), tmp_path / "t1_mask.nii")
    with pytest.raises(DataError, match="holds no DICOM series with a segmentation"):
        open_dataset(root)


def test_image_masks_beside_the_slices(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path / "t1", image, order=SHUFFLED)
    for path, pixels in zip(files, mask, strict=True):
        write_image(path.with_name(f"{path.stem}_mask.png"), pixels * 255)
    expect(open_dataset(tmp_path, empty_slices=1), image, mask)
    files[3].with_name(f"{files[3].stem}_mask.png").unlink()
    (error,) = open_dataset(tmp_path).errors
    assert "1 of the 8 slices of its series have no mask of their name beside them" in error.message


def test_of_two_image_masks_of_a_slice_none_is_chosen(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path / "t1", image)
    for path, pixels in zip(files, mask, strict=True):
        write_image(path.with_name(f"{path.stem}_mask.png"), pixels * 255)
    write_image(files[1].with_name(f"{files[1].stem}_lesion.png"), mask[1] * 0)
    (error,) = open_dataset(tmp_path).errors
    assert "several masks fit a slice of its series, one is needed" in error.message
    assert f"{files[1].stem}_lesion.png, {files[1].stem}_mask.png" in error.message


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    write_patients(tmp_path, 1)
    write_series(tmp_path / "P0" / "flair", stack(9)[0], patient="P0", description="FLAIR")
    report = pydicom.dcmread(tmp_path / "P0" / "t1" / "IM000.dcm")
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    report.Modality = "RTSTRUCT"
    report.save_as(tmp_path / "contours.dcm")
    messages = {issue.message for issue in open_dataset(tmp_path).issues}
    assert "1 of 2 series without a segmentation left out: FLAIR (P0/flair/IM000.dcm)." in messages
    assert any(
        "without images (RTSTRUCT) left out; convert contours to a DICOM SEG: contours.dcm." in one for one in messages
    )
    with pytest.raises(DataError, match="--sequence 'T2': must be one of FLAIR, T1"):
        open_dataset(tmp_path, sequence="T2")
    assert len(open_dataset(tmp_path, sequence="t1"))


def test_files_without_a_suffix_and_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        image, mask = stack(number)
        files = write_series(tmp_path / split / f"P{number}", image, patient=f"P{number}", suffix="")
        write_segmentation(tmp_path / split / f"P{number}" / "seg.dcm", files, mask)
    dataset = open_dataset(tmp_path)
    assert dataset.own_splits == ("train", "valid", "test")
    assert [{one.group for one in dataset.records[split]} for split in dataset.records] == [{"P0"}, {"P1"}, {"P2"}]


def change(path: Path, **fields: Any) -> None:
    content = pydicom.dcmread(path)
    for name, value in fields.items():
        setattr(content, name, value)
    content.save_as(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Rows": 60000, "Columns": 60000}, "at most|1 to 200000000 are allowed"),
        ({"NumberOfFrames": 2_000_000_000}, "1 to 200000000 are allowed"),
        ({"NumberOfFrames": 8}, "8 frames without positions"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "has pixels of the kind RGB"),
        ({"ImagePositionPatient": None}, "no usable ImagePositionPatient"),
        ({"PixelSpacing": [0, 0]}, "PixelSpacing or an ImageOrientationPatient that cannot be"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient that cannot be"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, "another size, orientation or spacing"),
        ({"Columns": 11}, "another size, orientation or spacing"),
        ({"RescaleSlope": "nan"}, "no usable RescaleSlope"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_told(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    change(files[0], **fields)
    errors = open_dataset(tmp_path).errors
    assert errors
    assert any(re.search(message, error.message) for error in errors), [error.message for error in errors]


def test_a_segmentation_elsewhere_and_several_are_refused(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    path = write_segmentation(tmp_path / "seg.dcm", files, mask)
    content = pydicom.dcmread(path)
    for group in content.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        position.ImagePositionPatient = [
            float(position.ImagePositionPatient[0]) + 3,
            *position.ImagePositionPatient[1:],
        ]
    content.save_as(path)
    (error,) = open_dataset(tmp_path).errors
    assert "from the nearest slice of its series" in error.message
    shutil.copy(path, tmp_path / "other.dcm")
    (error,) = open_dataset(tmp_path).errors
    assert "several masks fit its series, one is needed: other.dcm, seg.dcm" in error.message


def test_links_that_lead_out_are_not_opened(tmp_path: Path) -> None:
    root = write_patients(tmp_path / "dataset", 1)
    (tmp_path / "secret.dcm").write_bytes(b"secret")
    (root / "link.dcm").symlink_to(tmp_path / "secret.dcm")
    (error,) = open_dataset(root).errors
    assert (error.code, error.file) == ("unsafe-path", "link.dcm")


def test_masks_behind_links_that_lead_out_are_not_opened(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path / "dataset" / "t1", image)
    for path, pixels in zip(files, mask, strict=True):
        write_image(path.with_name(f"{path.stem}_mask.png"), pixels * 255)
    linked = files[4].with_name(f"{files[4].stem}_mask.png")
    linked.rename(tmp_path / "secret.png")
    linked.symlink_to(tmp_path / "secret.png")
    (error,) = open_dataset(tmp_path / "dataset").errors
    assert f"its mask {linked.name} is a link that leads out" in error.message


def test_the_fingerprint_covers_every_file_of_a_series(tmp_path: Path) -> None:
    root = write_patients(tmp_path, 1)
    before = open_dataset(root).fingerprint()
    path = root / "P0" / "t1" / "IM007.dcm"
    content = pydicom.dcmread(path)
    content.PixelData = bytes(reversed(content.PixelData))
    content.save_as(path)
    assert open_dataset(root).fingerprint() != before


def test_without_pydicom_one_sentence_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_patients(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"which is not installed: pip install 'bts-tune\[dicom\]'"):
        open_dataset(root)


@pytest.mark.parametrize("syntax", [pydicom.uid.RLELossless, pydicom.uid.JPEGLSLossless])
def test_compressed_series(tmp_path: Path, syntax: str) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    compress(files, syntax)
    expect(open_dataset(tmp_path, empty_slices=1), image, mask)


def compress(files: list[Path], syntax: str) -> None:
    for path in files:
        content = pydicom.dcmread(path)
        content.compress(syntax, generate_instance_uid=False)
        content.save_as(path)


@pytest.mark.parametrize("name", ["P0/t1/IM003.dcm", "P0/seg/seg.dcm"])
def test_damaged_files_are_told_and_nothing_else_happens(tmp_path: Path, name: str) -> None:
    """Bytes that are changed, cut off or doubled: slices, or a sentence."""
    root = write_patients(tmp_path, 1)
    whole = (root / name).read_bytes()
    told = 0
    sentences: list[str] = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole)
        kind = seed % 3
        if kind == 0:
            for place in rng.integers(128, len(damaged), 12):
                damaged[place] = rng.integers(256)
        elif kind == 1:
            del damaged[rng.integers(len(damaged)) :]
        else:
            start, end = sorted(rng.integers(128, len(damaged), 2))
            damaged[end:end] = damaged[start:end]
        (root / name).write_bytes(damaged)
        try:
            dataset = open_dataset(root, empty_slices=1)
            told += bool(dataset.issues)
            for record in list(dataset)[:2]:
                assert read_slice(record).shape == read_mask(record).shape
        except DataError as error:
            told += 1
            sentences.append(str(error))
    assert told > 10
    assert not any("\n" in sentence for sentence in sentences)


def test_files_without_a_suffix_are_hinted_at(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path / "P1", image, suffix="")
    write_segmentation(tmp_path / "P1" / "seg", files, mask)
    with pytest.raises(DataError, match=r"DICOM files without the suffix \.dcm, which are read when .*--reader dicom"):
        open_dataset(tmp_path)
    expect(open_dataset(tmp_path, reader="dicom", empty_slices=1), image, mask)
