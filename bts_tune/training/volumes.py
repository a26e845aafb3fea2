"""Segments volumes slice by slice, a few slices at a time, and writes masks on the grid of the volume's own files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bts_tune.data.readers._dicom import content_digest, is_dicom, like_dicom, read_header, stacked, volume_of
from bts_tune.data.readers._extras import import_extra
from bts_tune.data.readers._nifti import is_nifti, like_nifti, read_nifti
from bts_tune.data.volumes import Volume, cut, paste, slice_count
from bts_tune.errors import DataError
from bts_tune.training.segmenter import Segmenter

_BATCH = 8
"""Slices that are segmented at a time; more take memory and gain little."""


def mask_suffix(file: Path) -> str:
    """Return the suffix of the mask of an image or a volume."""
    return ".nii.gz" if is_nifti(file) else ".dcm" if is_dicom(file) else ".png"


def series_of(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Return DICOM files by series, without those that hold no image and those that are segmentations.

    Args:
        files: sorted as they shall be.

    Raises:
        DataError: pydicom is not installed, or a file cannot be read.
    """
    if not files:
        return []
    import_extra("pydicom", "dicom", files[0])
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        header = read_header(path)
        if header.frames and not header.is_segmentation:
            found[header.series or str(path)].append(path)
    return [tuple(paths) for paths in found.values()]


def mask_of_volume(segmenter: Segmenter, files: Sequence[Path], plane: str) -> tuple[bytes, Volume, NDArray[np.uint8]]:
    """Return the content of a file with the mask of a volume; the volume, and its mask on the body's axes.

    Args:
        segmenter: the model.
        files: a NIfTI volume, or the files of a DICOM series, whose mask is a DICOM SEG.
        plane: one of `PLANES`, along which it is cut into slices.

    Raises:
        DataError: it cannot be read, or a package that reads it is not installed.
    """
    first = files[0]
    if segmenter.config.channels > 1:
        raise DataError(
            f"{first}: is a volume of one sequence, and the model has {segmenter.config.channels} channels; give it "
            "images of that many channels, or slices as arrays: bts_tune.load_model(…).predict."
        )
    if is_nifti(first):
        import_extra("nibabel", "nifti", first)
        volume, stored = read_nifti(first)
        mask = segment(segmenter, volume, plane, str(first))
        return like_nifti(mask, stored), volume, mask
    import_extra("highdicom", "dicom", first)
    series = stacked([read_header(path) for path in files])
    volume = volume_of(tuple(files), content_digest(files))
    mask = segment(segmenter, volume, plane, str(first))
    return like_dicom(mask, series), volume, mask


def segment(segmenter: Segmenter, volume: Volume, plane: str, name: str) -> NDArray[np.uint8]:
    """Return the predicted tumour of a volume, uint8 0 and 1, as `volume.values`.

    Args:
        segmenter: the model.
        volume: what is segmented.
        plane: one of `PLANES`, along which it is cut into slices.
        name: what to call the volume in an error.

    Raises:
        DataError: a value is infinite or not a number.
    """
    mask = np.zeros(volume.values.shape, dtype=np.uint8)
    count = slice_count(mask.shape, plane)
    for first in range(0, count, _BATCH):
        indices = range(first, min(first + _BATCH, count))
        slices = [volume.grey(plane, index, name) for index in indices]
        for index, found in zip(indices, segmenter.predict_batch(slices), strict=True):
            paste(mask, plane, index, found)
    return mask


def shown_slice(volume: Volume, mask: NDArray[np.uint8], plane: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the slice that shows most tumour, or the middle one where none does: image and mask."""
    count = slice_count(mask.shape, plane)
    areas = [int(cut(mask, plane, index).sum()) for index in range(count)]
    index = int(np.argmax(areas)) if any(areas) else count // 2
    return volume.grey(plane, index, name), cut(mask, plane, index)
