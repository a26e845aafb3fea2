"""Segments images of any size, seen or never seen, with a saved model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bts_tune.data.prepared.images import read_grey
from bts_tune.data.records import image_files
from bts_tune.errors import DataError
from bts_tune.results.files import write_atomically
from bts_tune.training.segmenter import Segmenter

_OUTLINE = (60, 60, 255)  # BGR


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image.

    Attributes:
        image: the file that was read.
        mask: the file with the mask, 0 and 255, in the image's own size.
        overlay: the file with the image and the mask's outline.
        tumor_share: share of the image's pixels that are predicted as tumour.
    """

    image: Path
    mask: Path
    overlay: Path
    tumor_share: float


def _output_files(out: Path, name: Path) -> tuple[Path, Path]:
    """Return the files of the mask and the overlay."""
    folder = out / name.parent
    return folder / f"{name.name}_mask.png", folder / f"{name.name}_overlay.png"


def list_images(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return each image with the name of its outputs: a file's stem, or its path below a folder that was named.

    Raises:
        DataError: a path does not exist, a folder holds no image, or two images would get the same outputs.
    """
    listed: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            files = image_files(path, recursive=True)
            if not files:
                raise DataError(f"{path}: holds no image (PNG, JPEG, TIFF, GIF, BMP, WebP or NPY).")
            listed += [(file, file.relative_to(path).with_suffix("")) for file in files]
        elif path.is_file():
            listed.append((path, Path(path.stem)))
        else:
            raise DataError(f"{path}: no such image or folder.")
    taken: dict[Path, Path] = {}
    for file, name in listed:
        if name in taken:
            raise DataError(f"{file} and {taken[name]} would both be written as {name}; name them apart.")
        taken[name] = file
    return listed


def predict(
    model: Path | Segmenter, images: Sequence[Path], out: Path, *, device: str = "auto"
) -> Iterator[Prediction]:
    """Write a mask and an overlay for each image, and yield what was written.

    An image is equalised and resized as the training images were; the probability map is resized back to the image's
    own size before it is cut at 0.5.

    Args:
        model: the folder of a saved model, or a model that is loaded.
        images: images, or folders of images.
        out: folder of the masks and overlays.
        device: of a model that is not loaded yet.

    Raises:
        RunError: the model cannot be read.
        DataError: an image cannot be read (those before it are written), or would be overwritten.
    """
    listed = list_images(images)
    inputs = {file.resolve() for file, _ in listed}
    for _, name in listed:
        for output in _output_files(out, name):
            if output.resolve() in inputs:
                raise DataError(f"{output}: would be overwritten, but is one of the images; choose another --out.")
    segmenter = model if isinstance(model, Segmenter) else Segmenter.load(model, device)
    for file, name in listed:
        grey = read_grey(file)
        mask = segmenter.predict(grey)
        mask_file, overlay_file = _output_files(out, name)
        write_atomically(mask_file, cv2.imencode(".png", mask * 255)[1].tobytes())
        write_atomically(overlay_file, cv2.imencode(".png", _overlay(grey, mask))[1].tobytes())
        yield Prediction(file, mask_file, overlay_file, float(mask.mean()))


def _overlay(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, outlines, -1, _OUTLINE, max(1, round(max(mask.shape) / 320)))
    return colour
