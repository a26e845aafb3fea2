"""Segments images of any size and volumes, seen or never seen, with a saved model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bts_tune.data.files import Links, behind_links, files_below
from bts_tune.data.planes import PLANES
from bts_tune.data.prepared.images import read_image
from bts_tune.data.readers._dicom import is_dicom
from bts_tune.data.readers._nifti import NIFTI_SUFFIXES, is_nifti, volume_stem
from bts_tune.data.records import all_files, image_files
from bts_tune.errors import DataError
from bts_tune.results.files import write_atomically
from bts_tune.training.segmenter import Segmenter
from bts_tune.training.volumes import mask_of_volume, mask_suffix, series_of, shown_slice

_OUTLINE = (60, 60, 255)  # BGR


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image or volume.

    Attributes:
        image: the file that was read; of a DICOM series the first one.
        mask: the file with the mask: 0 and 255, in the image's own size; of a volume 0 and 1, on its own grid.
        overlay: the file with the image and the mask's outline; of a volume the slice that shows most tumour.
        tumor_share: share of the image's pixels, or the volume's voxels, that are predicted as tumour.
    """

    image: Path
    mask: Path
    overlay: Path
    tumor_share: float


@dataclass(frozen=True)
class Scan:
    """What is segmented: an image or a volume.

    Attributes:
        files: an image, a NIfTI volume, or the files of a DICOM series.
        name: of its outputs: a file's stem, or its path below a folder that was named; of a series of several files
            its folder's, where no other series lies in it.
    """

    files: tuple[Path, ...]
    name: Path


def list_scans(paths: Sequence[Path]) -> list[Scan]:
    """Return each image and volume with the name of its outputs.

    Raises:
        DataError: a path does not exist, a folder holds no image, a DICOM file cannot be read, or two scans would get
            the same outputs.
    """
    listed: list[Scan] = []
    lone: list[Path] = []
    for path in paths:
        if path.is_dir():
            with files_below(path):
                files = image_files(path, recursive=True, more=NIFTI_SUFFIXES)
                series = series_of([file for file in all_files(path) if is_dicom(file)])
            outside = list(filter(Links(path).lead_out, files))
            if outside:
                raise DataError(f"{outside[0]}: is, or lies, {behind_links(path, folder='the folder')}")
            if not files and not series:
                raise DataError(f"{path}: holds no image (PNG, JPEG, TIFF, GIF, BMP, WebP, NPY, NIfTI or DICOM).")
            listed += [Scan((file,), file.relative_to(path).with_name(volume_stem(file))) for file in files]
            listed += [Scan(one, _name_of_series(path, one, series)) for one in series]
        elif path.is_file():
            if is_dicom(path):
                lone.append(path)
            else:
                listed.append(Scan((path,), Path(volume_stem(path))))
        else:
            raise DataError(f"{path}: no such image or folder.")
    series = series_of(lone)
    if lone and not series:
        raise DataError(f"{lone[0]}: holds no image that can be segmented.")
    listed += [Scan(one, Path(one[0].stem)) for one in series]
    taken: dict[Path, Path] = {}
    for scan in listed:
        if scan.name in taken:
            raise DataError(
                f"{scan.files[0]} and {taken[scan.name]} would both be written as {scan.name}; name them apart."
            )
        taken[scan.name] = scan.files[0]
    return listed


def _name_of_series(folder: Path, files: Sequence[Path], series: Sequence[Sequence[Path]]) -> Path:
    parents = {file.parent for file in files}
    alone = len(parents) == 1 and sum(one[0].parent in parents for one in series) == 1
    if len(files) == 1 or not alone:
        return files[0].relative_to(folder).with_name(files[0].stem)
    inner = files[0].parent.relative_to(folder)
    return inner if inner.parts else Path(folder.resolve().name)


def _output_files(out: Path, scan: Scan) -> tuple[Path, Path]:
    """Return the files of the mask and the overlay."""
    folder, name = out / scan.name.parent, scan.name.name
    return folder / f"{name}_mask{mask_suffix(scan.files[0])}", folder / f"{name}_overlay.png"


def predict(
    model: Path | Segmenter, images: Sequence[Path], out: Path, *, device: str = "auto", plane: str = "axial"
) -> Iterator[Prediction]:
    """Write a mask and an overlay for each image, and yield what was written.

    An image is equalised and resized as the training images were; the probability map is resized back to the image's
    own size before it is cut at 0.5. A volume is cut into slices, and its mask has the volume's own grid.

    Args:
        model: the folder of a saved model, or a model that is loaded.
        images: images and volumes, or folders of them.
        out: folder of the masks and overlays.
        device: of a model that is not loaded yet.
        plane: one of `PLANES`, along which volumes are cut; the one that the model was trained on.

    Raises:
        RunError: the model cannot be read.
        DataError: an image cannot be read (those before it are written), or would be overwritten.
    """
    if plane not in PLANES:
        raise DataError(f"plane {plane!r}: must be one of {', '.join(PLANES)}.")
    scans = list_scans(images)
    inputs = {file.resolve() for scan in scans for file in scan.files}
    for scan in scans:
        for output in _output_files(out, scan):
            if output.resolve() in inputs:
                raise DataError(f"{output}: would be overwritten, but is one of the images; choose another --out.")
    segmenter = model if isinstance(model, Segmenter) else Segmenter.load(model, device)
    for scan in scans:
        file = scan.files[0]
        mask_file, overlay_file = _output_files(out, scan)
        if is_nifti(file) or is_dicom(file):
            content, volume, mask = mask_of_volume(segmenter, scan.files, plane)
            overlay = _overlay(*shown_slice(volume, mask, plane, str(file)))
        else:
            read = read_image(file, segmenter.config.channels)
            mask = segmenter.predict(read)
            content, overlay = cv2.imencode(".png", mask * 255)[1].tobytes(), _overlay(read, mask)
        write_atomically(mask_file, content)
        write_atomically(overlay_file, cv2.imencode(".png", overlay)[1].tobytes())
        yield Prediction(file, mask_file, overlay_file, float(mask.mean()))


def _overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    grey = image if image.ndim == 2 else np.rint(image.mean(axis=2)).astype(np.uint8)
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, outlines, -1, _OUTLINE, max(1, round(max(mask.shape) / 320)))
    return colour
