"""The section on ways of prediction: the same models augmented, postprocessed, and the winner's trainings as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bts_tune.report.blocks import Block, Bullets, Code, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, duration, gained, interval, metric
from bts_tune.results.ranking.configurations import Configuration, configurations
from bts_tune.results.record.scores import SUMS, Scores, SplitScores
from bts_tune.results.statistics.comparison import Comparison
from bts_tune.results.statistics.intervals import resample

_TITLES = {"test": "Test split", "valid": "Validation split"}
_WAYS: Mapping[str, str] = {
    "": "as it is",
    "tta": "with test-time augmentation",
    "postprocessed": "threshold {threshold}, regions from {smallest} of the image",
    "ensemble": "ensemble of {members}",
    "ensemble-tta": "ensemble of {members}, with test-time augmentation",
}


@dataclass(frozen=True)
class _Way:
    """One way to use a configuration's models: the scores of its trainings, or of all of them as one."""

    title: str
    scores: Mapping[str, Scores]
    """By trial; those of an ensemble stand with one of its trainings."""
    seconds: float | None
    plain: Mapping[str, Scores]
    """The same trainings as they are, which it is compared with."""


@SECTIONS.register("ways-of-prediction")
class WaysOfPrediction(Section):
    """Test-time augmentation, postprocessing and ensembles beside the plain models."""

    title = "Other ways of prediction"
    after = "test-split"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield, split by split, what each way of using the same models scores."""
        names = {record.trial: record.name for record in context.trials}
        ways = {one.name: _ways(one, context.comparison, names) for one in configurations(context.trials)}
        ways = {name: found for name, found in ways.items() if len(found) > 1}
        if not ways:
            return
        yield paragraph(
            "The same trained models, used in other ways. 'Gained' compares each with the same trainings as they are, "
            "on the same images. Where only some trainings were measured in a way, their number stands there. Where "
            "the interval includes zero, the difference may be chance. The ranking does not use this. ",
            Code("bts-tune predict"),
            " has the options ",
            Code("--tta"),
            ", ",
            Code("--ensemble"),
            " and ",
            Code("--postprocess"),
            ".",
        )
        for split, title in _TITLES.items():
            rows = [row for name, found in ways.items() for row in _rows(name, found, split, context.comparison.groups)]
            if rows:
                yield Subheading(title)
                header = ["name", "way", "Dice loss", "95 % interval", "IoU", "95 % interval"]
                header += ["Dice gained", "95 % interval", "IoU gained", "95 % interval", "time"]
                yield table(header, rows, right=range(2, len(header)))
        yield Bullets(
            (
                "Test-time augmentation: the mean of the probabilities over an image and its mirror image, and over "
                "both upside down for a model that was trained with vertical flips.",
                "Ensemble: the mean of the probabilities over several trainings. It is one model, so "
                "its interval tells of other images alone.",
                "Threshold and regions: the threshold, and the smallest region that is kept, were chosen for each "
                "training on the validation split. The validation numbers with them are therefore a little too good. "
                "The Dice loss is of probabilities, which they leave as they are.",
                "Time: of measuring, for each model, where it is on record.",
            )
        )


def _ways(one: Configuration, comparison: Comparison, names: Mapping[str, str]) -> list[_Way]:
    """Return the plain models, then the other ways that were measured; `names` are those of the trials."""
    plain = {
        record.trial: comparison.scores[record.trial] for record in one.trials if record.trial in comparison.scores
    }
    found = [_Way(_WAYS[""], plain, None, plain)] if plain else []
    for name, title in _WAYS.items():
        measured = [record for record in one.trials if (record.trial, name) in comparison.variants]
        if measured and found:
            recorded = [record.variants[name] for record in measured]
            members = max((variant["members"] for variant in recorded), key=len)
            others = sorted({names.get(trial, trial) for trial in members} - {one.name})
            seconds = sum(variant["seconds"] for variant in recorded) / len(recorded)
            scores = {record.trial: comparison.variants[record.trial, name] for record in measured}
            used = {trial for variant in recorded for trial in variant["members"]}
            same = {trial: score for trial, score in plain.items() if trial in used}
            words = {
                "members": f"{len(members)}, with {', '.join(others)}" if others else str(len(members)),
                "threshold": _range([variant.get("threshold") for variant in recorded]),
                "smallest": _range([variant.get("smallest_region") for variant in recorded], percent=True),
            }
            found.append(_Way(title.format(**words), scores, seconds, same))
    return found


def _range(values: Sequence[float | None], percent: bool = False) -> str:
    """Return the one value of all trainings, or the lowest and the highest."""
    known = sorted({value for value in values if value is not None})
    texts = [f"{100 * value:g} %" if percent else f"{value:g}" for value in known]
    return MISSING if not texts else texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _rows(name: str, ways: Sequence[_Way], split: str, groups: Mapping[str, str]) -> list[list[str]]:
    every = _of_split(ways[0].scores, split)
    pairs = [(way, _of_split(way.plain, split), _of_split(way.scores, split)) for way in ways]
    measured = [(way, plain, found) for way, plain, found in pairs if plain and found]
    if len(measured) < 2 or measured[0][0] is not ways[0]:
        return []
    splits = [one for _, plain, found in measured for one in (*plain.values(), *found.values())]
    if len({len(one.names) for one in splits}) != 1:
        return []  # of different folds
    images = {tuple(sorted(one.names)) for one in splits}
    names = images.pop()  # trainings of several folds have images of their own
    units = [groups[image] for image in names] if not images and groups.keys() >= set(names) else None
    of_trainings: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (_, plain, _) in enumerate(measured):
        of_trainings[tuple(plain)].append(number)
    rows: dict[int, list[str]] = {}
    for numbers in of_trainings.values():
        plain = measured[numbers[0]][1]
        compared = resample(_sums([plain, *(measured[number][2] for number in numbers)]), groups=units)
        for place, number in enumerate(numbers, start=1):
            way, loss, overlap = measured[number][0], compared.dice_loss[place], compared.iou[place]
            gains = [MISSING] * 4
            if number:
                dice, iou = compared.dice_gain[place], compared.iou_gain[place]
                gains = [gained(dice.value), interval(dice, signed=True), gained(iou.value), interval(iou, signed=True)]
            title = way.title if len(plain) == len(every) else f"{way.title} ({len(plain)} of {len(every)} trainings)"
            cells = [metric(loss.value), interval(loss), metric(overlap.value), interval(overlap)]
            time = MISSING if way.seconds is None else duration(way.seconds)
            rows[number] = [name, title, *cells, *gains, time]
    return [rows[number] for number in sorted(rows)]


def _of_split(scores: Mapping[str, Scores], split: str) -> dict[str, SplitScores]:
    return {trial: one.splits[split] for trial, one in scores.items() if split in one.splits}


def _sums(tables: Sequence[Mapping[str, SplitScores]]) -> NDArray[np.float64]:
    """Return the sums of the images, [K, R, N, 6], in the order of their names; NaN where a training is not there."""
    trainings = list(dict.fromkeys(trial for scores in tables for trial in scores))
    images = len(next(iter(tables[0].values())).names)
    sums = np.full((len(tables), len(trainings), images, len(SUMS)), np.nan)
    for place, scores in enumerate(tables):
        for trial, one in scores.items():
            sums[place, trainings.index(trial)] = one.sums[np.argsort(one.names, kind="stable")]
    return sums
