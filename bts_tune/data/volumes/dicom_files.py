"""One DICOM file: what it says of itself, and its pixels.

Nothing that a file says is followed without a bound: sizes are read from the header before pixels are, deflated files
(which unpack to any size when they are opened) are refused, and so are compressed pixels that are larger than what they
should unpack to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.data.files import open_file
from bts_tune.data.volumes.volume import MAX_VOXELS
from bts_tune.errors import DataError
from bts_tune.text import first_line

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
SAME = 0.02
"""Millimetres, and cosines, by which what lies in one place may differ."""

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66."
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MAGIC_AT, _MAGIC = 128, b"DICM"
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_LONGEST_NAME = 80
_SLACK = 2**20

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesDescription", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence"),
    *("SegmentationType", "MaximumFractionalValue", "Manufacturer", "ManufacturerModelName"),
)


@dataclass(frozen=True)
class Frame:
    """One slice of a series.

    Attributes:
        file: where it is.
        number: which frame of the file, from 0.
        position: of the centre of its first pixel, in mm; to the left, to the back and to the head.
        slope, intercept: from stored values to values.
        window: the values that a viewer shows as black and white, where the file says so.
    """

    file: Path
    number: int
    position: tuple[float, float, float]
    slope: float
    intercept: float
    window: tuple[float, float] | None


@dataclass(frozen=True)
class Header:
    """What one file says of itself.

    Attributes:
        path: the file.
        patient, study, series, description, modality, scanner: as the file says; empty where it does not.
        is_segmentation: whether it is a DICOM SEG.
        refers_to: the series that a segmentation was made on.
        size: rows and columns; None where the file holds no image.
        orientation: directions in which columns and rows count on.
        spacing: distance of rows and of columns.
        thickness: of a slice in mm, where the file tells.
        inverted: whether small values are bright.
        frames: its slices.
        segments: the segment that each frame shows; 0 where the pixels themselves are labels.
        full: the stored value that means certainty, of a segmentation.
    """

    path: Path
    patient: str
    study: str
    series: str
    description: str
    modality: str
    scanner: str
    is_segmentation: bool = False
    refers_to: str = ""
    size: tuple[int, int] | None = None
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, float] = (1.0, 1.0)
    thickness: float = 1.0
    inverted: bool = False
    frames: tuple[Frame, ...] = ()
    segments: tuple[int, ...] = ()
    full: float = 1.0


def is_dicom(path: Path) -> bool:
    """Return whether a file's name is that of a DICOM file; without a suffix, whether it begins as one does."""
    if path.name == "DICOMDIR":
        return False
    # The suffix may be a part of a number, as in 1.2.840.
    if path.suffix and not path.suffix[1:].isdecimal():
        return path.name.lower().endswith(DICOM_SUFFIXES)
    try:
        with open_file(path) as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except DataError:
        return False


def read_header(path: Path) -> Header:
    """Return what a file says of itself; its pixels are not read.

    Raises:
        DataError: it is no DICOM file, or says what cannot be.
    """
    try:
        return _header(path, _opened(path, pixels=False))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: is no DICOM file that can be read: {first_line(error)}") from None


def stored_pixels(header: Header) -> np.ndarray:
    """Return the stored values of a file, [frames, rows, columns]."""
    path, (rows, columns) = header.path, header.size or (0, 0)
    try:
        content = _opened(path, pixels=True)
        expected = rows * columns * len(header.frames) * max(1, int(content.BitsAllocated) // 8)
        stored = content.get("PixelData")
        if stored is not None and len(stored) > 2 * expected + _SLACK:
            raise DataError(f"{path}: holds {len(stored)} bytes of pixels, where at most {expected} are needed.")
        if stored is not None and content.file_meta.TransferSyntaxUID.is_encapsulated:
            _require_decoder(path, content.file_meta.TransferSyntaxUID)
            _check_compressed(header, stored)
        return np.asarray(content.pixel_array).reshape(len(header.frames), rows, columns)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: its pixels cannot be decoded: {first_line(error)}") from None


def _require_decoder(path: Path, syntax: Any) -> None:
    """Refuse a compression that nothing installed can decode."""
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(f"{path}: its pixels are compressed as {syntax.name}, which is not read.") from None
    if not decoder.is_available:
        has_gdcm = any(one.startswith("gdcm") for one in decoder.missing_dependencies)
        packages = "python-gdcm" if has_gdcm else "pylibjpeg pylibjpeg-openjpeg"
        raise DataError(
            f"{path}: its pixels are compressed as {syntax.name}, for which no decoder is installed: pip install "
            f"{packages}, or store it uncompressed."
        )


def _opened(path: Path, *, pixels: bool) -> Any:
    import pydicom
    from pydicom.filereader import read_file_meta_info

    # What is odd in a file is no matter for warnings: what is needed is looked at here.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    open_file(path).close()
    if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
        raise DataError(f"{path}: is deflated as a whole, which is not read; store it uncompressed.")
    if pixels:
        return pydicom.dcmread(path)
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))


def _header(path: Path, content: Any) -> Header:
    modality = str(content.get("Modality", "") or "")
    common: dict[str, Any] = {
        "path": path,
        "patient": str(content.get("PatientID", "") or "").strip(),
        "study": str(content.get("StudyInstanceUID", "") or ""),
        "series": str(content.get("SeriesInstanceUID", "") or ""),
        "description": str(content.get("SeriesDescription", "") or "").strip(),
        "modality": modality,
        "scanner": _scanner(content),
    }
    is_segmentation = str(content.get("SOPClassUID", "")).startswith(_SEGMENTATION) and modality == "SEG"
    rows, columns = int(content.get("Rows", 0) or 0), int(content.get("Columns", 0) or 0)
    if rows < 1 or columns < 1:
        return Header(**common)
    count = int(content.get("NumberOfFrames", 1) or 1)
    if count < 1 or rows * columns * count > MAX_VOXELS:
        raise DataError(f"{path}: has {columns} x {rows} x {count} voxels; 1 to {MAX_VOXELS} are allowed.")
    kind = str(content.get("PhotometricInterpretation", ""))
    if kind not in ("MONOCHROME1", "MONOCHROME2") or int(content.get("SamplesPerPixel", 1) or 1) != 1:
        raise DataError(f"{path}: has pixels of the kind {kind or 'unknown'}; only grey ones are read (MONOCHROME).")
    if "ModalityLUTSequence" in content:
        raise DataError(f"{path}: has a look-up table of values (Modality LUT), which is not read.")
    own = content.get("PerFrameFunctionalGroupsSequence")
    if own is not None and len(own) != count:
        raise DataError(f"{path}: describes {len(own)} frames and has {count}.")
    if own is None and count > 1:
        raise DataError(f"{path}: has {count} frames without positions; only those of enhanced DICOM are read.")
    groups = list(own) if own is not None else [None]
    shared = (content.get("SharedFunctionalGroupsSequence") or [None])[0]

    def value(group: Any, sequence: str, keyword: str) -> Any:
        for one in (group, shared):
            if one is not None and one.get(sequence):
                found = one.get(sequence)[0].get(keyword)
                if found is not None:
                    return found
        return content.get(keyword)

    def numbers(group: Any, sequence: str, keyword: str, count: int) -> list[float]:
        return _numbers(path, keyword, count, value(group, sequence, keyword))

    orientations, spacings, frames, segments = set(), set(), [], []
    for number, group in enumerate(groups):
        orientation = numbers(group, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
        orientations.add(tuple(round(one, 4) for one in orientation))
        rows_apart, columns_apart = numbers(group, "PixelMeasuresSequence", "PixelSpacing", 2)
        spacings.add((rows_apart, columns_apart))
        position = numbers(group, "PlanePositionSequence", "ImagePositionPatient", 3)
        stored = [value(group, "PixelValueTransformationSequence", f"Rescale{one}") for one in ("Slope", "Intercept")]
        scale = _numbers(path, "RescaleSlope", 2, [1 if stored[0] is None else stored[0], stored[1] or 0])
        shown = [value(group, "FrameVOILUTSequence", one) for one in ("WindowCenter", "WindowWidth", "VOILUTFunction")]
        window = _window(*shown)
        frames.append(Frame(path, number, (position[0], position[1], position[2]), scale[0], scale[1], window))
        if is_segmentation:
            segment = int(value(group, "SegmentIdentificationSequence", "ReferencedSegmentNumber") or 0)
            if not 0 <= segment < 2**16:
                raise DataError(f"{path}: frame {number + 1} shows segment {segment}; 1 to 65535 are allowed.")
            segments.append(segment)
    if len(orientations) > 1 or len(spacings) > 1:
        raise DataError(f"{path}: has frames of several orientations or spacings; one stack of slices is needed.")
    if min(min(spacings)) <= 0 or abs(np.linalg.norm(np.cross(orientation[:3], orientation[3:])) - 1) > SAME:
        raise DataError(f"{path}: has a PixelSpacing or an ImageOrientationPatient that cannot be.")
    is_fractional = content.get("SegmentationType") == "FRACTIONAL"
    referred = content.get("ReferencedSeriesSequence") or []
    thickness = value(groups[0], "PixelMeasuresSequence", "SliceThickness")
    return Header(
        **common,
        is_segmentation=is_segmentation,
        refers_to=str(referred[0].get("SeriesInstanceUID", "")) if is_segmentation and len(referred) == 1 else "",
        size=(rows, columns),
        orientation=tuple(orientation),
        spacing=min(spacings),
        thickness=float(thickness) if thickness and float(thickness) > 0 else 1.0,
        inverted=kind == "MONOCHROME1",
        frames=tuple(frames),
        segments=tuple(segments),
        full=float(content.get("MaximumFractionalValue", 1) or 1) if is_fractional else 1.0,
    )


def _scanner(content: Any) -> str:
    said = (str(content.get(keyword, "") or "").strip() for keyword in ("Manufacturer", "ManufacturerModelName"))
    return " ".join(" ".join(said).split())[:_LONGEST_NAME]


def _numbers(path: Path, keyword: str, count: int, given: Any) -> list[float]:
    try:
        numbers = [float(one) for one in given]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DataError(f"{path}: has no usable {keyword}, so that its slices have no place in space.")
    return numbers


def _window(center: Any, width: Any, function: Any) -> tuple[float, float] | None:
    """Return the values that are black and white; of several windows those of the first."""
    try:
        middle, size = (float(one if isinstance(one, int | float | str) else one[0]) for one in (center, width))
    except (TypeError, ValueError, IndexError):
        return None
    if not np.isfinite([middle, size]).all() or size <= 1 or function not in (None, "", "LINEAR", "LINEAR_EXACT"):
        return None
    if function == "LINEAR_EXACT":
        return middle - size / 2, middle + size / 2
    # DICOM PS3.3 C.11.2.1.2: the centre lies half a value lower, and the width counts both ends.
    return middle - 0.5 - (size - 1) / 2, middle - 0.5 + (size - 1) / 2


def _check_compressed(header: Header, stored: bytes) -> None:
    """Refuse compressed frames that are of another size than the header says: decoders believe the frames.

    Raises:
        DataError: a frame says another size.
    """
    from pydicom.encaps import generate_frames

    for number, frame in enumerate(generate_frames(stored, number_of_frames=len(header.frames)), 1):
        size = _size_of_jpeg(frame)
        if size is not None and size != header.size:
            raise DataError(
                f"{header.path}: frame {number} has {size[1]} x {size[0]} pixels, its header says "
                f"{(header.size or (0, 0))[1]} x {(header.size or (0, 0))[0]}."
            )


def _size_of_jpeg(frame: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 frame; None of any other."""
    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: right, bottom, left and top of the image
        right, bottom, left, top = (int.from_bytes(frame[place : place + 4]) for place in (8, 12, 16, 20))
        return bottom - top, right - left
    place = 2
    while frame[:2] == b"\xff\xd8" and place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _FRAME_MARKERS:
            return int.from_bytes(frame[place + 5 : place + 7]), int.from_bytes(frame[place + 7 : place + 9])
        place += 2 + max(2, int.from_bytes(frame[place + 2 : place + 4]))
    return None
