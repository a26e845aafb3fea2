"""Segments volumes slice by slice, a few slices at a time, and gives masks on the grid of the volume's own files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.data.extras import import_extra
from bts_tune.data.volumes.dicom_files import read_header
from bts_tune.data.volumes.dicom_masks import like_dicom
from bts_tune.data.volumes.dicom_series import Series, content_digest, stacked, volume_of
from bts_tune.data.volumes.nifti import count_volumes, is_nifti, like_nifti, new_nifti, on_own_grid, read_nifti
from bts_tune.data.volumes.volume import Volume, cut, paste, slice_count
from bts_tune.errors import DataError
from bts_tune.training.prediction.segmenter import Segmenter


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


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """A volume and its predicted tumour.

    Attributes:
        volume: what was segmented.
        plane: one of `PLANES`, along which it was cut into slices.
        mask: uint8 0 and 1 on the body's axes, as `Volume.values`.
        highest: the highest probability of a voxel.
        mean: the mean probability of the voxels of the tumour; None where there is none.
        source: nibabel's image of a NIfTI file, or the series of DICOM files.
        name: of its first file.
    """

    volume: Volume
    plane: str
    mask: NDArray[np.uint8]
    highest: float
    mean: float | None
    source: Any | Series
    name: str

    @cached_property
    def own_mask(self) -> NDArray[np.uint8]:
        """The mask in the order of the file's voxels, [I, J, K]; of DICOM, columns, rows and slices by position."""
        if isinstance(self.source, Series):
            return np.asarray(self.source.turn.to_file(self.mask))
        return np.asarray(on_own_grid(self.mask, self.source)).reshape(self.source.shape[:3])

    @property
    def voxel_volume(self) -> float:
        """What a voxel holds, in mm3."""
        return float(np.prod(self.volume.spacing))

    def as_nifti(self) -> bytes:
        """Return the content of a `.nii.gz` with the mask, on the volume's own grid.

        Raises:
            DataError: nibabel is not installed.
        """
        if isinstance(self.source, Series):
            import_extra("nibabel", "nifti", Path(self.name))
            return new_nifti(self.own_mask, self.source.affine)
        return like_nifti(self.mask, self.source)

    def as_dicom_seg(self) -> bytes:
        """Return the content of a DICOM SEG with the mask, of a volume of DICOM files.

        Raises:
            DataError: the series lacks what a DICOM SEG must say of it.
        """
        assert isinstance(self.source, Series)
        return like_dicom(self.mask, self.source)

    def slices(self) -> list[NDArray[np.uint8]]:
        """Return the mask's slices along the plane, as they are looked at."""
        return [cut(self.mask, self.plane, index) for index in range(slice_count(self.mask.shape, self.plane))]

    def shown_slice(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the slice that shows most tumour, or the middle one where none does: image and mask."""
        areas = [int(one.sum()) for one in self.slices()]
        index = int(np.argmax(areas)) if any(areas) else len(areas) // 2
        return self.volume.grey(self.plane, index, self.name), cut(self.mask, self.plane, index)


def _slice(volumes: Sequence[Volume], plane: str, index: int, name: str) -> NDArray[np.uint8]:
    """Return a slice of a volume [H, W], or of several as its channels [H, W, C]."""
    greys = [one.grey(plane, index, name) for one in volumes]
    return greys[0] if len(greys) == 1 else np.stack(greys, axis=2)


def segment_files(segmenter: Segmenter, files: Sequence[Path], plane: str, batch_size: int) -> SegmentedVolume:
    """Segment a volume.

    Args:
        segmenter: the model.
        files: a NIfTI volume, or the files of a DICOM series.
        plane: one of `PLANES`, along which it is cut into slices.
        batch_size: slices that go through the network together.

    Raises:
        DataError: it cannot be read, or a package that reads it is not installed.
    """
    first, channels = files[0], segmenter.config.channels
    held = 1
    if is_nifti(first):
        import_extra("nibabel", "nifti", first)
        held = count_volumes(first)
    if channels > 1 and held != channels:
        sequences = f"{held} sequences" if held > 1 else "one sequence"
        raise DataError(
            f"{first}: is a volume of {sequences}, and the model has {channels} channels; give it "
            "images of that many channels, or slices as arrays: bts_tune.load_model(…).predict."
        )
    source: Any
    further: list[Volume] = []
    if is_nifti(first):
        volume, source = read_nifti(first, 0 if channels > 1 else None)
        further = [read_nifti(first, number)[0] for number in range(1, channels)]
        if channels > 1:  # the mask is one volume on the same grid
            source = source.slicer[..., 0]
    else:
        import_extra("highdicom", "dicom", first)
        source = stacked([read_header(path) for path in files])
        volume = volume_of(tuple(files), content_digest(files))
    mask = np.zeros(volume.values.shape, dtype=np.uint8)
    count = slice_count(mask.shape, plane)
    highest = total = 0.0
    for start in range(0, count, batch_size):
        indices = range(start, min(start + batch_size, count))
        greys = [_slice([volume, *further], plane, index, str(first)) for index in indices]
        for index, probability in zip(indices, segmenter.probability_batch(greys), strict=True):
            found = segmenter.postprocessing.mask(probability)
            highest = max(highest, float(probability.max()))
            total += float(probability[found > 0].sum(dtype=np.float64))
            paste(mask, plane, index, found)
    voxels = int(mask.sum(dtype=np.int64))
    return SegmentedVolume(volume, plane, mask, highest, total / voxels if voxels else None, source, str(first))
