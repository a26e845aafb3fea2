"""Annotations -> masks.

They are drawn by pycocotools, hence exactly as COCO defines them: the polygons of an annotation are united, and so are
the annotations of an image; holes can only be expressed by run-length encodings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from bts_tune.data.records import Annotation

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
