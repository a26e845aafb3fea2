"""The section on strata: what names or files tell of images, such as the kind of tumour and the plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, interval, metric
from bts_tune.results.statistics.comparison import FEWEST_IMAGES, MOST_VALUES, Stratum

_METRICS = 3
_TITLES = {"test": "Test split", "valid": "Validation split"}


@SECTIONS.register("strata")
class Strata(Section):
    """How well each kind of tumour, each plane and so on is segmented."""

    title = "By kind of tumour, plane and the like"
    after = "kinds-of-images"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics of each stratum, of the best configuration and the best baseline."""
        yield from strata_blocks(context.comparison.strata)


def strata_blocks(strata: Mapping[str, Sequence[Stratum]], only: str | None = None) -> Iterable[Block]:
    """Yield the metrics of each stratum, of all configurations or of the one that is named; nothing where none is told.

    Args:
        strata: by split.
        only: the name of a configuration.
    """
    shown = {
        split: [
            (stratum, place, one)
            for stratum in found
            for place, one in enumerate(stratum.compared.configurations)
            if only in (None, one.name)
        ]
        for split, found in strata.items()
    }
    if not any(shown.values()):
        return
    yield paragraph(
        "Of these images, names or files tell what they show. Dice loss and IoU are pooled over the images of a "
        "row, Dice per image is the mean over those with a tumour, and the 95 % intervals draw groups of images "
        f"anew. Kinds of fewer than {FEWEST_IMAGES} images are left out, and columns of more than {MOST_VALUES} "
        "kinds. Splits and folds balance the kinds. Rows whose intervals do not overlap tell kinds that are harder "
        "than others."
    )
    for split, title in _TITLES.items():
        if not shown.get(split):
            continue
        yield Subheading(title)
        rows: list[list[Any]] = []
        for stratum, place, one in shown[split]:
            compared = stratum.compared
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
