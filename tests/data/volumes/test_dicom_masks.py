from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence as Items

from bts_tune.data.volumes.dicom_masks import labels_of, like_dicom
from bts_tune.data.volumes.dicom_series import content_digest, read_series
from bts_tune.errors import DataError
from tests.data.builders import write_image
from tests.data.volumes.dicoms import stack, write_multi_frame, write_segmentation, write_series

SHUFFLED = (5, 2, 7, 0, 3, 1, 6, 4)


def labels(files: list[Path], *masks: Path) -> np.ndarray:
    """Return the labels of a series as slices, rows and columns, in the order in which the series lies in space."""
    found = labels_of(tuple(files), masks, content_digest((*files, *masks)))
    return read_series(files).turn.to_file(found).transpose(2, 1, 0)


def changed(path: Path, change: Any) -> Path:
    content = pydicom.dcmread(path)
    change(content)
    content.save_as(path)
    return path


def only_frames(numbers: list[int]) -> Any:
    """Return what leaves frames of a DICOM SEG out, and puts those that are left into another order."""

    def change(content: Any) -> None:
        pixels, groups = content.pixel_array, content.PerFrameFunctionalGroupsSequence
        content.PerFrameFunctionalGroupsSequence = Items([groups[number] for number in numbers])
        content.NumberOfFrames = len(numbers)
        content.PixelData = pydicom.pixels.pack_bits(pixels[numbers].reshape(-1))

    return change


def test_frames_are_put_where_they_lie_whatever_their_order(tmp_path: Path) -> None:
    image, mask = stack()
    mask[2, 0, 0] = mask[4, 11, 9] = 1
    files = write_series(tmp_path, image, order=SHUFFLED)
    path = write_segmentation(tmp_path / "seg.dcm", files, mask)
    held = pydicom.dcmread(path).NumberOfFrames
    assert np.array_equal(labels(files, path), mask)
    changed(path, only_frames(list(range(held))[::-1]))
    assert np.array_equal(labels(files, path), mask)


def test_slices_without_a_frame_hold_no_tumour(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    path = changed(write_segmentation(tmp_path / "seg.dcm", files, mask), only_frames([2, 0]))
    expected = mask.copy()
    expected[3] = 0
    assert np.array_equal(labels(files, path), expected)


def test_rows_and_columns_that_fill_no_whole_bytes(tmp_path: Path) -> None:
    image, _ = stack(shape=(5, 7, 3))
    mask = (np.random.default_rng(0).random(image.shape) > 0.5).astype(np.uint8)
    files = write_series(tmp_path, image)
    assert np.array_equal(labels(files, write_segmentation(tmp_path / "seg.dcm", files, mask)), mask)


def test_a_segmentation_agrees_with_highdicoms_own_reading(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    two = np.stack([mask, np.roll(mask, 3, axis=2)], axis=-1)
    path = write_segmentation(tmp_path / "seg.dcm", files, two, segments=2)
    read = highdicom.seg.segread(path).get_pixels_by_source_instance(
        [pydicom.dcmread(one).SOPInstanceUID for one in files],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(labels(files, path), np.maximum(read[..., 0], 2 * read[..., 1]))


@pytest.mark.parametrize(("certainty", "level"), [(255, 0.5), (100, 0.51)])
def test_fractions_are_cut_at_half(tmp_path: Path, certainty: int, level: float) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    values = np.where(mask, np.float32(level + 0.02), np.float32(level - 0.03))
    path = write_segmentation(tmp_path / "seg.dcm", files, values, "FRACTIONAL")

    def rescale(content: Any) -> None:
        pixels = np.rint(content.pixel_array * (certainty / content.MaximumFractionalValue)).astype(np.uint8)
        content.MaximumFractionalValue, content.PixelData = certainty, pixels.tobytes()

    assert np.array_equal(labels(files, changed(path, rescale)), mask)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: _measures(content, [2.2, 0.8]), "has another size, orientation or spacing than its series"),
        (lambda content: _moved(content, 1.0), "lies 1 mm from the nearest slice"),
        (lambda content: setattr(content, "Rows", 6), "has another size, orientation or spacing"),
    ],
)
def test_a_segmentation_on_another_grid_is_refused(tmp_path: Path, change: Any, sentence: str) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    path = changed(write_segmentation(tmp_path / "seg.dcm", files, mask), change)
    with pytest.raises(DataError, match=sentence):
        labels(files, path)


def _measures(content: Any, spacing: list[float]) -> None:
    content.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = spacing


def _moved(content: Any, far: float) -> None:
    position = content.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    position.ImagePositionPatient = [position.ImagePositionPatient[0] + far, *position.ImagePositionPatient[1:]]


def test_a_nifti_mask_in_another_order_of_its_axes(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image, order=SHUFFLED)
    written = nibabel.Nifti1Image(mask.transpose(2, 1, 0), read_series(files).affine)
    for number, codes in enumerate(("RAS", "LPI", "SAR")):
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(written.affine), nibabel.orientations.axcodes2ornt(codes)
        )
        nibabel.save(written.as_reoriented(turn), tmp_path / f"mask{number}.nii.gz")
        assert np.array_equal(labels(files, tmp_path / f"mask{number}.nii.gz"), mask)
    moved = written.affine.copy()
    moved[2, 3] += 3.5
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), moved), tmp_path / "moved.nii.gz")
    with pytest.raises(DataError, match="does not lie on the voxels of its series"):
        labels(files, tmp_path / "moved.nii.gz")


def test_images_belong_to_the_files_beside_them(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image, order=SHUFFLED)
    masks = [write_image(one.with_name(f"{one.stem}_mask.png"), 255 * mask[place]) for place, one in enumerate(files)]
    backwards = files[::-1]
    assert np.array_equal(labels(backwards, *masks[::-1]), 255 * mask)
    write_image(masks[3], mask[3][:-1])
    with pytest.raises(DataError, match=r"IM000_mask\.png: has 10 x 11 pixels, its slice 10 x 12"):
        labels(files, *masks)


@pytest.mark.parametrize("frames", [1, 8])
def test_what_is_predicted_is_read_again_where_it_was(tmp_path: Path, frames: int) -> None:
    image, mask = stack()
    if frames == 1:
        files = write_series(tmp_path, image, order=SHUFFLED)
    else:
        files = [write_multi_frame(tmp_path / "mr.dcm", image, order=SHUFFLED)]
    series = read_series(files)
    content = like_dicom(series.turn.to_body(mask.transpose(2, 1, 0)), series)
    (tmp_path / "seg.dcm").write_bytes(content)
    assert pydicom.dcmread(io.BytesIO(content)).Modality == "SEG"
    assert np.array_equal(labels(files, tmp_path / "seg.dcm"), mask)
