"""What overlap alone does not tell of predictions: how far boundaries lie apart, and what they are worth as boxes.

The truth may be rectangles, and whoever has boxes may ask for boxes: so the regions that a model predicts are also
judged as an object detector's would be, by the bounding box around each, with COCO's own evaluation (pycocotools).
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bts_tune.results.record.scores import Shapes

BOX_IOU = 0.5
MAX_DETECTIONS = 100
"""Regions of an image that the average precision counts, those of the highest score."""


@dataclass(frozen=True)
class ShapeMetrics:
    """Boundaries and boxes of one split; every metric with the number of what it is a mean of.

    Attributes:
        hausdorff: mean 95 % Hausdorff distance, in pixels; None where no image has both truth and prediction.
        measured: images that it is a mean of.
        surface_dice: mean normalised surface Dice of the images that hold a tumour; None where there are none.
        tumours: images that it is a mean of.
        average_precision: AP50; None without a true region.
        box_iou: mean over true regions of the IoU with the best predicted box; None without a true region.
        true_regions: how many true regions there are.
        regions: how many predicted regions were kept.
    """

    hausdorff: float | None
    measured: int
    surface_dice: float | None
    tumours: int
    average_precision: float | None
    box_iou: float | None
    true_regions: int
    regions: int


def shape_metrics(shapes: Shapes) -> ShapeMetrics:
    """Return the metrics of a split; neither the order of images nor that of regions changes them."""
    distances = shapes.hausdorff[np.isfinite(shapes.hausdorff)]
    tumours = np.unique(shapes.true_boxes[:, 0]).astype(int)
    agreement = shapes.surface_dice[tumours]
    return ShapeMetrics(
        hausdorff=float(distances.mean()) if len(distances) else None,
        measured=len(distances),
        surface_dice=float(agreement.mean()) if len(agreement) else None,
        tumours=len(agreement),
        average_precision=average_precision(shapes),
        box_iou=box_iou(shapes),
        true_regions=len(shapes.true_boxes),
        regions=len(shapes.boxes),
    )


def average_precision(shapes: Shapes) -> float | None:
    """Return COCO's average precision at a box IoU of 0.5, over all areas, at most 100 regions an image.

    A prediction is a predicted region's box with its score. None without a true region, 0 without a predicted one.
    """
    if not len(shapes.true_boxes):
        return None
    if not len(shapes.boxes):
        return 0.0
    from pycocotools.cocoeval import COCOeval

    images = len(shapes.hausdorff)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation = COCOeval(_coco(shapes.true_boxes, images), _coco(shapes.boxes, images), "bbox")
        evaluation.params.iouThrs = np.array([BOX_IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())


def box_iou(shapes: Shapes) -> float | None:
    """Return the mean, over true regions, of the IoU with the best predicted box of the image, 0 where there is none.

    Boxes beside every true region do not lower it; the average precision counts them.
    """
    from pycocotools import mask

    if not len(shapes.true_boxes):
        return None
    best = np.zeros(len(shapes.true_boxes))
    for image in np.unique(shapes.true_boxes[:, 0]):
        there = shapes.true_boxes[:, 0] == image
        boxes = shapes.boxes[shapes.boxes[:, 0] == image, 1:5]
        if len(boxes):
            true = shapes.true_boxes[there, 1:5]
            overlaps = mask.iou(np.ascontiguousarray(boxes), np.ascontiguousarray(true), [0] * len(true))
            best[there] = overlaps.max(axis=0)
    return float(best.mean())


def _coco(boxes: NDArray[np.float64], images: int) -> object:
    """Return rows of `Shapes` as what COCO's evaluation reads."""
    from pycocotools.coco import COCO

    content = COCO()
    content.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,  # from 1: the evaluation takes 0 for no match
                "image_id": int(row[0]),
                "category_id": 1,
                "bbox": row[1:5].tolist(),
                "area": float(row[3] * row[4]),
                "iscrowd": 0,
                **({"score": float(row[5])} if len(row) > 5 else {}),
            }
            for number, row in enumerate(boxes, start=1)
        ],
    }
    content.createIndex()
    return content
