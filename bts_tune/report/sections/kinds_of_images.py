"""The section on kinds of images: small and large tumours, dark and bright, flat and rich images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.figures.drawing import COLORS, banner, new_figure
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import metric
from bts_tune.results.ranking.naming import names, repeat
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.scores import (
    SUMS,
    Scores,
    SplitScores,
    has_tumour,
    image_dice,
    missed,
    pooled_dice_loss,
    pooled_iou,
)
from bts_tune.results.statistics.comparison import Comparison
from bts_tune.text import shortened

_MIN_IMAGES = 5
"""Fewest images that a subgroup may have."""

FEATURES: Mapping[str, Callable[[SplitScores, int], NDArray[np.float64]]] = {
    "tumour area": lambda split, pixels: split.sums[:, SUMS.index("truth")] / pixels,
    "brightness": lambda split, pixels: split.brightness,
    "contrast": lambda split, pixels: split.contrast,
}
"""By what the images are grouped: shares of the image and of white, in 0..1."""


def compared_trials(comparison: Comparison) -> list[TrialRecord]:
    """Return a training of the best configuration and one of the best baseline, or whichever of the two has scores.

    It is the best training of the first, and of the other one that was validated on the same images: that with the same
    seed and fold, if there is one; none where there is no such training.
    """
    compared = comparison.splits.get("valid")
    if compared is None:
        return []

    def images(record: TrialRecord) -> frozenset[str]:
        return frozenset(comparison.scores[record.trial].splits["valid"].names)

    first, *others = (compared.configurations[place] for place in dict.fromkeys((0, compared.reference)))
    scored = [record for record in first.trials if record.trial in comparison.scores]
    chosen = [next((record for record in scored if record is first.best), scored[0])]
    for other in others:
        scored = [record for record in other.trials if record.trial in comparison.scores]
        alike = [record for record in scored if images(record) == images(chosen[0])]
        chosen += sorted(alike, key=lambda record: repeat(record) != repeat(chosen[0]))[:1]
    return chosen


@SECTIONS.register("kinds-of-images")
class KindsOfImages(Section):
    """How well kinds of images are segmented."""

    title = "Kinds of images"
    after = "predictions"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield how well small and large tumours, dark and bright, flat and rich images are segmented."""
        records = compared_trials(context.comparison)
        if not records:
            return
        rows = []
        for feature in FEATURES:
            for low, high, members in subgroups(context.comparison.scores[records[0].trial], feature):
                images = {context.comparison.scores[records[0].trial].splits["valid"].names[place] for place in members}
                row: list[Any] = [feature, f"{low:.3f} to {high:.3f}", len(members)]
                for record in records:
                    split = context.comparison.scores[record.trial].splits["valid"]
                    sums = split.sums[[place for place, name in enumerate(split.names) if name in images]]
                    pooled = sums.sum(axis=0)
                    row += [metric(pooled_dice_loss(pooled)), metric(pooled_iou(pooled)), int(missed(sums).sum())]
                rows.append(row)
        if not rows:
            return
        yield paragraph(
            "Validation images that hold a tumour, in parts of about equal number, by the share of the image that the "
            "tumour covers, and by the mean (brightness) and the standard deviation (contrast) of the prepared image's "
            "grey values, in 0..1. Dice loss and IoU are pooled over the images of a part; missed counts those of "
            "which not one tumour pixel was found."
        )
        draw = functools.partial(draw_kinds_of_images, context.trials, context.comparison, context.tags)
        yield from context.picture(
            "Dice of each image against tumour area, brightness and contrast", "kinds_of_images", draw
        )
        header = ["by", "from .. to", "images"]
        for record in records:
            name = context.names[record.trial]
            header += [f"Dice loss, {name}", f"IoU, {name}", f"missed, {name}"]
        yield table(header, rows, right=range(1, len(header)))


def subgroups(scores: Scores, feature: str) -> list[tuple[float, float, NDArray[np.int64]]]:
    """Cut the validation images that hold a tumour into quarters, or fewer parts where there are few images.

    Images of equal value stay together, so parts may differ in size.

    Returns:
        The lowest and the highest value of each part, and the places of its images; empty with under ten images.
    """
    split = scores.splits["valid"]
    chosen = np.flatnonzero(has_tumour(split.sums))
    values = FEATURES[feature](split, scores.pixels)[chosen]
    number = min(4, len(chosen) // _MIN_IMAGES)
    if number < 2:
        return []
    edges = np.unique(np.quantile(values, np.arange(1, number) / number))
    part = np.searchsorted(edges, values, side="left")
    return [
        (float(values[part == one].min()), float(values[part == one].max()), chosen[part == one])
        for one in np.unique(part)
    ]


_COLORS = (COLORS[0], COLORS[1])


def draw_kinds_of_images(
    trials: Sequence[TrialRecord], comparison: Comparison, tags: Sequence[str] = ()
) -> bytes | None:
    """Draw the Dice of each validation image that holds a tumour against tumour area, brightness and contrast.

    The line is the median of each of the `subgroups`.

    Args:
        trials: the run's trials in any order.
        comparison: the scores of the best trial and of the best baseline.
        tags: warnings to print above the figure.

    Returns:
        A PNG, or None without scores or with too few images.
    """
    records = compared_trials(comparison)
    if not records or not any(subgroups(comparison.scores[records[0].trial], feature) for feature in FEATURES):
        return None
    by_trial = names(trials)
    with new_figure((11.4, 3.7), layout="constrained") as (figure, png):
        from matplotlib.ticker import MaxNLocator

        panels = figure.subplots(1, len(FEATURES), sharey=True)
        for axes, feature in zip(panels, FEATURES, strict=True):
            for record, color, marker in zip(records, _COLORS, "o^", strict=False):
                scores = comparison.scores[record.trial]
                split = scores.splits["valid"]
                values, dice = FEATURES[feature](split, scores.pixels), image_dice(split.sums)
                chosen = has_tumour(split.sums)
                faint = {"s": 14, "alpha": 0.45, "linewidths": 0, "color": color, "marker": marker}
                axes.scatter(values[chosen], dice[chosen], **faint)
                cut = [members for _, _, members in subgroups(scores, feature)]
                middle = [float(np.median(values[members])) for members in cut]
                median = [float(np.median(dice[members])) for members in cut]
                label = shortened(by_trial[record.trial], 28)
                # Dots of the same colour lie close together: on white, the line can be told from them.
                axes.plot(middle, median, color="white", linewidth=5, zorder=3)
                edge = {"markeredgecolor": "white", "ms": 7}
                axes.plot(middle, median, color=color, marker=marker, label=label, zorder=4, **edge)
            axes.set_xlabel(f"{feature[0].upper()}{feature[1:]}")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_ylim(-0.03, 1.03)
        panels[0].set_ylabel("Dice of the image")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5, title="Median of each part")
        banner(figure, tags)
    return png.getvalue()
