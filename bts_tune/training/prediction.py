"""Segments images of any size and volumes, seen or never seen, with a saved model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bts_tune.data.planes import PLANES
from bts_tune.data.prepared.images import read_grey
from bts_tune.data.readers._nifti import NIFTI_SUFFIXES, is_nifti, volume_stem
from bts_tune.data.records import image_files
from bts_tune.errors import DataError
from bts_tune.results.files import write_atomically
from bts_tune.training.segmenter import Segmenter
from bts_tune.training.volumes import MASK_SUFFIX, mask_of_volume, shown_slice

_OUTLINE = (60, 60, 255)  # BGR


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image or volume.

    Attributes:
        image: the file that was read.
        mask: the file with the mask: 0 and 255, in the image's own size; of a volume 0 and 1, on its own grid.
        overlay: the file with the image and the mask's outline; of a volume the slice that shows most tumour.
        tumor_share: share of the image's pixels, or the volume's voxels, that are predicted as tumour.
    """

    image: Path
    mask: Path
    overlay: Path
    tumor_share: float


def _output_files(out: Path, file: Path, name: Path) -> tuple[Path, Path]:
    """Return the files of the mask and the overlay."""
    folder = out / name.parent
    return folder / f"{name.name}_mask{MASK_SUFFIX if is_nifti(file) else '.png'}", folder / f"{name.name}_overlay.png"


def list_images(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return each image with the name of its outputs: a file's stem, or its path below a folder that was named.

    Raises:
        DataError: a path does not exist, a folder holds no image, or two images would get the same outputs.
    """
    listed: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            files = image_files(path, recursive=True, more=NIFTI_SUFFIXES)
            if not files:
                raise DataError(f"{path}: holds no image (PNG, JPEG, TIFF, GIF, BMP, WebP, NPY or NIfTI).")
            listed += [(file, file.relative_to(path).with_name(volume_stem(file))) for file in files]
        elif path.is_file():
            listed.append((path, Path(volume_stem(path))))
        else:
            raise DataError(f"{path}: no such image or folder.")
    taken: dict[Path, Path] = {}
    for file, name in listed:
        if name in taken:
            raise DataError(f"{file} and {taken[name]} would both be written as {name}; name them apart.")
        taken[name] = file
    return listed


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
    listed = list_images(images)
    inputs = {file.resolve() for file, _ in listed}
    for file, name in listed:
        for output in _output_files(out, file, name):
            if output.resolve() in inputs:
                raise DataError(f"{output}: would be overwritten, but is one of the images; choose another --out.")
    segmenter = model if isinstance(model, Segmenter) else Segmenter.load(model, device)
    for file, name in listed:
        mask_file, overlay_file = _output_files(out, file, name)
        if is_nifti(file):
            content, volume, mask = mask_of_volume(segmenter, file, plane)
            overlay = _overlay(*shown_slice(volume, mask, plane, str(file)))
        else:
            grey = read_grey(file)
            mask = segmenter.predict(grey)
            content, overlay = cv2.imencode(".png", mask * 255)[1].tobytes(), _overlay(grey, mask)
        write_atomically(mask_file, content)
        write_atomically(overlay_file, cv2.imencode(".png", overlay)[1].tobytes())
        yield Prediction(file, mask_file, overlay_file, float(mask.mean()))


def _overlay(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, outlines, -1, _OUTLINE, max(1, round(max(mask.shape) / 320)))
    return colour
