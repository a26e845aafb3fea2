"""The section on boundaries and boxes: what overlap alone does not tell of a prediction.

The truth may be rectangles, and whoever has boxes may ask for boxes: so the regions that a model predicts are also
judged as an object detector's would be, by the bounding box around each, with COCO's own evaluation (pycocotools).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.blocks import Block, Bullets, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, metric
from bts_tune.results.naming import role
from bts_tune.results.scores import Shapes
from bts_tune.results.settings import setting
from bts_tune.text import plural

BOX_IOU = 0.5
_TITLES = {"valid": "Validation split", "test": "Test split"}
_MAX_DETECTIONS = 100


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
        evaluation.params.maxDets = [_MAX_DETECTIONS]
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


@SECTIONS.register("boundaries-and-boxes")
class BoundariesAndBoxes(Section):
    """Boundaries and boxes of the predictions."""

    title = "Boundaries and boxes"
    after = "kinds-of-images"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics of every trial whose images are scored, split by split."""
        scored = [record for record in context.trials if record.trial in context.comparison.scores]
        known = [
            record
            for record in scored
            if any(split.shapes is not None for split in context.comparison.scores[record.trial].splits.values())
        ]
        if not known:
            if scored:
                yield paragraph("The scores on record hold no boundaries and boxes: they are of an earlier version.")
            return
        tolerances = sorted(
            {
                split.shapes.tolerance
                for record in known
                for split in context.comparison.scores[record.trial].splits.values()
                if split.shapes is not None
            }
        )
        yield paragraph(
            "Beside overlap: how far the boundaries lie apart, and what the predictions are worth as boxes."
        )
        for name, title in _TITLES.items():
            rows = []
            for record in known:
                split = context.comparison.scores[record.trial].splits.get(name)
                if split is None or split.shapes is None or not split.names:
                    continue
                found = shape_metrics(split.shapes)
                rows.append(
                    [
                        context.names[record.trial],
                        role(record),
                        setting(record, "image_size"),
                        MISSING if found.hausdorff is None else f"{found.hausdorff:.2f}",
                        found.measured,
                        metric(found.surface_dice),
                        found.tumours,
                        metric(found.average_precision),
                        metric(found.box_iou),
                        found.true_regions,
                        found.regions,
                    ]
                )
            if rows:
                yield Subheading(title)
                header = [
                    "name",
                    "role",
                    "image size",
                    "HD95, px",
                    "images of HD95",
                    "surface Dice",
                    "images with a tumour",
                ]
                header += ["AP50", "box IoU", "true regions", "predicted regions"]
                yield table(header, rows, right=range(2, len(header)))
        tolerance = " or ".join(f"{one:g}" for one in tolerances)
        yield Bullets(
            (
                "HD95: the 95th percentile of the distance between the two boundaries, the larger of both directions, "
                "in pixels of the trial's image size; mean over the images in which both truth and prediction hold a "
                "tumour. A model that misses tumours is not punished here: mind the number of images beside it.",
                f"Surface Dice: the share of both boundaries that lies within {tolerance} px of the other; mean over "
                "the images that hold a tumour, 0 where nothing was predicted. No annotation is more exact than about "
                "1 % of the image's side, which is 2 px at 224 px.",
                "AP50: COCO's average precision at a box IoU of 0.5 (pycocotools), of the bounding boxes around "
                "predicted regions, each scored by the mean probability of its pixels. Pixels that touch at a side or "
                f"a corner are one region; the {_MAX_DETECTIONS} of the highest score are kept of an image.",
                "Box IoU: mean over the true regions of the IoU of their box with the best predicted box of the "
                "image, 0 where there is none.",
                *(
                    ("The trials have different image sizes, so their distances in pixels are of different scales.",)
                    if len({setting(record, "image_size") for record in known}) > 1
                    else ()
                ),
            )
        )
        without = [context.names[record.trial] for record in scored if record not in known]
        if without:
            yield paragraph(
                f"{plural(len(without), 'trial')} of an earlier version without these: {', '.join(without)}."
            )
