"""Opens every slice of a dataset once and notes what it shows, whichever split the slice is in.

The data check, the search for near-duplicates and the grouped split are all made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bts_tune.data.checks.similarity import SIDE, Floats, Pairs, find_similar, signatures, small
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.images import decode, read_bytes, read_mask, to_grey
from bts_tune.data.prepared.masks import drawn_area
from bts_tune.data.records import Annotation, Dataset, Issue, Level, SliceRecord
from bts_tune.errors import DataError

TINY_AREA = 32
"""Annotations that cover fewer pixels are reported: a slip of the mouse rather than a tumour."""


@dataclass(frozen=True, eq=False)
class SliceScan:
    """What opening one slice showed.

    Attributes:
        issues: what is wrong with it.
        digest: SHA-256 of the image's file, None where it cannot be read, as for what follows.
        size: `width x height`.
        kind: channels and depth.
        tumor_share: the tumour's share of the image's area.
        small: its small version, float32 [32, 32].
    """

    issues: tuple[Issue, ...]
    digest: str | None = None
    size: str | None = None
    kind: str | None = None
    tumor_share: float | None = None
    small: Floats | None = None


class Scan:
    """What opening every slice of a dataset showed.

    Attributes:
        slices: by name of the slice.
        names: names of the slices; arrays by slice have this order.
    """

    def __init__(self, slices: dict[str, SliceScan]) -> None:
        self.slices = slices
        self.names = list(slices)

    @cached_property
    def vectors(self) -> Floats:
        """Signatures, float32 [N, 1024]; zeros where a slice cannot be read or is blank."""
        blank = np.zeros((SIDE, SIDE), dtype=np.float32)
        smalls = [blank if one.small is None else one.small for one in self.slices.values()]
        return signatures(np.stack(smalls) if smalls else np.empty((0, SIDE, SIDE), dtype=np.float32))

    @cached_property
    def pairs(self) -> Pairs:
        """Near-duplicates, by their place in `names`."""
        return find_similar(self.vectors)


def scan_dataset(dataset: Dataset, *, progress: Progress | None = None) -> Scan:
    """Open every image and mask of a dataset.

    Args:
        dataset: as `open_dataset` read it.
        progress: called after each slice.
    """
    records = list(dataset)
    scans = parallel_map(_scan_slice, records, progress=progress)
    return Scan({record.name: one for record, one in zip(records, scans, strict=True)})


def _scan_slice(record: SliceRecord) -> SliceScan:
    issues: list[Issue] = []

    def find(level: Level, code: str, message: str) -> None:
        issues.append(Issue(level, code, record.name, None, message))

    if not _is_file(record.image):
        find("error", "missing-image", "the file does not exist.")
        return SliceScan(tuple(issues))
    try:
        if record.source is None:
            data = read_bytes(record.image)
            pixels = decode(data, record.name)
        else:
            pixels = record.source.image()
            data = pixels.tobytes()
        grey = to_grey(pixels, record.name)
    except DataError as error:
        find("error", "unreadable-image", str(error).removeprefix(f"{record.name}: "))
        return SliceScan(tuple(issues))
    height, width = grey.shape
    if grey.min() == grey.max():
        find("warning", "blank-image", "all pixels have the same value.")
    if record.width is not None and (record.width, record.height) != (width, height):
        find(
            "error",
            "wrong-size",
            f"the image has {width} x {height} pixels, its entry declares {record.width} x {record.height}.",
        )
    share = None
    try:
        mask = read_mask(record)
    except DataError as error:
        find("error", "unreadable-mask", str(error))
    else:
        share = float(mask.mean())
        if record.mask is not None:
            issues += _mask_issues(record, record.mask, mask, (height, width))
    if record.mask is None:
        issues += _annotation_issues(record)
    if share == 0:
        find("warning", "no-tumor", "nothing is annotated as tumour; the slice counts as tumour-free.")
    digest = hashlib.sha256(data).hexdigest()
    return SliceScan(tuple(issues), digest, f"{width} x {height}", _kind(pixels), share, small(grey))


def _mask_issues(record: SliceRecord, path: Path, mask: np.ndarray, size: tuple[int, int]) -> Iterator[Issue]:
    if mask.shape != size:
        message = f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}."
        yield Issue("error", "wrong-mask-size", record.name, None, message)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        message = f"the mask {path.name} is a JPEG, whose compression leaves non-zero pixels around a tumour; use PNG."
        yield Issue("warning", "lossy-mask", record.name, None, message)
    if mask.all():
        yield Issue("warning", "full-mask", record.name, None, "every pixel of the mask is tumour.")


def _annotation_issues(record: SliceRecord) -> Iterator[Issue]:
    if record.width is None or record.height is None:
        return
    if len(record.annotations) > 1:
        ids = ", ".join(str(one.annotation_id) for one in record.annotations)
        message = f"{len(record.annotations)} annotations ({_cut(ids, 80)}); the mask is their union."
        yield Issue("warning", "several-annotations", record.name, None, message)
    for one in record.annotations:
        for code, message in _annotation_problems(one, record.width, record.height):
            yield Issue("warning", code, record.name, one.annotation_id, message)


def _annotation_problems(annotation: Annotation, width: int, height: int) -> Iterator[tuple[str, str]]:
    """Yield code and message of what is odd about an annotation that can be drawn."""
    if isinstance(annotation.segmentation, list):
        polygons = annotation.segmentation
        short = sum(len(polygon) < 6 for polygon in polygons)
        if short:
            yield "degenerate-annotation", f"{short} of its {len(polygons)} polygon(s) have fewer than 3 points."
        x = np.concatenate([polygon[::2] for polygon in polygons])
        y = np.concatenate([polygon[1::2] for polygon in polygons])
        if min(x.min(), y.min()) < -1 or x.max() > width + 1 or y.max() > height + 1:
            yield "partly-outside", f"it reaches beyond the image of {width} x {height} pixels and is cut off there."
    area = drawn_area(annotation, height, width)
    if area == 0:
        yield "degenerate-annotation", "it covers no pixel."
    elif area < TINY_AREA:
        yield "tiny-annotation", f"it covers {area} of the image's {width * height} pixels."


def _kind(pixels: np.ndarray) -> str:
    """Name channels and depth of decoded pixels, such as `colour 8-bit, equal channels`."""
    depth = f"{8 * pixels.dtype.itemsize}-bit" + (" float" if pixels.dtype.kind == "f" else "")
    if pixels.ndim == 2:
        return f"grey {depth}"
    colour = pixels[..., :3]
    equal = np.array_equal(colour[..., 0], colour[..., 1]) and np.array_equal(colour[..., 0], colour[..., 2])
    alpha = " with alpha" if pixels.shape[2] == 4 else ""
    return f"colour {depth}{alpha}" + (", equal channels" if equal else "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 2]} …"
