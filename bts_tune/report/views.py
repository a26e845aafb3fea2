"""Sections that look at single images and at the data: comparisons, kinds of images, the data check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.configurations import configurations, result_stage
from bts_tune.report.document import Block, Picture, Subheading, paragraph, table
from bts_tune.report.evidence import Compared, Evidence
from bts_tune.report.statistics import has_tumour, missed, pooled_dice_loss, pooled_iou
from bts_tune.report.words import MISSING, gained, interval, metric, names, plural, repeat, role, share
from bts_tune.store import TrialRecord
from bts_tune.training.scores import SUMS, Scores, SplitScores

_TITLES: Mapping[str, str] = {"test": "Test split", "valid": "Validation split"}
_MAX_MISSING = 12
_QUARTER = 5
"""Fewest images that a part of the images may hold."""

KINDS: Mapping[str, Callable[[SplitScores, int], NDArray[np.float64]]] = {
    "tumour area": lambda split, pixels: split.sums[:, SUMS.index("truth")] / pixels,
    "brightness": lambda split, pixels: split.brightness,
    "contrast": lambda split, pixels: split.contrast,
}
"""What tells kinds of images apart: shares of the image and of white, in 0..1."""


def comparisons(trials: Sequence[TrialRecord], evidence: Evidence) -> Iterable[Block]:
    """Yield the paired comparison of the configurations with the best baseline, split by split."""
    if not configurations(trials):
        return
    if not evidence.scores:
        yield paragraph("No scores of single images are on record, so there are no intervals and no comparisons.")
        return
    shown = [(title, evidence.splits[name]) for name, title in _TITLES.items() if name in evidence.splits]
    if shown and len(shown[0][1].configurations) > 1:
        compared = shown[0][1]
        who = (
            "The configurations of the final stage" if result_stage(trials) == "final" else "The best and the baselines"
        )
        yield paragraph(
            f"{who} on the same images, each against {_reference(compared)}. An interval that includes zero leaves "
            f"open which of the two is better. {_chances(compared)}"
        )
        for title, compared in shown:
            groups = f" in {plural(compared.groups, 'group')}" if compared.groups else ""
            tumours = f"{plural(compared.images, 'image')}{groups}, {compared.tumours} with a tumour"
            yield Subheading(f"{title} ({tumours})")
            repeated = set(compared.replicates) != {1}
            header = ["name", "role", *(["trainings"] if repeated else []), "Dice gained", "95 % interval"]
            header += ["IoU gained", "95 % interval", "p (Holm)", "first"]
            rows = [_row(compared, place, repeated) for place in range(len(compared.configurations))]
            yield table(header, rows, right=range(2, len(header)))
    yield from (paragraph(sentence) for sentence in evidence.missing[:_MAX_MISSING])
    if len(evidence.missing) > _MAX_MISSING:
        yield paragraph(f"Of {len(evidence.missing) - _MAX_MISSING} more, scores are missing or left out.")


def _reference(compared: Compared) -> str:
    one = compared.configurations[compared.reference]
    return f"the best {'baseline' if one.baseline else 'configuration'} that has scores, {one.name}"


def _chances(compared: Compared) -> str:
    images = "groups of related images" if compared.groups else "images"
    fewest = min(compared.replicates)
    if fewest > 1:
        return f"The intervals hold the chance of other {images} and of other seeds."
    if max(compared.replicates) > 1:
        return (
            f"The intervals hold the chance of other {images}, and that of other seeds where a configuration has more "
            "than one training; of one with a single training they are too narrow."
        )
    return f"The intervals hold the chance of other {images} alone: a single seed tells nothing of that of others."


def _row(compared: Compared, place: int, repeated: bool) -> list[str]:
    one, found = compared.configurations[place], compared.resampled
    first = share(found.first[place])
    cells = [one.name, role(one), *([str(compared.replicates[place])] if repeated else [])]
    if place == compared.reference:
        return [*cells, "reference", *[MISSING] * 4, first]
    p_value = compared.p_values[place]
    return [
        *cells,
        gained(found.dice_gain[place].value),
        interval(found.dice_gain[place], signed=True),
        gained(found.iou_gain[place].value),
        interval(found.iou_gain[place], signed=True),
        MISSING if p_value is None else "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}",
        first,
    ]


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
