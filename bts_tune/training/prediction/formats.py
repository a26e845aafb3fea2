"""The files that a prediction is written to: masks as PNG, NIfTI and DICOM SEG, COCO annotations, and a table."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bts_tune.data.volumes.dicom_files import is_dicom
from bts_tune.data.volumes.nifti import is_nifti
from bts_tune.errors import ConfigError, DataError
from bts_tune.results.record.files import write_parts_atomically
from bts_tune.training.prediction.volumes import SegmentedVolume
from bts_tune.version import __version__


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one image or volume.

    Attributes:
        image: the file that was read; of a DICOM series the first one.
        mask: the file with the mask: 0 and 255, in the image's own size; of a volume 0 and 1, on its own grid, or a
            folder of slices. Of several formats the first; the file of all COCO annotations where there is no other.
        overlay: the file with the image and the mask's outline; of a volume the slice that shows most tumour.
        size: columns, rows and slices, as the file has them; of an image 1 slice.
        tumor_pixels: pixels, or voxels, that are predicted as tumour.
        tumor_share: their share of all.
        tumor_mm3: what they hold; None of an image, whose scale is not known.
        regions: connected regions of the tumour.
        box: first corner and size of the box around it, each (columns, rows, slices); None where there is none.
        highest_probability: of a pixel.
        mean_probability: of the tumour's pixels; None where there are none.
        annotations: for a COCO file; None where none was asked for.
        model: what segmented it, in words.
    """

    image: Path
    mask: Path
    overlay: Path
    size: tuple[int, int, int]
    tumor_pixels: int
    tumor_share: float
    tumor_mm3: float | None
    regions: int
    box: tuple[Sequence[int], Sequence[int]] | None
    highest_probability: float
    mean_probability: float | None
    annotations: list[dict[str, Any]] | None = None
    model: str = ""


FORMATS = {
    "image": ("png", "coco"),
    "NIfTI volume": ("nifti", "png"),
    "DICOM series": ("dicom-seg", "nifti", "png"),
}
"""Which formats each kind of file may be written in; the first is what it gets unless told otherwise."""

ALL_FORMATS = tuple(dict.fromkeys(name for names in FORMATS.values() for name in names))
_PART = 2**20
"""Bytes of a file that are copied at once."""
_SUFFIX = {"nifti": ".nii.gz", "dicom-seg": ".dcm"}


def kind_of(file: Path) -> str:
    """Return which of `FORMATS` a file is."""
    return "NIfTI volume" if is_nifti(file) else "DICOM series" if is_dicom(file) else "image"


def chosen_formats(file: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the formats that a file is written in.

    Args:
        file: an image, or the first file of a volume.
        asked: of `ALL_FORMATS`; empty for what a file of its kind gets.

    Raises:
        ConfigError: there is no such format, or a file of this kind cannot be written in any of these.
    """
    for name in asked:
        if name not in ALL_FORMATS:
            raise ConfigError(f"--format {name!r}: unknown; allowed are {', '.join(ALL_FORMATS)}.")
    allowed = FORMATS[kind_of(file)]
    if not asked:
        return allowed[:1]
    chosen = tuple(name for name in dict.fromkeys(asked) if name in allowed)
    if not chosen:
        kind = kind_of(file)
        raise ConfigError(f"--format {asked[0]}: {file} is {_a(kind)}, which can be written as {' or '.join(allowed)}.")
    return chosen


def mask_file(stem: Path, kind: str, name: str) -> Path:
    """Return the file of a mask, or the folder of a volume's slices; `stem` is its path without suffix."""
    if name in _SUFFIX:
        return stem.with_name(f"{stem.name}_mask{_SUFFIX[name]}")
    return stem.with_name(f"{stem.name}_mask{'.png' if kind == 'image' else ''}")


def files_of_image(mask: NDArray[np.uint8], stem: Path, formats: Sequence[str]) -> dict[Path, bytes]:
    """Return the files of an image's mask; the annotations of COCO are in a file of all images."""
    return {mask_file(stem, "image", "png"): png(mask * 255)} if "png" in formats else {}


def files_of_volume(found: SegmentedVolume, stem: Path, formats: Sequence[str]) -> dict[Path, bytes]:
    """Return the files of a volume's mask.

    Raises:
        DataError: a package that writes them is not installed, or the series lacks what a DICOM SEG must say of it.
    """
    files: dict[Path, bytes] = {}
    for name in formats:
        target = mask_file(stem, "volume", name)
        if name == "nifti":
            files[target] = found.as_nifti()
        elif name == "dicom-seg":
            files[target] = found.as_dicom_seg()
        else:
            files |= {target / f"{index:04}.png": png(one * 255) for index, one in enumerate(found.slices())}
    return files


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return the content of a PNG file of pixels, [H, W] grey or [H, W, 3] blue, green, red."""
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


# --- the table of all predictions ---

COLUMNS = (
    "image",
    "mask",
    "width",
    "height",
    "slices",
    "tumor_pixels",
    "tumor_share",
    "tumor_mm3",
    "regions",
    "box_x",
    "box_y",
    "box_z",
    "box_width",
    "box_height",
    "box_depth",
    "highest_probability",
    "mean_probability",
    "model",
)
"""Of `predictions.csv`: one line an image or volume. `docs/prediction.md` says what they are."""


def table(predictions: Iterable[Prediction], earlier: Iterable[Mapping[str, str]] = ()) -> str:
    """Return the content of `predictions.csv`; rows of an earlier one stand first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.get(column) or "" for column in COLUMNS] for row in earlier)
    for one in predictions:
        low, extent = one.box or (("",) * 3, ("",) * 3)
        writer.writerow(
            [
                one.image,
                one.mask,
                *one.size,
                one.tumor_pixels,
                f"{one.tumor_share:.6g}",
                "" if one.tumor_mm3 is None else f"{one.tumor_mm3:.6g}",
                one.regions,
                *low,
                *extent,
                f"{one.highest_probability:.4f}",
                "" if one.mean_probability is None else f"{one.mean_probability:.4f}",
                one.model,
            ]
        )
    return buffer.getvalue()


def is_table(file: Path) -> bool:
    """Whether a file is a table of predictions, of this version or an earlier one."""
    try:
        with file.open("rb") as content:
            return content.readline(1000).startswith(b"image,mask,")
    except OSError:
        return False


def rows_with_masks(file: Path) -> list[dict[str, str]]:
    """Return the rows of a table of predictions whose masks are still there, each with the path of its mask now.

    A mask is looked for in the table's own folder: its path may have been written in another working folder.

    Raises:
        DataError: the table cannot be read.
    """
    if not is_table(file):
        return []
    try:
        # A name that is no UTF-8 stands there in its own bytes.
        content = file.read_bytes().decode(errors="surrogateescape")
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a table of predictions: {error}; choose another --out.") from None
    found = []
    for row in rows:
        parts = [part for part in Path(row["mask"] or "").parts if part != os.sep]
        places = (file.parent.joinpath(*parts[start:]) for start in range(len(parts)))
        place = next((place for place in places if os.path.lexists(place)), None)
        if place is not None:
            found.append({**row, "mask": str(place)})
    return found


def regions_and_box(mask: NDArray[np.uint8]) -> tuple[int, tuple[Sequence[int], Sequence[int]] | None]:
    """Return the number of connected regions of a mask, and the box around all of them: its first corner and its size.

    Args:
        mask: [columns, rows, slices]; voxels that touch at a side, an edge or a corner are one region.
    """
    if not mask.any():
        return 0, None
    _, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sides = ndimage.find_objects((mask > 0).astype(np.uint8))[0]
    return int(count), ([int(side.start) for side in sides], [int(side.stop - side.start) for side in sides])


# --- COCO ---


def coco_annotations(mask: NDArray[np.uint8], probability: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return a COCO annotation, without ids, of each connected region of an image's mask.

    `score` is the mean probability of its pixels, as in COCO's result files; the mask is run-length encoded.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, count):
        region = labels == label
        x, y, width, height, area = (int(value) for value in statistics[label])
        found.append(
            {
                "category_id": 1,
                "bbox": [x, y, width, height],
                "area": area,
                "iscrowd": 0,
                "score": round(float(probability[region].mean(dtype=np.float64)), 4),
                "segmentation": {"size": list(mask.shape), "counts": _run_lengths(region)},
            }
        )
    return found


def _run_lengths(region: NDArray[np.bool_]) -> list[int]:
    """Return COCO's uncompressed run lengths: column by column, of 0 and 1 in turn, beginning with 0."""
    flat = np.concatenate([[False], region.ravel(order="F"), [not region[-1, -1]]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(ends, prepend=0)]


class CocoFile:
    """`predictions.json`, a COCO file of the images that are to be written as such.

    Its annotations wait in a file without a name, so that those of one image are in memory at a time.

    Args:
        path: the file, which `write` writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._images: list[dict[str, Any]] = []
        self._count = 0
        self._waiting: IO[bytes] | None = None

    def add(self, one: Prediction) -> None:
        """Add the annotations of an image, where there are to be any."""
        if one.annotations is None:
            return
        if self._waiting is None:
            self._waiting = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115, `close` closes it
        number = len(self._images) + 1
        width, height, _ = one.size
        self._images.append({"id": number, "file_name": str(one.image), "width": width, "height": height})
        for found in one.annotations:
            self._count += 1
            described = {"id": self._count, "image_id": number, **found}
            self._waiting.write((", " if self._count > 1 else "").encode() + json.dumps(described).encode())

    def write(self) -> None:
        """Write the file, where an image was to be written as COCO."""
        if self._waiting is not None:
            write_parts_atomically(self._path, self._parts(self._waiting))

    def close(self) -> None:
        """Give up what waits to be written."""
        if self._waiting is not None:
            self._waiting.close()

    def _parts(self, waiting: IO[bytes]) -> Iterator[bytes]:
        head = {"info": {"description": f"predicted by bts-tune {__version__}"}, "images": self._images}
        yield json.dumps(head).removesuffix("}").encode() + b', "annotations": ['
        waiting.seek(0)
        while part := waiting.read(_PART):
            yield part
        yield b'], "categories": ' + json.dumps([{"id": 1, "name": "tumour"}]).encode() + b"}\n"


def _a(noun: str) -> str:
    return f"an {noun}" if noun == "image" else f"a {noun}"
