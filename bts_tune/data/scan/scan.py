"""Opens every slice of a dataset once and notes what it shows, whichever split the slice is in.

The data check, the search for near-duplicates and the grouped split are all made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bts_tune.data.mask_rule import MaskValues
from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.decoding import ORIENTATIONS, Header, decode_with_header
from bts_tune.data.prepared.images import (
    held_channels,
    range_without_marks,
    read_bytes,
    read_mask,
    read_plane,
    to_grey,
)
from bts_tune.data.prepared.judge_masks import JudgedMasks, judge_masks
from bts_tune.data.prepared.masks import UnclearMaskError, drawn_area, mask_values
from bts_tune.data.records import Annotation, Dataset, Issue, Level, SliceRecord
from bts_tune.data.scan.similarity import DETAIL_SIDE, SIDE, Floats, Pairs, detail, find_similar, signatures, small
from bts_tune.errors import DataError

TINY_AREA = 32
"""Annotations that cover fewer pixels are reported: a slip of the mouse rather than a tumour."""

SAME_PICTURE = 0.97
"""A mask whose small version correlates more than this with its image's is the image itself."""


FineCorrelations = dict[tuple[int, int, int], float]
"""Correlations of fine versions, by the places of two slices and the orientation of the second."""


@dataclass(frozen=True, eq=False)
class SliceScan:
    """What opening one slice showed.

    Attributes:
        issues: what is wrong with it.
        digest: SHA-256 of the image's file, None where it cannot be read, as for what follows.
        size: `width x height`.
        kind: channels and depth.
        tumor_share: the tumour's share of the image's area.
        signature: of its small version, float32 [1024].
        mask: what its mask's file holds, where it has one.
        channels: of the image; 1 where they are equal.
        detail: its detail, int8 [64, 64].
    """

    issues: tuple[Issue, ...]
    digest: str | None = None
    size: str | None = None
    kind: str | None = None
    tumor_share: float | None = None
    signature: Floats | None = None
    mask: MaskValues | None = None
    channels: int | None = None
    detail: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class Versions:
    """What slices are compared by, of all slices at once; zeros where one cannot be read or is blank.

    Attributes:
        signatures: float32 [N, 1024].
        details: int8 [N, 64, 64].
    """

    signatures: Floats
    details: NDArray[np.int8]

    @classmethod
    def blank(cls, count: int) -> Versions:
        """Return versions to be filled, in memory."""
        return cls(
            np.zeros((count, SIDE * SIDE), dtype=np.float32), np.zeros((count, DETAIL_SIDE, DETAIL_SIDE), dtype=np.int8)
        )

    @classmethod
    def of(cls, slices: Iterable[SliceScan]) -> Versions:
        """Return those of slices, copied."""
        listed = list(slices)
        made = cls.blank(len(listed))
        for place, one in enumerate(listed):
            made.fill(place, one)
        return made

    def fill(self, place: int, one: SliceScan) -> None:
        """Copy those of a slice to its place."""
        if one.signature is not None:
            self.signatures[place] = one.signature
        if one.detail is not None:
            self.details[place] = one.detail


class KeptPairs(Protocol):
    """Keeps what comparing slices found for the next time."""

    def load(self) -> tuple[Pairs, FineCorrelations] | None:
        """Return the pairs and the correlations of fine versions that were kept; None where there are none."""

    def keep(self, pairs: Pairs, fine: FineCorrelations) -> None:
        """Keep them in the place of what was kept before."""


class Scan:
    """What opening every slice of a dataset showed.

    Attributes:
        slices: by name of the slice.
        names: names of the slices; arrays by slice have this order.
        masks: which values of its mask files are tumour.
        fine: correlations of fine versions that were measured so far, see `FineCorrelations`; once `pairs` are known,
            those that were kept.
    """

    def __init__(
        self,
        slices: dict[str, SliceScan],
        masks: JudgedMasks | None = None,
        versions: Versions | None = None,
        kept: KeptPairs | None = None,
    ) -> None:
        self.slices = slices
        self.names = list(slices)
        self.masks = masks or JudgedMasks()
        self.fine: FineCorrelations = {}
        self._versions = versions
        self._kept = kept
        self._pairs: Pairs | None = None

    @cached_property
    def versions(self) -> Versions:
        """What the slices are compared by."""
        if self._versions is None:
            self._versions = Versions.of(self.slices.values())
        return self._versions

    @property
    def vectors(self) -> Floats:
        """Signatures, float32 [N, 1024]; zeros where a slice cannot be read or is blank."""
        return self.versions.signatures

    @property
    def pairs(self) -> Pairs:
        """Near-duplicates, by their place in `names`."""
        return self.compare()

    def compare(self, progress: Progress | None = None) -> Pairs:
        """Return the near-duplicates, which are searched for once.

        Args:
            progress: called now and then with the share of the slices that is done; not where they are few, or where
                what was found before is kept.
        """
        if self._pairs is None:
            before = None if self._kept is None else self._kept.load()
            if before is not None:
                self._pairs, self.fine = before
            else:
                self._pairs = find_similar(self.vectors, self.versions.details, progress=progress)
                self.keep_compared()
        return self._pairs

    def keep_compared(self) -> None:
        """Keep the near-duplicates and `fine` for the next time, where a cache keeps the rest of the scan."""
        if self._kept is not None:
            self._kept.keep(self.pairs, self.fine)


def scan_dataset(dataset: Dataset, *, progress: Progress | None = None) -> Scan:
    """Open every image and mask of a dataset, and judge what they show.

    Args:
        dataset: as `open_dataset` read it.
        progress: called after each slice.
    """
    versions = Versions.blank(len(dataset))
    return judge_scan(dataset, open_slices(dataset, versions, progress=progress), versions)


def open_slices(dataset: Dataset, versions: Versions, *, progress: Progress | None = None) -> dict[str, SliceScan]:
    """Return what each slice shows by itself; the tumour's share is not known yet where it has a mask's file.

    Args:
        dataset: as `open_dataset` read it.
        versions: as many as it has slices, where what they are compared by is put.
        progress: called after each slice.
    """

    def scanned(numbered: tuple[int, SliceRecord]) -> SliceScan:
        place, record = numbered
        one = _scan_slice(record, dataset.root)
        if one.signature is None:
            return one
        versions.fill(place, one)
        return replace(one, signature=versions.signatures[place], detail=versions.details[place])

    records = list(dataset)
    scans = parallel_map(scanned, list(enumerate(records)), progress=progress)
    return {record.name: one for record, one in zip(records, scans, strict=True)}


def judge_scan(
    dataset: Dataset,
    slices: Mapping[str, SliceScan],
    versions: Versions | None = None,
    kept: KeptPairs | None = None,
) -> Scan:
    """Return the scan of a dataset whose slices were opened: what masks mean is decided from all of them."""
    masks = {name: one.mask for name, one in slices.items() if one.mask is not None}
    judged = judge_masks(masks, dataset.tumor_labels, dataset.ignored_labels)
    found: dict[str, SliceScan] = {}
    for name, one in slices.items():
        issues = list(one.issues)
        share = one.tumor_share
        if one.mask is not None:
            share = judged.rule.share(one.mask)
            if share == 1 and not any(issue.code == "no-background" for issue in judged.issues):
                issues.append(Issue("warning", "full-mask", name, None, "every pixel of the mask is tumour."))
        if share == 0:
            message = "nothing is annotated as tumour; the slice counts as tumour-free."
            issues.append(Issue("warning", "no-tumor", name, None, message))
        found[name] = replace(one, tumor_share=share, issues=tuple(issues))
    return Scan(found, replace(judged, issues=(*judged.issues, *_large_annotations(found))), versions, kept)


def _large_annotations(slices: Mapping[str, SliceScan]) -> Iterator[Issue]:
    """Yield a warning where annotations are larger than tumours are; masks are judged by their values."""
    annotated = {name: one.tumor_share for name, one in slices.items() if one.mask is None and one.tumor_share}
    large = [name for name, share in annotated.items() if share > 0.5]
    if 2 * len(large) > len(annotated):
        message = (
            f"the annotations cover more than half of the image in {len(large)} of {len(annotated)} images that have "
            "any; do they outline the tumour, or all else?"
        )
        yield Issue("warning", "large-annotations", large[0], None, message)


def _scan_slice(record: SliceRecord, root: Path) -> SliceScan:
    issues: list[Issue] = []

    def find(level: Level, code: str, message: str) -> None:
        issues.append(Issue(level, code, record.name, None, message))

    if not _is_file(record.image):
        find("error", "missing-image", "the file does not exist.")
        return SliceScan(tuple(issues))
    try:
        if record.source is None:
            data = read_bytes(record.image)
            pixels, header = decode_with_header(data, record.name, many=True)
        else:
            pixels = record.source.image()
            data = pixels.tobytes()
            header = Header("", pixels.shape[1], pixels.shape[0])
        grey = to_grey(pixels, record.name)
    except DataError as error:
        find("error", "unreadable-image", str(error).removeprefix(f"{record.name}: ").replace(f"{root}/", ""))
        return SliceScan(tuple(issues))
    height, width = grey.shape
    if grey.min() == grey.max():
        find("warning", "blank-image", "all pixels have the same value.")
    if record.width is not None and (record.width, record.height) != (width, height):
        find(
            "error",
            "wrong-size",
            f"the image has {width} x {height} pixels{_as_shown(header)}, its entry declares "
            f"{record.width} x {record.height}{_cure(header, (record.width, record.height))}.",
        )
    if pixels.dtype != np.uint8:
        marks = _marks(pixels)
        if marks is not None:
            find("warning", "burned-in-marks", marks)
    if header.orientation != 1:
        message = (
            f"its orientation tag ({header.orientation}) was followed, as viewers do: the stored pixels are "
            f"{_turn(header)}; the tumour must be annotated on the image as it is shown."
        )
        find("warning", "orientation", message)
    share = values = None
    shown = small(grey)
    if record.mask is None:
        try:
            share = float(read_mask(record).mean())
        except DataError as error:
            find("error", "unreadable-mask", str(error))
        issues += _annotation_issues(record)
    else:
        file = _relative(record.mask, root)
        try:
            plane, source = read_plane(record, f"the mask {file}")
        except UnclearMaskError as error:
            find("error", "unclear-mask", str(error))
        except DataError as error:
            find("error", "unreadable-mask", str(error).replace(f"{root}/", ""))
        else:
            values = mask_values(plane, source, file)
            issues += _mask_issues(record, plane, header)
            if len(values.values) > 2 and _alike(shown, small(plane)):
                message = f"the mask {values.file} is the image itself or a copy of it; put the mask in its place."
                find("error", "mask-is-image", message)
    digest = hashlib.sha256(data).hexdigest()
    size = f"{width} x {height}"
    channels = held_channels(pixels)
    signature = signatures(shown[None])[0]
    return SliceScan(tuple(issues), digest, size, _kind(pixels), share, signature, values, channels, detail(grey))


def _as_shown(header: Header) -> str:
    return "" if header.orientation == 1 else f" as a viewer shows it ({_turn(header)} by its orientation tag)"


def _cure(header: Header, size: tuple[int | None, int | None]) -> str:
    """Return what to do where an annotation or a mask was made for the pixels as they are stored."""
    if header.orientation == 1 or header.stored_size != size:
        return ""
    return ", as it is stored; annotate it as it is shown, or save it without the tag"


def _turn(header: Header) -> str:
    return ORIENTATIONS[header.orientation]


def _marks(pixels: np.ndarray) -> str | None:
    """Return a sentence on burned-in marks; None where there are none."""
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        return None  # each channel has a range of its own
    values = pixels[..., :3].max(axis=-1) if pixels.ndim == 3 else pixels
    low, high = float(values.min()), float(values.max())
    kept = range_without_marks(values.astype(np.float64)) if low < high else None
    if kept is None:
        return None
    share = np.mean((values < kept[0]) | (values > kept[1]))
    return (
        f"{share:.2%} of its pixels reach from {low:g} to {high:g}, all others from {kept[0]:g} to {kept[1]:g}, as "
        "burned-in marks do; it is scaled by the range of the others."
    )


def _alike(first: Floats, second: Floats) -> bool:
    """Return whether two small versions show the same, brightness and contrast aside."""
    vectors = signatures(np.stack([first, second]))
    return float(vectors[0] @ vectors[1]) > SAME_PICTURE


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _mask_issues(record: SliceRecord, plane: np.ndarray, header: Header) -> Iterator[Issue]:
    if plane.shape != (header.height, header.width):
        message = (
            f"the mask has {plane.shape[1]} x {plane.shape[0]} pixels, its image {header.width} x {header.height}"
            f"{_as_shown(header)}{_cure(header, (plane.shape[1], plane.shape[0]))}."
        )
        yield Issue("error", "wrong-mask-size", record.name, None, message)
    drawn = (plane != 0).astype(np.uint8)
    area = int(drawn.sum())
    # Most masks are no lines, which is soon seen.
    if area >= TINY_AREA and cv2.erode(drawn, np.ones((3, 3), np.uint8)).sum() < area / 10:
        outlines, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        inside = int(cv2.drawContours(np.zeros_like(drawn), outlines, -1, 1, cv2.FILLED).sum())
        if inside > 2 * area:
            message = (
                f"the mask is a line around {inside} pixels, of which it holds {area}: fill it, if it is an outline."
            )
            yield Issue("warning", "outline-mask", record.name, None, message)


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
    if pixels.shape[2] not in (3, 4):
        return f"{pixels.shape[2]} channels {depth}"
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
