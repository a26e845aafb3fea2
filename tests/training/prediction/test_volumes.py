"""`predict` on volumes: the mask lies on the volume's own voxels, whatever its axes and spacing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.volumes.nifti import read_nifti
from bts_tune.errors import DataError
from bts_tune.training.checkpoint import load_model
from bts_tune.training.prediction.predict import predict
from bts_tune.training.prediction.segmenter import Segmenter
from bts_tune.training.prediction.volumes import segment_files
from tests.data.volumes.dicoms import write_multi_frame, write_segmentation, write_series
from tests.training.builders import Bright, data, tiny, trained

# Turned about two axes, with voxels of 0.8 x 1.1 x 3.5 mm, and axes that run forwards, to the left and down.
TURNED = np.array(
    [
        [0.05, -1.09, 0.30, 12.0],
        [0.79, 0.04, -0.31, -30.5],
        [-0.08, -0.09, -3.47, 41.25],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def save(path: Path, values: np.ndarray, **header: Any) -> Path:
    image: Any = nibabel.Nifti1Image(values, TURNED)
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = 900
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def load(path: Path) -> Any:
    return nibabel.load(path)


def blocks(shape: tuple[int, ...] = (21, 18, 11), seed: int = 0) -> np.ndarray:
    """Return voxels of 0 and 1000 at random: no flip and no turn leaves them as they are."""
    return 1000 * np.random.default_rng(seed).integers(0, 2, shape).astype(np.int16)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_mask_lies_on_the_volume_voxel_by_voxel(tmp_path: Path, plane: str, suffix: str) -> None:
    values = blocks()
    path = save(tmp_path / f"scan.v1{suffix}", values)
    (found,) = predict(Bright(), [path], tmp_path / "out", plane=plane)
    assert (found.image, found.mask) == (path, tmp_path / "out" / "scan.v1_mask.nii.gz")
    mask, image = load(found.mask), load(path)
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(mask.dataobj), values // 1000)
    assert found.tumor_share == pytest.approx((values > 0).mean())
    assert np.array_equal(mask.affine, image.affine)
    for field in ("pixdim", "xyzt_units", "qform_code", "sform_code", "dim"):
        assert np.array_equal(mask.header[field], image.header[field]), field
    assert mask.header["cal_max"] == 0


def test_scaled_values_and_a_fourth_axis_of_one(tmp_path: Path) -> None:
    values = blocks((9, 8, 7))
    path = save(tmp_path / "scan.nii", values[..., np.newaxis] / 3.0 - 17)
    (found,) = predict(Bright(), [path], tmp_path / "out")
    mask = np.asanyarray(load(found.mask).dataobj)
    assert np.array_equal(mask, values[..., np.newaxis] // 1000)


def test_an_affine_in_the_quaternion_alone_is_kept(tmp_path: Path) -> None:
    image: Any = nibabel.Nifti1Image(blocks(), None)
    image.header.set_qform(TURNED, code=1)
    image.header.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "scan.nii")
    (found,) = predict(Bright(), [tmp_path / "scan.nii"], tmp_path / "out")
    mask, stored = load(found.mask), load(tmp_path / "scan.nii")
    assert np.allclose(mask.affine, stored.affine, atol=1e-6)
    assert (int(mask.header["qform_code"]), int(mask.header["sform_code"])) == (1, 0)
    assert np.array_equal(np.asanyarray(mask.dataobj), np.asanyarray(stored.dataobj) // 1000)


@pytest.mark.parametrize("kind", ["NIfTI", "DICOM"])
def test_a_model_of_several_channels_takes_no_volume_and_writes_nothing(tmp_path: Path, kind: str) -> None:
    """A volume holds one sequence: nothing says which other files would be the further channels."""

    class Three(Bright):
        config = tiny(channels=3)

    if kind == "NIfTI":
        path = save(tmp_path / "scan.nii.gz", blocks())
    else:
        path = write_series(tmp_path / "series", blocks((4, 10, 8)).astype(np.uint16))[0].parent
    with pytest.raises(DataError, match="is a volume of one sequence, and the model has 3 channels; give it images"):
        list(predict(Three(), [path], tmp_path / "out"))
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@pytest.mark.parametrize("number", [0, 2])
def test_the_volumes_of_one_file_are_the_channels_of_a_model(tmp_path: Path, number: int) -> None:
    """As in the Medical Segmentation Decathlon: one four-dimensional file of all sequences."""

    class OneOfThree(Bright):
        config = tiny(channels=3)

        def probability_batch(self, images: Iterable[Any]) -> list[np.ndarray]:
            listed = list(images)
            assert {image.shape[2] for image in listed} == {3}
            return super().probability_batch([image[..., number] for image in listed])

    volumes = [blocks(seed=seed) for seed in range(3)]
    path = save(tmp_path / "scan.nii.gz", np.stack(volumes, axis=-1))
    (found,) = predict(OneOfThree(), [path], tmp_path / "out", plane="coronal")
    mask = load(found.mask)
    assert np.array_equal(np.asanyarray(mask.dataobj), volumes[number] // 1000)
    assert np.array_equal(mask.affine, load(path).affine)
    with pytest.raises(DataError, match="holds 3 volumes"):
        list(predict(Bright(), [path], tmp_path / "other"))


def test_few_slices_are_segmented_at_a_time(tmp_path: Path) -> None:
    model = Bright()
    (_,) = predict(model, [save(tmp_path / "scan.nii", blocks((5, 6, 19)))], tmp_path / "out")
    assert model.batches == [8, 8, 3]


def test_the_overlay_shows_the_slice_with_most_tumour(tmp_path: Path) -> None:
    values = np.zeros((21, 18, 11), dtype=np.int16)
    values[3:9, 4:12, 6], values[3:5, 4:6, 7] = 1000, 1000
    (found,) = predict(Bright(), [save(tmp_path / "scan.nii", values)], tmp_path / "out")
    overlay = cv2.imread(str(found.overlay))
    assert overlay is not None
    outlined = (overlay[..., 2] == 255) & (overlay[..., 0] == 60)
    # A block of 6 x 8 voxels, whose rim is drawn.
    assert outlined.sum() == 2 * (6 + 8) - 4


def test_a_trained_model_sees_the_slices_as_a_reader_cuts_them(tmp_path: Path) -> None:
    trained(tiny(equalization="none", epochs=6, batch_size=2, batch_norm_momentum=0.2), data(train=8), tmp_path / "m")
    model = Segmenter(load_model(tmp_path / "m"), "cpu")
    y, x, z = np.mgrid[:40, :30, :9]
    values = (80 + 90 * ((y - 18) ** 2 + (x - 14) ** 2 + 9 * (z - 4) ** 2 < 60)).astype(np.int16)
    volume, _ = read_nifti(save(tmp_path / "scan.nii", values))
    mask = segment_files(model, [tmp_path / "scan.nii"], "axial", 8).mask
    alone = np.stack([model.predict(volume.grey("axial", index, "scan")) for index in range(9)])
    assert alone.any()
    together = np.stack([np.rot90(mask[:, :, index]) for index in range(9)])
    # Batches may round the last bit of a probability otherwise.
    assert (together != alone).mean() < 1e-3


def test_volumes_of_a_folder_keep_their_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "in" / "p1").mkdir(parents=True)
    save(tmp_path / "in" / "p1" / "a.nii.gz", blocks())
    found = list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
    assert [one.mask.relative_to(tmp_path / "out").as_posix() for one in found] == ["p1/a_mask.nii.gz"]


def test_broken_volumes_and_planes_that_do_not_exist_are_told(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match=r"scan\.nii\.gz: is no NIfTI file that can be read"):
        list(predict(Bright(), [tmp_path / "scan.nii.gz"], tmp_path / "out"))
    with pytest.raises(DataError, match="plane 'oblique': must be one of axial"):
        list(predict(Bright(), [tmp_path / "scan.nii.gz"], tmp_path / "out", plane="oblique"))
    assert not (tmp_path / "out").exists()


def test_without_nibabel_one_sentence_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "scan.nii", blocks())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"which is not installed: pip install 'bts-tune\[nifti\]'"):
        list(predict(Bright(), [path], tmp_path / "out"))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_series_gets_a_dicom_seg_voxel_by_voxel(tmp_path: Path, plane: str) -> None:
    """As this project reads it and as highdicom does, whatever the order of the files."""
    values = blocks((7, 12, 10)).astype(np.uint16)
    files = write_series(tmp_path / "P1" / "t1", values, order=(5, 2, 0, 6, 3, 1, 4))
    (found,) = predict(Bright(), [tmp_path / "P1"], tmp_path / "out", plane=plane)
    assert found.mask == tmp_path / "out" / "t1_mask.dcm"
    assert found.tumor_share == pytest.approx((values > 0).mean())
    written = highdicom.seg.segread(found.mask)
    sources = [pydicom.dcmread(path) for path in files]
    uids = [one.SOPInstanceUID for one in sources]
    theirs = written.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)[..., 0]
    assert np.array_equal(theirs, values // 1000)
    assert (written.PatientID, written.StudyInstanceUID) == (sources[0].PatientID, sources[0].StudyInstanceUID)
    assert written.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    shutil.copy(found.mask, tmp_path / "P1")
    for record in open_dataset(tmp_path / "P1", empty_slices=1):
        index = int(record.name.rpartition("/")[2])
        assert np.array_equal(read_mask(record), values[index][:, ::-1] // 1000)


def test_a_series_of_several_frames_in_a_file(tmp_path: Path) -> None:
    values = blocks((6, 12, 10)).astype(np.uint16)
    order = (3, 0, 5, 1, 4, 2)
    path = write_multi_frame(tmp_path / "mr.dcm", values, order=order)
    (found,) = predict(Bright(), [path], tmp_path / "out")
    assert found.mask == tmp_path / "out" / "mr_mask.dcm"
    uid = pydicom.dcmread(path).SOPInstanceUID
    numbers = list(range(1, 7))
    written = highdicom.seg.segread(found.mask)
    theirs = written.get_pixels_by_source_frame(uid, numbers, assert_missing_frames_are_empty=True)[..., 0]
    assert np.array_equal(theirs, values[list(order)] // 1000)


def test_a_series_without_a_tumour_gets_an_empty_segmentation(tmp_path: Path) -> None:
    write_series(tmp_path / "t1", np.zeros((4, 12, 10), dtype=np.uint16))
    (found,) = predict(Bright(), [tmp_path / "t1"], tmp_path / "out")
    assert found.mask.name == "t1_mask.dcm"
    assert not pydicom.dcmread(found.mask).pixel_array.any()


def test_series_in_one_folder_are_told_apart_and_segmentations_passed_over(tmp_path: Path) -> None:
    values = blocks((3, 12, 10)).astype(np.uint16)
    files = write_series(tmp_path / "in", values)
    write_segmentation(tmp_path / "in" / "seg.dcm", files, (values // 1000).astype(np.uint8))
    write_series(tmp_path / "in", values, description="T2", order=(3, 4, 5))
    found = [one.mask.name for one in predict(Bright(), [tmp_path / "in"], tmp_path / "out")]
    assert found == ["IM000_mask.dcm", "IM003_mask.dcm"]


def test_dicom_files_that_cannot_be_segmented_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = blocks((3, 12, 10)).astype(np.uint16)
    files = write_series(tmp_path / "in", values)
    path = write_segmentation(tmp_path / "seg.dcm", files, (values // 1000).astype(np.uint8))
    with pytest.raises(DataError, match=r"seg\.dcm: holds no image that can be segmented"):
        list(predict(Bright(), [path], tmp_path / "out"))
    content = pydicom.dcmread(files[1])
    del content.StudyInstanceUID
    content.save_as(files[1])
    with pytest.raises(DataError, match=r"IM000\.dcm: no DICOM SEG can be written of its series"):
        list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"which is not installed: pip install 'bts-tune\[dicom\]'"):
        list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
