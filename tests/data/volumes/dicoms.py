"""Small DICOM series and segmentations, written with pydicom and highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

# Columns run to the left and a little up, rows to the back: an oblique axial stack, of 0.8 x 1.1 x 3.5 mm.
ALONG = np.array([np.cos(0.15), 0.0, np.sin(0.15)])
DOWN = np.array([0.0, np.cos(0.1), 0.0]) + np.sin(0.1) * np.array([-np.sin(0.15), 0.0, np.cos(0.15)])
NORMAL = np.cross(ALONG, DOWN)
SPACING = (1.1, 0.8)
APART = 3.5
START = np.array([-12.0, -30.5, 41.25])


def stack(seed: int = 0, shape: tuple[int, int, int] = (8, 12, 10)) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of slices, rows and columns, and a mask with a tumour in the slices 2 to 4."""
    image = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.uint16)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[2:5, 3:9, 2:6] = 1
    return image, mask


def _common(uid: str, patient: str, description: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    content.SOPClassUID, content.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    content.PatientID, content.PatientName, content.PatientBirthDate, content.PatientSex = patient, "Doe^", "", ""
    content.StudyInstanceUID, content.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    content.FrameOfReferenceUID = f"{uid}.3"
    content.StudyDate = content.StudyTime = content.AccessionNumber = content.ReferringPhysicianName = ""
    content.StudyID, content.SeriesNumber, content.SeriesDescription = "1", 1, description
    content.Modality, content.Manufacturer, content.PositionReferenceIndicator = "MR", "test", ""
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated = content.BitsStored = 16
    content.HighBit, content.PixelRepresentation = 15, 0
    return content


def place_of(number: int) -> list[float]:
    return [float(f"{one:.6f}") for one in START + number * APART * NORMAL]


def directions() -> list[float]:
    return [float(f"{one:.8f}") for one in (*ALONG, *DOWN)]


def write_series(
    folder: Path,
    image: np.ndarray,
    *,
    patient: str = "P1",
    description: str = "T1",
    order: Sequence[int] | None = None,
    suffix: str = ".dcm",
    **fields: Any,
) -> list[Path]:
    """Write a file for each slice; the names follow `order`, not the position. Return the files by position."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid(prefix=None, entropy_srcs=[str(folder.name), patient, description])[:50]
    places = list(range(len(image))) if order is None else list(order)
    paths = []
    for number, pixels in enumerate(image):
        content = _common(uid, patient, description)
        content.Rows, content.Columns = pixels.shape
        content.InstanceNumber = places[number] + 1
        content.ImagePositionPatient, content.ImageOrientationPatient = place_of(number), directions()
        content.PixelSpacing, content.SliceThickness = list(SPACING), APART
        content.PixelData = np.ascontiguousarray(pixels).tobytes()
        for name, value in fields.items():
            setattr(content, name, value)
        paths.append(folder / f"IM{places[number]:03}{suffix}")
        content.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_multi_frame(
    path: Path, image: np.ndarray, *, patient: str = "P1", order: Sequence[int] | None = None
) -> Path:
    """Write one file of several frames, which lie in it in another order than in space if you like."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _common(generate_uid()[:50], patient, "T1")
    content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    content.NumberOfFrames, content.InstanceNumber = len(image), 1
    content.Rows, content.Columns = image.shape[1:]
    content.ContentDate = content.ContentTime = ""
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), APART
    orientation.ImageOrientationPatient = directions()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([orientation])
    content.SharedFunctionalGroupsSequence = Items([shared])
    frames = list(range(len(image))) if order is None else list(order)
    groups = []
    for number in frames:
        position, scale, group = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = place_of(number)
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 2, number, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = Items([position]), Items([scale])
        groups.append(group)
    content.PerFrameFunctionalGroupsSequence = Items(groups)
    content.PixelData = np.ascontiguousarray(image[frames]).tobytes()
    content.save_as(path, enforce_file_format=True)
    return path


def write_segmentation(
    path: Path, series: Sequence[Path], mask: np.ndarray, kind: str = "BINARY", segments: int = 1
) -> Path:
    """Write a DICOM SEG of a mask of slices, rows and columns, in the order of the files or frames of the series."""
    path.parent.mkdir(parents=True, exist_ok=True)
    described = [
        SegmentDescription(
            segment_number=number + 1,
            segment_label=f"segment {number + 1}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(segments)
    ]
    written = Segmentation(
        source_images=[dcmread(one) for one in series],
        pixel_array=mask,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    written.save_as(path)
    return path
