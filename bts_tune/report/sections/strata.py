"""The section on strata: what names or files tell of images, such as the kind of tumour and the plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bts_tune.report.blocks import Block, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, interval, metric
from bts_tune.results.comparison import FEWEST_IMAGES, MOST_VALUES

_METRICS = 3
_TITLES = {"test": "Test split", "valid": "Validation split"}


@SECTIONS.register("strata")
class Strata(Section):
    """How well each kind of tumour, each plane and so on is segmented."""

    title = "By kind of tumour, plane and the like"
    after = "kinds-of-images"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics of each stratum, of the best configuration and the best baseline."""
        strata = context.comparison.strata
        if not any(strata.values()):
            return
        yield paragraph(
            "Of these images, names or files tell what they show. Dice loss and IoU are pooled over the images of a "
            "row, Dice per image is the mean over those with a tumour, and the 95 % intervals draw groups of images "
            f"anew. Kinds of fewer than {FEWEST_IMAGES} images are left out, and columns of more than {MOST_VALUES} "
            "kinds. Splits and folds balance the kinds. Rows whose intervals do not overlap tell kinds that are harder "
            "than others."
        )
        for split, title in _TITLES.items():
            found = strata.get(split, ())
            if not found:
                continue
            yield Subheading(title)
            rows: list[list[Any]] = []
            for stratum in found:
                compared = stratum.compared
                for place, one in enumerate(compared.configurations):
                    own = [compared.resampled.dice_loss[place], compared.resampled.iou[place]]
                    if compared.objective.metric == stratum.METRIC:
                        own.append(compared.resampled.value[place])
                    cells = [text for one_value in own for text in (metric(one_value.value), interval(one_value))]
                    cells += [MISSING] * (2 * _METRICS - len(cells))
                    rows.append([stratum.name, stratum.value, compared.images, one.name, *cells])
            header = ["by", "kind", "images", "model"]
            for name in ("Dice loss", "IoU", "Dice per image"):
                header += [name, "95 % interval"]
            yield table(header, rows, right=(2, *range(4, len(header))))
