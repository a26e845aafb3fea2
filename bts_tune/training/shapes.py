"""What a predicted mask looks like beside the true one: the distance of their boundaries, and boxes around regions.

    hausdorff     95th percentile of the Hausdorff distance of the two boundaries, in pixels: the larger of the two
                  directed ones, each over the pixels of one boundary. NaN where either mask is empty.
    surface_dice  normalised surface Dice: the share of the two boundaries that lies within `TOLERANCE` pixels of the
                  other (Nikolov et al., 'Clinically applicable segmentation of head and neck anatomy for
                  radiotherapy', JMIR 2021). 0 where one mask is empty, NaN where both are.
    boxes         the bounding box of every region, pixels that touch at a side or a corner being one region; a
                  predicted region's score is the mean probability of its pixels.
    false_positive_area  pixels of predicted regions without a single true pixel.

A boundary is the pixels of a mask that have a neighbour outside of it, at a side, or lie at the image's border. The
distances are scipy's and, with the tests to show it, those of MONAI's `compute_hausdorff_distance` and
`compute_surface_dice`, which would take seconds to import for the same figures.

Each is a figure of one image, so neither the batch size nor the order of images has an effect. Distances are in pixels
of the trial's image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from bts_tune.results.record.scores import Shapes
from bts_tune.training.measure import THRESHOLD

TOLERANCE = 2.0
"""Pixels by which a boundary may be off.

At 224 px this is about 1 % of the image's side: a tumour's edge is not annotated more exactly than that, and a pixel
of it is lost to the resizing of masks alone.
"""
MAX_REGIONS = 100
"""Most predicted regions that are kept of an image, those of the highest score: as many as COCO's evaluation reads."""

_PERCENTILE = 95
_TOUCHING = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class _ImageShapes:
    hausdorff: float
    surface_dice: float
    false_positive_area: int
    true_boxes: NDArray[np.float64]
    boxes: NDArray[np.float64]


class ShapeCollector:
    """Collects the shapes of a split's images, batch by batch in the order of the split."""

    def __init__(self) -> None:
        self._images: list[_ImageShapes] = []

    def add(self, logits: torch.Tensor, truth: torch.Tensor) -> None:
        """Take in a batch: logits, float [n, 1, S, S], and truth, {0, 1} of any type [n, 1, S, S]."""
        probabilities = torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()
        masks = (truth > 0).squeeze(1).cpu().numpy()
        self._images += [_of_image(*pair) for pair in zip(probabilities, masks, strict=True)]

    def shapes(self) -> Shapes:
        """Return what was collected."""
        images = self._images
        return Shapes(
            tolerance=TOLERANCE,
            hausdorff=np.array([one.hausdorff for one in images], dtype=np.float64),
            surface_dice=np.array([one.surface_dice for one in images], dtype=np.float64),
            false_positive_area=np.array([one.false_positive_area for one in images], dtype=np.float64),
            true_boxes=_stacked([one.true_boxes for one in images], 4),
            boxes=_stacked([one.boxes for one in images], 5),
        )


def boundary_figures(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 95 % Hausdorff distance and the normalised surface Dice of two masks, both bool [S, S].

    The module's first lines say what they are, and what they are of empty masks.
    """
    if not predicted.any() or not truth.any():
        return np.nan, np.nan if not predicted.any() and not truth.any() else 0.0
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, truth)]
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    directed = away[1][edges[0]], away[0][edges[1]]
    hausdorff = max(np.percentile(distances, _PERCENTILE) for distances in directed)
    return float(hausdorff), float((np.concatenate(directed) <= TOLERANCE).mean())


def _of_image(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> _ImageShapes:
    predicted = probability > THRESHOLD
    regions, count = ndimage.label(predicted, _TOUCHING)
    numbers = np.arange(1, count + 1)
    touched = set(np.unique(regions[truth & predicted]).tolist())
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    scores = np.asarray(ndimage.mean(probability, regions, numbers), dtype=np.float64).reshape(count)
    boxes = np.column_stack([_boxes(regions), scores])
    kept = np.argsort(-scores, kind="stable")[:MAX_REGIONS]
    return _ImageShapes(
        *boundary_figures(predicted, truth),
        false_positive_area=int(sum(sizes[number] for number in numbers.tolist() if number not in touched)),
        true_boxes=_boxes(ndimage.label(truth, _TOUCHING)[0]),
        boxes=boxes[kept],
    )


def _boxes(regions: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the box of each region, float64 [K, 4]: left, top, width, height."""
    found = [
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in ndimage.find_objects(regions)
    ]
    return np.array(found, dtype=np.float64).reshape(len(found), 4)


def _stacked(images: list[NDArray[np.float64]], columns: int) -> NDArray[np.float64]:
    """Return the boxes of all images, led by a column with the place of their image in the split."""
    if not images:
        return np.zeros((0, columns + 1))
    return np.concatenate(
        [np.column_stack([np.full(len(boxes), float(place)), boxes]) for place, boxes in enumerate(images)]
    )
