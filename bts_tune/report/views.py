"""Sections that look at single images and at the data: comparisons, kinds of images, the data check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.document import Block, Picture, Subheading, paragraph, table
from bts_tune.report.evidence import Compared, Evidence
from bts_tune.report.leaderboard import ranking
from bts_tune.report.statistics import has_tumour, missed, pooled_dice_loss, pooled_iou
from bts_tune.report.words import MISSING, gained, interval, metric, names, plural, role, share
from bts_tune.store import TrialRecord
from bts_tune.training.scores import SUMS, Scores, SplitScores

_TITLES: Mapping[str, str] = {"test": "Test split", "valid": "Validation split"}
_QUARTER = 5
"""Fewest images that a part of the images may hold."""

KINDS: Mapping[str, Callable[[SplitScores, int], NDArray[np.float64]]] = {
    "tumour area": lambda split, pixels: split.sums[:, SUMS.index("truth")] / pixels,
    "brightness": lambda split, pixels: split.brightness,
    "contrast": lambda split, pixels: split.contrast,
}
"""What tells kinds of images apart: shares of the image and of white, in 0..1."""


def comparisons(trials: Sequence[TrialRecord], evidence: Evidence) -> Iterable[Block]:
    """Yield the paired comparison of the best trial and the baselines, split by split."""
    if not ranking(trials):
        return
    if not evidence.scores:
        yield paragraph("No scores of single images are on record, so there are no intervals and no comparisons.")
        return
    called = names(trials)
    shown = [(title, evidence.splits[name]) for name, title in _TITLES.items() if name in evidence.splits]
    if shown and len(shown[0][1].trials) > 1:
        compared = shown[0][1]
        yield paragraph(
            f"The best trial and the baselines on the same images, each against {_reference(compared, called)}. An "
            "interval that includes zero leaves open which of the two is better. Of several seeds of a baseline the "
            "best is taken."
        )
        for title, compared in shown:
            tumours = f"{plural(compared.images, 'image')}, {compared.tumours} with a tumour"
            yield Subheading(f"{title} ({tumours})")
            yield table(
                ["name", "role", "Dice gained", "95 % interval", "IoU gained", "95 % interval", "p (Holm)", "first"],
                [_row(compared, place, called) for place in range(len(compared.trials))],
                right=range(2, 8),
            )
    yield from (paragraph(sentence) for sentence in evidence.missing)


def _reference(compared: Compared, called: Mapping[str, str]) -> str:
    record = compared.trials[compared.reference]
    return f"the best {'baseline' if record.baseline else 'trial'}, {called[record.trial]}"


def _row(compared: Compared, place: int, called: Mapping[str, str]) -> list[str]:
    record, found = compared.trials[place], compared.resampled
    first = share(found.first[place])
    if place == compared.reference:
        return [called[record.trial], role(record), "reference", *[MISSING] * 4, first]
    p_value = compared.p_values[place]
    return [
        called[record.trial],
        role(record),
        gained(found.dice_gain[place].value),
        interval(found.dice_gain[place], signed=True),
        gained(found.iou_gain[place].value),
        interval(found.iou_gain[place], signed=True),
        MISSING if p_value is None else "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}",
        first,
    ]


def shown_in_kinds(evidence: Evidence) -> list[TrialRecord]:
    """Return the best trial and the best baseline, or whichever of the two has scores."""
    compared = evidence.splits.get("valid")
    if compared is None:
        return []
    return [compared.trials[place] for place in dict.fromkeys((0, compared.reference))]


def kinds_of_images(trials: Sequence[TrialRecord], evidence: Evidence, figure: str | None) -> Iterable[Block]:
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
        yield Picture("Dice of each image against tumour area, brightness and contrast", figure)
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


def data_check(run: Mapping[str, Any]) -> Iterable[Block]:
    """Yield a summary of what the data check found when the run began."""
    dataset = run.get("dataset")
    check = dataset.get("check") if isinstance(dataset, Mapping) else None
    if not isinstance(check, Mapping):
        return
    yield paragraph(f"{_findings(check.get('errors'), 'error')}; {_findings(check.get('warnings'), 'warning')}.")
    splits = check.get("splits")
    if not isinstance(splits, Mapping):
        return
    rows = []
    for name, split in splits.items():
        if isinstance(split, Mapping):
            shares = split.get("tumor_share") or {}
            rows.append(
                [
                    name,
                    split.get("images", MISSING),
                    split.get("without_tumor", MISSING),
                    split.get("several_annotations", MISSING),
                    *(f"{shares[key]:.2%}" if key in shares else MISSING for key in ("0", "0.5", "1")),
                    ", ".join(split.get("sizes") or ()) or MISSING,
                ]
            )
    if rows:
        header = ["split", "images", "without tumour", "several annotations", "smallest tumour", "median tumour"]
        yield table([*header, "largest tumour", "sizes"], rows, right=range(1, 7))


def _findings(found: Any, noun: str) -> str:
    """Return `no errors`, `3 warnings`, or with their kinds `22 warnings (no-tumor 22)`."""
    if isinstance(found, Mapping):
        number = sum(found.values())
        kinds = f" ({', '.join(f'{kind} {amount}' for kind, amount in found.items())})" if number else ""
    else:
        number, kinds = int(found or 0), ""
    return f"no {noun}s" if not number else f"{plural(number, noun)}{kinds}"
