"""The section on boundaries and boxes: what overlap alone does not tell of a prediction."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, Bullets, Subheading, paragraph, table
from bts_tune.report.cells import changed_notes, role_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, metric
from bts_tune.results.ranking.settings import setting
from bts_tune.results.statistics.shape_metrics import MAX_DETECTIONS, shape_metrics
from bts_tune.text import plural

_TITLES = {"valid": "Validation split", "test": "Test split"}


@SECTIONS.register("boundaries-and-boxes")
class BoundariesAndBoxes(Section):
    """Boundaries and boxes of the predictions."""

    title = "Boundaries and boxes"
    after = "strata"

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
            "What overlap alone does not show: how far the boundaries are apart, and how good the predictions are as "
            "boxes."
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
                        role_cell(record),
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
                yield table(header, rows, right=range(2, len(header)), notes=changed_notes(known))
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
                f"a corner are one region; the {MAX_DETECTIONS} of the highest score are kept of an image.",
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
