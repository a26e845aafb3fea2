"""Segments volumes slice by slice, a few slices at a time, and writes masks on the grid of the volume's own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bts_tune.data.readers._extras import import_extra
from bts_tune.data.readers._nifti import like_nifti, read_nifti
from bts_tune.data.volumes import Volume, cut, paste, slice_count
from bts_tune.training.segmenter import Segmenter

MASK_SUFFIX = ".nii.gz"

_BATCH = 8
"""Slices that are segmented at a time; more take memory and gain little."""


def mask_of_volume(segmenter: Segmenter, path: Path, plane: str) -> tuple[bytes, Volume, NDArray[np.uint8]]:
    """Return the content of a NIfTI file with the mask of a volume; the volume, and its mask on the body's axes.

    Args:
        segmenter: the model.
        path: a NIfTI volume.
        plane: one of `PLANES`, along which it is cut into slices.

    Raises:
        DataError: it cannot be read, or nibabel is not installed.
    """
    import_extra("nibabel", "nifti", path)
    volume, stored = read_nifti(path)
    mask = segment(segmenter, volume, plane, str(path))
    return like_nifti(mask, stored), volume, mask


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
