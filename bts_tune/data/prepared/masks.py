"""Annotations and mask files -> masks.

Annotations are drawn by pycocotools, hence exactly as COCO defines them: the polygons of an annotation are united, and
so are the annotations of an image; holes can only be expressed by run-length encodings.

A mask's file becomes one plane of values, [height, width]; which of them are tumour is decided for the whole dataset,
see `bts_tune.data.mask_rule`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from bts_tune.data.mask_rule import EVEN, FULL_SCALES, MOST_LABELS, MaskValues
from bts_tune.data.prepared.decoding import decode_with_header, palette_of
from bts_tune.data.records import Annotation
from bts_tune.errors import DataError

_MOST_VALUES = 256
_LABELS_IN_COLOUR = 16
_COLOUR_NOISE = 12
"""Channels of an 8-bit mask that differ by no more are taken for equal: lossy compression leaves that."""

_LOSSLESS_WEBP, _START = b"VP8L", 64

# A number of a compressed run-length encoding: characters with the continuation bit set, then one without it.
_COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])+")


def draw_mask(annotations: Sequence[Annotation], height: int, width: int) -> np.ndarray:
    """Return the union of annotations as uint8 [height, width] of 0 and 1; zeros where there are none."""
    encodings = [encoding for one in annotations for encoding in encode(one, height, width)]
    if not encodings:
        return np.zeros((height, width), dtype=np.uint8)
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(encodings)))


def drawn_area(annotation: Annotation, height: int, width: int) -> int:
    """Return how many pixels of an image of this size the annotation covers."""
    encodings = encode(annotation, height, width)
    return int(coco_mask.area(coco_mask.merge(encodings))) if encodings else 0


def encode(annotation: Annotation, height: int, width: int) -> list[dict[str, Any]]:
    """Return the annotation's parts as pycocotools' run-length encodings; none for polygons without an inside."""
    segmentation = annotation.segmentation
    if isinstance(segmentation, list):
        # pycocotools takes a list of four numbers for a box; two points of a polygon are not one.
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        return coco_mask.frPyObjects(polygons, height, width) if polygons else []
    if isinstance(segmentation["counts"], str):
        return [{"size": [height, width], "counts": segmentation["counts"].encode()}]
    return [coco_mask.frPyObjects(segmentation, height, width)]


def run_lengths(counts: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed encoding, or None where the text is not one.

    The format is that of pycocotools' `rleToString`: little-endian groups of five bits with a continuation bit and a
    sign, each character offset by 48, every number from the fourth on relative to the one two places before.
    pycocotools decodes it, but reads past the end of a broken text; this is what tells a broken text.
    """
    if not _COMPRESSED.fullmatch(counts):
        return None
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


class UnclearMaskError(DataError):
    """A mask's file can be decoded, but what in it is tumour cannot be known."""


@dataclass(frozen=True)
class PlaneSource:
    """Where a mask's values were in its file; see `MaskValues`."""

    colour: str = ""
    alpha: bool = False
    lossy: bool = False


def mask_plane(data: bytes, name: str) -> tuple[np.ndarray, PlaneSource]:
    """Return the values of a mask's file, [height, width], and where they were.

    Of a palette in colours the values are the indices; for all else see `plane_of`.

    Args:
        data: content of the file.
        name: what to call it in an error.

    Raises:
        UnclearMaskError: it is colour-mapped, holds NaN, or a palette that is no list of labels.
        DataError: it cannot be decoded.
    """
    pixels, header = decode_with_header(data, name)
    if header.palette:
        return _palette_plane(data, name), PlaneSource()
    if header.kind == "NPY" and pixels.ndim == 3 and pixels.shape[2] == 4:  # an array has no transparency
        raise UnclearMaskError(f"{name}: has 4 channels; a mask has one.")
    plane, source = plane_of(pixels, name)
    lossy = header.kind == "JPEG" or (header.kind == "WEBP" and _LOSSLESS_WEBP not in data[:_START])
    return plane, replace(source, lossy=lossy)


def plane_of(pixels: np.ndarray, name: str) -> tuple[np.ndarray, PlaneSource]:
    """Return the values of a mask's pixels, [height, width], and where they were.

    Grey values are kept. Equal channels are one. Where channels differ, one colour on black is read, as its largest
    channel. Transparent pixels are 0; where the colours say nothing of a tumour, alpha is the mask.

    Args:
        pixels: as `decode` returns them.
        name: what to call them in an error.

    Raises:
        UnclearMaskError: they are colour-mapped, or not numbers.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UnclearMaskError(
            f"{name}: holds values that are infinite or not numbers (NaN); save 0 where there is no tumour."
        )
    if pixels.ndim == 2:
        return pixels, PlaneSource()
    if pixels.shape[2] not in (3, 4):
        raise UnclearMaskError(f"{name}: has {pixels.shape[2]} channels; a mask has one.")
    colours = pixels[..., :3]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        visible = alpha != 0
        if not visible.all() and (alpha.min() != alpha.max() or not visible.any()):
            seen = colours[visible]
            if len(seen) == 0:
                return np.zeros(alpha.shape, dtype=alpha.dtype), PlaneSource()
            # One colour tells nothing that alpha does not; many are the image, cut out along the tumour.
            different = len(np.unique(seen.reshape(-1, 3)[:: max(1, len(seen) // 100_000)], axis=0))
            if different == 1 or different > _LABELS_IN_COLOUR:
                return alpha, PlaneSource(alpha=True)
            colours = np.where(visible[..., None], colours, 0).astype(pixels.dtype)
    plane = colours.max(axis=-1)
    spread = plane - colours.min(axis=-1)
    noise = _COLOUR_NOISE if pixels.dtype == np.uint8 and plane.max() > 64 else 0
    if spread.max() <= noise:
        return plane, PlaneSource()
    differing = colours[spread > noise]
    one = differing[0]
    if (colours[plane != 0] != one).any() or plane.min() != 0:
        y, x = np.argwhere(spread > noise)[0]
        raise UnclearMaskError(
            f"{name}: is in colours, such as RGB {tuple(one[::-1].tolist())} at x {x}, y {y}, so which are tumour is "
            "unknown; save it in grey, with 0 for the background."
        )
    scale = 255 / np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 255.0
    return plane, PlaneSource("#" + "".join(f"{min(255, max(0, round(c * scale))):02x}" for c in one[::-1].tolist()))


def _palette_plane(data: bytes, name: str) -> np.ndarray:
    indices, colours = palette_of(data, name)
    used = np.unique(indices)
    if used.max(initial=0) >= len(colours):
        raise UnclearMaskError(f"{name}: holds index {used.max()}, which its palette of {len(colours)} colours lacks.")
    shown = colours[used]
    grey = bool((shown == shown[:, :1]).all())
    # Both readings of a palette must agree: by index, where 0 is the background, and by colour, where black is.
    for index, colour in zip(used.tolist(), shown.tolist(), strict=True):
        if (index == 0) != (not any(colour)):
            raise UnclearMaskError(
                f"{name}: its palette shows index {index} as RGB {tuple(colour)}, so whether it means background is "
                "unclear; save it in grey, with 0 for the background."
            )
    return colours[indices, 0] if grey else indices


def mask_values(plane: np.ndarray, source: PlaneSource, file: str) -> MaskValues:
    """Return what a mask holds.

    Args:
        plane: its values, [height, width].
        source: where they were.
        file: the mask's path relative to the dataset's folder.
    """
    places = plane
    values: np.ndarray
    if plane.dtype == np.uint8:
        counts = np.bincount(plane.ravel(), minlength=256)
        values = np.arange(256)
        exact = True
    else:
        values, inverse, counts = np.unique(plane, return_inverse=True, return_counts=True)
        exact = len(values) <= _MOST_VALUES
        places = inverse.reshape(plane.shape)
        if not exact:
            edges = _edges(float(values[0]), float(values[-1]))
            bins = np.searchsorted(edges, values, side="left")
            places = bins[places]
            counts = np.bincount(bins, weights=counts, minlength=len(edges) + 1).astype(np.int64)
            middles = (edges[:-1] + edges[1:]) / 2
            values = np.concatenate([edges[:1], middles, [float(values[-1])]])
    held = counts > 0
    flat = even = lined = counts
    if held.sum() > 1:
        flat = np.bincount(places[_flat(places)].ravel(), minlength=len(counts))
        even = flat
        if plane.dtype == np.uint8 and np.diff(values[held]).min() <= EVEN:  # of values further apart it is the same
            even = np.bincount(plane[_flat(plane, EVEN)].ravel(), minlength=len(counts))
        lined = np.zeros_like(counts)
        if exact and held.sum() <= MOST_LABELS:
            lined = np.bincount(places[_lined(places)].ravel(), minlength=len(counts))
    return MaskValues(
        file,
        values[held].astype(np.float32),
        counts[held].astype(np.uint32),
        flat[held].astype(np.uint32),
        even[held].astype(np.uint32),
        lined[held].astype(np.uint32),
        exact,
        source.colour,
        source.alpha,
        source.lossy,
    )


def _lined(places: np.ndarray) -> np.ndarray:
    """Return which pixels have the value of two or more of their eight neighbours."""
    alike = np.zeros(places.shape, dtype=np.uint8)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = places[: places.shape[0] - down, max(0, -right) : places.shape[1] - max(0, right)]
        second = places[down:, max(0, right) : places.shape[1] - max(0, -right)]
        same = first == second
        alike[: places.shape[0] - down, max(0, -right) : places.shape[1] - max(0, right)] += same
        alike[down:, max(0, right) : places.shape[1] - max(0, -right)] += same
    return np.asarray(alike >= 2)


def _edges(low: float, high: float) -> np.ndarray:
    """Return the upper edges of the bins that many values are put into, the first of them for 0 or less.

    Half of the scale of probabilities, of 8 and of 16 bits is an edge, so that what lies above it is known exactly.
    """
    top = next((scale for scale in FULL_SCALES if low >= 0 and scale / 2 < high <= scale), high)
    bottom = min(low, 0.0)
    return np.linspace(bottom, top, _MOST_VALUES + 1)


def _flat(places: np.ndarray, within: int = 0) -> np.ndarray:
    """Return which pixels differ from their four neighbours, those inside of the image, by no more than `within`."""
    flat = np.ones(places.shape, dtype=bool)
    down = _alike(places[1:], places[:-1], within)
    right = _alike(places[:, 1:], places[:, :-1], within)
    flat[1:] &= down
    flat[:-1] &= down
    flat[:, 1:] &= right
    flat[:, :-1] &= right
    return flat


def _alike(first: np.ndarray, second: np.ndarray, within: int) -> np.ndarray:
    found: np.ndarray = np.maximum(first, second) - np.minimum(first, second) <= within if within else first == second
    return found
