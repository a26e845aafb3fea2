from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask, read_slice
from bts_tune.data.volumes import dicom_series
from bts_tune.data.volumes.dicom_series import read_series
from tests.data.readers.test_dicom import SHUFFLED, write_patients
from tests.data.volumes.dicoms import stack, write_segmentation, write_series


def test_the_place_in_space_is_that_of_the_files(tmp_path: Path) -> None:
    """Against highdicom's own reading of the geometry."""
    from highdicom import get_volume_from_series

    files = write_series(tmp_path / "t1", stack()[0], order=SHUFFLED)
    ours = read_series(files)
    theirs = get_volume_from_series([pydicom.dcmread(path) for path in files])
    corner = np.array([9, 11, 7, 1.0])  # the last column, row and slice
    far = theirs.map_indices_to_reference(np.array([[7, 11, 9], [0, 0, 0]]))
    if np.allclose(far[1], ours.frames[0].position, atol=1e-3):
        assert (np.diag([-1, -1, 1, 1]) @ ours.affine @ corner)[:3] == pytest.approx(far[0], abs=1e-3)
    else:  # it counts slices from the other end
        near = theirs.map_indices_to_reference(np.array([[0, 11, 9], [7, 0, 0]]))
        assert near[1] == pytest.approx(ours.frames[0].position, abs=1e-3)
        assert (np.diag([-1, -1, 1, 1]) @ ours.affine @ corner)[:3] == pytest.approx(near[0], abs=1e-3)


def test_two_slices_in_one_place_are_refused_and_gaps_are_told(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    files[6].unlink()
    (issue,) = open_dataset(tmp_path).issues
    assert "slices are missing or unevenly spaced: 3.5 to 7 mm apart" in issue.message
    content = pydicom.dcmread(files[5])
    content.SOPInstanceUID = pydicom.uid.generate_uid()
    content.save_as(tmp_path / "again.dcm")
    (error,) = open_dataset(tmp_path).errors
    assert "two slices in one place" in error.message


def test_few_volumes_are_held(tmp_path: Path) -> None:
    for record in open_dataset(write_patients(tmp_path, 6)):
        read_slice(record), read_mask(record)
    assert dicom_series._load_volume.cache_info().currsize <= 4


def test_a_series_of_both_black_and_white_is_refused(tmp_path: Path) -> None:
    image, mask = stack()
    files = write_series(tmp_path, image)
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    content = pydicom.dcmread(files[4])
    content.PhotometricInterpretation = "MONOCHROME1"
    content.save_as(files[4])
    (error,) = open_dataset(tmp_path).errors
    assert (error.code, error.file) == ("unreadable-volume", "IM000.dcm")
    assert error.message.startswith("IM004.dcm of the same series is shown with black and white exchanged")
