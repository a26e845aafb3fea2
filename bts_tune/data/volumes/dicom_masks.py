"""What was segmented on a DICOM series, in other files, and what is predicted on it, as a DICOM SEG."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from bts_tune.data.prepared.images import read_bytes
from bts_tune.data.prepared.masks import mask_plane
from bts_tune.data.records import IMAGE_SUFFIXES
from bts_tune.data.volumes.dicom_files import SAME, Header, read_header, stored_pixels
from bts_tune.data.volumes.dicom_series import HELD, Series, read_series
from bts_tune.data.volumes.nifti import is_nifti, read_nifti
from bts_tune.data.volumes.volume import nearest_turn, on_same_voxels
from bts_tune.errors import DataError
from bts_tune.text import first_line
from bts_tune.version import __version__

_loading = threading.Lock()


def labels_of(files: tuple[Path, ...], masks: tuple[Path, ...], content: str) -> np.ndarray:
    """Return the labels of a series on the body's axes.

    Args:
        files: the series.
        masks: a DICOM SEG, a NIfTI volume, or an image for each file of the series.
        content: the digest of all these files.

    Raises:
        DataError: they cannot be read, or lie elsewhere.
    """
    with _loading:
        return _load_labels(files, masks, content)


def like_dicom(mask: np.ndarray, series: Series) -> bytes:
    """Return the content of a DICOM SEG that holds a mask, on the frames of a series.

    Args:
        mask: uint8 0 and 1 on the body's axes.
        series: what was segmented.

    Raises:
        DataError: the series lacks what a DICOM SEG must say of it.
    """
    import pydicom
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from pydicom.filewriter import dcmwrite
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    values = series.turn.to_file(mask)
    places = {(frame.file, frame.number): place for place, frame in enumerate(series.frames)}
    slices = [values[:, :, places[frame.file, frame.number]].T for one in series.headers for frame in one.frames]
    program = AlgorithmIdentificationSequence("bts-tune", codes.DCM.ArtificialIntelligence, __version__)
    described = SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=program,
    )
    try:
        written = Segmentation(
            source_images=[pydicom.dcmread(one.path, stop_before_pixels=True) for one in series.headers],
            pixel_array=np.stack(slices),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[described],
            series_instance_uid=generate_uid(),
            series_number=1000,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="bts-tune",
            manufacturer_model_name="bts-tune",
            software_versions=__version__,
            device_serial_number="none",
            series_description="predicted tumour",
        )
        file = io.BytesIO()
        dcmwrite(file, written, enforce_file_format=True)
        return file.getvalue()
    except Exception as error:
        raise DataError(
            f"{series.headers[0].path}: no DICOM SEG can be written of its series: {first_line(error)}"
        ) from None


@lru_cache(maxsize=HELD)
def _load_labels(files: tuple[Path, ...], masks: tuple[Path, ...], _content: str) -> np.ndarray:
    series = read_series(files)
    if is_nifti(masks[0]):
        return _labels_of_nifti(series, masks[0])
    if len(masks) == 1 and masks[0].suffix.lower() not in IMAGE_SUFFIXES:
        return series.turn.to_body(_labels_of_segmentation(series, read_header(masks[0])))
    return series.turn.to_body(_labels_of_images(series, files, masks))


def _labels_of_nifti(series: Series, path: Path) -> np.ndarray:
    mask, _ = read_nifti(path)
    turn = nearest_turn(mask.affine)  # by one rule for both, which matters at 45 degrees
    labels = turn.to_body(mask.values)
    shape = series.turn.to_body(np.empty(series.shape, dtype=bool)).shape
    affine = series.turn.affine(series.affine, series.shape)
    own = turn.affine(mask.affine, mask.values.shape)
    if labels.shape != shape or not (np.allclose(own, affine, atol=SAME) or on_same_voxels(affine, own, shape)):
        raise DataError(
            f"{path}: does not lie on the voxels of its series {series.headers[0].path.parent.name}/ (another shape or "
            "affine); resample it."
        )
    return labels


def _labels_of_images(series: Series, files: Sequence[Path], masks: Sequence[Path]) -> np.ndarray:
    columns, rows, count = series.shape
    places = {frame.file: place for place, frame in enumerate(series.frames)}
    labels: np.ndarray | None = None
    for file, path in zip(files, masks, strict=True):
        plane, _ = mask_plane(read_bytes(path), str(path))
        if plane.shape != (rows, columns):
            raise DataError(f"{path}: has {plane.shape[1]} x {plane.shape[0]} pixels, its slice {columns} x {rows}.")
        if labels is None:
            labels = np.zeros((columns, rows, count), dtype=plane.dtype)
        labels[:, :, places[file]] = plane.T
    assert labels is not None
    return labels


def _labels_of_segmentation(series: Series, header: Header) -> np.ndarray:
    """Return the number of the segment of each voxel, 0 where there is none; where segments overlap, the larger."""
    columns, rows, count = series.shape
    first, path = series.headers[0], header.path
    if header.size != first.size or not (
        np.allclose(header.orientation, first.orientation, atol=SAME)
        and np.allclose(header.spacing, first.spacing, atol=SAME)
    ):
        raise DataError(f"{path}: has another size, orientation or spacing than its series {first.path.parent.name}/.")
    positions = np.array([frame.position for frame in series.frames])
    labels = np.zeros((columns, rows, count), dtype=np.uint8 if max(header.segments) < 256 else np.uint16)
    pixels = stored_pixels(header)
    for frame, segment in zip(header.frames, header.segments, strict=True):
        away = np.linalg.norm(positions - np.array(frame.position), axis=1)
        place = int(np.argmin(away))
        if away[place] > SAME:
            raise DataError(
                f"{path}: frame {frame.number + 1} lies {away[place]:.3g} mm from the nearest slice of its series "
                f"{first.path.parent.name}/; resample it."
            )
        shown = pixels[frame.number]
        if segment:
            shown = np.where(shown * 2.0 > header.full, segment, 0)
        np.maximum(labels[:, :, place], shown.T, out=labels[:, :, place], casting="unsafe")
    return labels
