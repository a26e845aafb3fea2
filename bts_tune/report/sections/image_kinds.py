"""Kinds of images: how well small and large tumours, dark and bright, flat and rich images are segmented."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import Drawn, picture
from bts_tune.report.figures.drawing import COLORS, banner, canvas
from bts_tune.report.wording import metric
from bts_tune.results.comparison import Evidence
from bts_tune.results.naming import names, repeat
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.scores import (
    SUMS,
    Scores,
    SplitScores,
    has_tumour,
    image_dice,
    missed,
    pooled_dice_loss,
    pooled_iou,
)
from bts_tune.text import shortened

_QUARTER = 5
"""Fewest images that a part of the images may hold."""

KINDS: Mapping[str, Callable[[SplitScores, int], NDArray[np.float64]]] = {
    "tumour area": lambda split, pixels: split.sums[:, SUMS.index("truth")] / pixels,
    "brightness": lambda split, pixels: split.brightness,
    "contrast": lambda split, pixels: split.contrast,
}
"""What tells kinds of images apart: shares of the image and of white, in 0..1."""


def shown_in_kinds(evidence: Evidence) -> list[TrialRecord]:
    """Return a training of the best configuration and one of the best baseline, or whichever of the two has scores.

    It is the best training of the first, and of the other the one with the same seed and fold, if there is one.
    """
    compared = evidence.splits.get("valid")
    if compared is None:
        return []
    first, *others = (compared.configurations[place] for place in dict.fromkeys((0, compared.reference)))
    scored = [record for record in first.trials if record.trial in evidence.scores]
    chosen = [next((record for record in scored if record is first.best), scored[0])]
    for other in others:
        scored = [record for record in other.trials if record.trial in evidence.scores]
        chosen.append(next((record for record in scored if repeat(record) == repeat(chosen[0])), scored[0]))
    return chosen


def kinds_of_images(trials: Sequence[TrialRecord], evidence: Evidence, figure: Drawn | None) -> Iterable[Block]:
    """Yield how well small and large tumours, dark and bright, flat and rich images are segmented."""
    records = shown_in_kinds(evidence)
    if not records:
        return
    called = names(trials)
    rows = []
    for kind in KINDS:
        for low, high, members in parts(evidence.scores[records[0].trial], kind):
            images = {evidence.scores[records[0].trial].splits["valid"].names[place] for place in members}
            row: list[Any] = [kind, f"{low:.3f} to {high:.3f}", len(members)]
            for record in records:
                split = evidence.scores[record.trial].splits["valid"]
                sums = split.sums[[place for place, name in enumerate(split.names) if name in images]]
                pooled = sums.sum(axis=0)
                row += [metric(pooled_dice_loss(pooled)), metric(pooled_iou(pooled)), int(missed(sums).sum())]
            rows.append(row)
    if not rows:
        return
    yield paragraph(
        "Validation images that hold a tumour, in parts of about equal number, by the share of the image that the "
        "tumour covers, and by the mean (brightness) and the standard deviation (contrast) of the prepared image's "
        "grey values, in 0..1. Dice loss and IoU are pooled over the images of a part; missed counts those of which "
        "not one tumour pixel was found."
    )
    if figure:
        yield picture("Dice of each image against tumour area, brightness and contrast", figure)
    header = ["by", "from .. to", "images"]
    for record in records:
        name = called[record.trial]
        header += [f"Dice loss, {name}", f"IoU, {name}", f"missed, {name}"]
    yield table(header, rows, right=range(1, len(header)))


def parts(scores: Scores, kind: str) -> list[tuple[float, float, NDArray[np.int64]]]:
    """Cut the validation images that hold a tumour into quarters, or fewer parts where there are few images.

    Images of equal value stay together, so parts may differ in size.

    Returns:
        The lowest and the highest value of each part, and the places of its images; empty with under ten images.
    """
    split = scores.splits["valid"]
    chosen = np.flatnonzero(has_tumour(split.sums))
    values = KINDS[kind](split, scores.pixels)[chosen]
    number = min(4, len(chosen) // _QUARTER)
    if number < 2:
        return []
    edges = np.unique(np.quantile(values, np.arange(1, number) / number))
    part = np.searchsorted(edges, values, side="left")
    return [
        (float(values[part == one].min()), float(values[part == one].max()), chosen[part == one])
        for one in np.unique(part)
    ]


_KIND_COLORS = (COLORS[0], COLORS[1])


def kinds_figure(trials: Sequence[TrialRecord], evidence: Evidence, tags: Sequence[str] = ()) -> bytes | None:
    """Draw the Dice of each validation image that holds a tumour against tumour area, brightness and contrast.

    The line is the median of each of the `parts`.

    Args:
        trials: the run's trials in any order.
        evidence: the scores of the best trial and of the best baseline.
        tags: warnings to print above the figure.

    Returns:
        A PNG, or None without scores or with too few images.
    """
    records = shown_in_kinds(evidence)
    if not records or not any(parts(evidence.scores[records[0].trial], kind) for kind in KINDS):
        return None
    called = names(trials)
    with canvas((11.4, 3.7), layout="constrained") as (figure, png):
        from matplotlib.ticker import MaxNLocator

        panels = figure.subplots(1, len(KINDS), sharey=True)
        for axes, kind in zip(panels, KINDS, strict=True):
            for record, color, marker in zip(records, _KIND_COLORS, "o^", strict=False):
                scores = evidence.scores[record.trial]
                split = scores.splits["valid"]
                values, dice = KINDS[kind](split, scores.pixels), image_dice(split.sums)
                chosen = has_tumour(split.sums)
                faint = {"s": 14, "alpha": 0.45, "linewidths": 0, "color": color, "marker": marker}
                axes.scatter(values[chosen], dice[chosen], **faint)
                cut = [members for _, _, members in parts(scores, kind)]
                middle = [float(np.median(values[members])) for members in cut]
                median = [float(np.median(dice[members])) for members in cut]
                label = shortened(called[record.trial], 28)
                axes.plot(middle, median, color=color, marker=marker, markeredgecolor="white", ms=7, label=label)
            axes.set_xlabel(f"{kind[0].upper()}{kind[1:]}")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_ylim(-0.03, 1.03)
        panels[0].set_ylabel("Dice of the image")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5, title="Median of each part")
        banner(figure, tags)
    return png.getvalue()
