"""One run of a benchmark: its configurations measured on the same images, ranked and compared pair by pair."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.record.status import in_group
from bts_tune.results.statistics.comparison import Comparison, SplitComparison, compare_configurations
from bts_tune.results.statistics.intervals import LEVEL, Interval, favours_first, holm, wilcoxon
from bts_tune.results.statistics.rank_tests import ranks
from bts_tune.text import plural

SPLITS = ("test", "valid")
WORDS = {"test": "test split", "valid": "validation split"}


@dataclass(frozen=True)
class Entry:
    """One configuration on one split of one run.

    Attributes:
        name: the configuration.
        trainings: how many are behind it.
        value: the mean of the objective over them.
        interval: of that value; None where it cannot be told from the scores of single images.
        dice_loss, iou: likewise, with their intervals; values alone where the scores of one training are not there.
        rank: among those of the run, 1 for the best.
    """

    name: str
    trainings: int
    value: float
    interval: Interval | None
    dice_loss: Interval | None
    iou: Interval | None
    rank: float


@dataclass(frozen=True)
class Pair:
    """Two configurations on the same images.

    Attributes:
        one, other: their names; `one` is the better.
        gain: by how much it is.
        p_value: Wilcoxon's on the Dice of single images, or the means of groups, corrected by Holm over all pairs of
            the split; None without scores of images that hold a tumour.
        favours: the one that the signed ranks of that test favour, which need not be the better by the objective: that
            is over all pixels, or another metric. None where they favour neither, and where there is no p value.
    """

    one: str
    other: str
    gain: float
    p_value: float | None
    favours: str | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the p value is below 0.05."""
        return self.p_value is not None and self.p_value < 1 - LEVEL

    @property
    def sure(self) -> bool:
        """Whether it is, and the test favours the better one too."""
        return self.is_significant and self.favours == self.one


@dataclass(frozen=True)
class SplitResult:
    """What one split of a run tells.

    Attributes:
        images, tumours, groups, tumour_groups: as in `SplitComparison`; None where no scores of images are on record.
        entries: best first.
        pairs: of all of them, in the order of `entries`.
    """

    images: int | None
    tumours: int | None
    groups: int | None
    tumour_groups: int | None
    entries: tuple[Entry, ...]
    pairs: tuple[Pair, ...]

    def entry(self, name: str) -> Entry | None:
        """Return the entry of a configuration."""
        return next((one for one in self.entries if one.name == name), None)

    def pair(self, one: str, other: str) -> Pair | None:
        """Return the pair of two configurations, whichever is better."""
        return next((pair for pair in self.pairs if {pair.one, pair.other} == {one, other}), None)


@dataclass(frozen=True)
class BenchmarkRun:
    """One run of a benchmark: all configurations on one dataset and split.

    Attributes:
        name: of its folder.
        dataset: the dataset's name.
        split: the split method that was asked for; None for the dataset's own.
        run: the content of its `run.json`; None where it has not begun.
        results: by split, `test` and `valid`; only those that were measured.
        planned: how many trainings of each configuration were planned.
        trained: how many of them came to their end.
        failed: how many of them failed, ran out of memory or diverged.
        missing: sentences on scores that are not there or cannot be used.
    """

    name: str
    dataset: str
    split: str | None
    run: Mapping[str, Any] | None = None
    results: Mapping[str, SplitResult] = field(default_factory=dict)
    planned: Mapping[str, int] = field(default_factory=dict)
    trained: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """How it stands: as it recorded, or 'not begun'."""
        return "not begun" if self.run is None else str(self.run.get("status"))

    @property
    def lacking(self) -> list[str]:
        """The configurations of which not all trainings came to their end."""
        return [name for name, planned in self.planned.items() if self.trained.get(name, 0) < planned]

    @property
    def models_lacking(self) -> list[str]:
        """The trainings whose models are not there, or not as they were saved, where it is complete."""
        return [str(one) for one in (self.run or {}).get("models_lacking") or ()]

    def lack(self, name: str, split: str) -> str:
        """Return why it has no value of a configuration on a split, as a clause; "" where it has one."""
        if split in self.results and self.results[split].entry(name) is not None:
            return ""
        trained, planned, failed = (of.get(name, 0) for of in (self.trained, self.planned, self.failed))
        if trained:
            end = "came to its end" if trained == 1 else "came to their end"
            return f"{plural(trained, 'training')} of it {end}, without a {self.objective.title} on the {WORDS[split]}"
        return f"no training of it came to its end{f' ({failed} of {planned} failed)' if failed else ''}"

    @property
    def objective(self) -> Objective:
        """What its best epochs are chosen by, and its configurations ranked by."""
        return DICE_LOSS if self.run is None else Objective.of_run(self.run)

    @property
    def content(self) -> str | None:
        """Names its images and their truth, however they are split."""
        found = (self.run or {}).get("dataset", {}).get("content")
        return found if isinstance(found, str) else None

    @property
    def definitions(self) -> Any:
        """The version of the metrics' definitions; runs from before it was recorded have the first."""
        return (self.run or {}).get("metrics", 1)


def read_run(folder: RunFolder, name: str, dataset: str, split: str | None) -> BenchmarkRun:
    """Read one run of a benchmark, and compare its configurations.

    Raises:
        RunError: its record cannot be read.
    """
    run, trials = folder.read_run(), folder.trials()
    found = configurations(trials)
    comparison = compare_configurations(folder, trials)
    results = {}
    for measured in SPLITS:
        result = _split_result(found, comparison, measured)
        if result is not None:
            results[measured] = result
    of_result = [record for record in trials if record.stage == result_stage(trials)]
    planned = Counter(record.name for record in of_result)
    failed = Counter(record.name for record in of_result if record.status in in_group("failed"))
    trained = {one.name: len(one.trials) for one in found}
    return BenchmarkRun(name, dataset, split, run, results, planned, trained, failed, comparison.missing)


def _split_result(found: Sequence[Configuration], comparison: Comparison, split: str) -> SplitResult | None:
    compared = comparison.splits.get(split)
    prefix = {"test": "test", "valid": "val"}[split]
    measured = []
    for one in found:
        values = one.values(f"{prefix}_{one.objective.metric}")
        if values:
            measured.append((one, statistics.fmean(values), len(values)))
    if not measured:
        return None
    objective = found[0].objective
    places = ranks([value for _, value, _ in measured], lower_is_better=objective.direction == "minimize")
    folds = {record.fold for one in found for record in one.trials} - {None}
    entries = []
    for (one, value, trainings), rank in zip(measured, places, strict=True):
        place = compared.place(one) if compared else None
        own = None
        dice_loss, iou = (_mean(one.values(f"{prefix}_{metric}")) for metric in ("dice_loss", "iou"))
        if compared is not None and place is not None:
            replicates = int((~np.isnan(compared.sums[place, :, 0, 0])).sum())
            # An interval from fewer trainings than the mean would be another value's.
            if replicates * (len(folds) if folds and split == "valid" else 1) == trainings:
                resampled = compared.resampled
                own = resampled.value[place] if compared.objective == objective else None
                dice_loss, iou = resampled.dice_loss[place], resampled.iou[place]
        entries.append(Entry(one.name, trainings, value, own, dice_loss, iou, float(rank)))
    entries.sort(key=lambda one: (one.rank, one.name))
    return SplitResult(
        images=compared.images if compared else None,
        tumours=compared.tumours if compared else None,
        groups=compared.groups if compared else None,
        tumour_groups=compared.tumour_groups if compared else None,
        entries=tuple(entries),
        pairs=_pairs(entries, compared, objective),
    )


def _mean(values: Sequence[float]) -> Interval | None:
    return Interval(statistics.fmean(values), None, None) if values else None


def _pairs(entries: Sequence[Entry], compared: SplitComparison | None, objective: Objective) -> tuple[Pair, ...]:
    places = {one.name: place for place, one in enumerate(compared.configurations)} if compared else {}
    listed = list(combinations(entries, 2))
    raw: dict[int, float] = {}
    favours: dict[int, str] = {}
    for number, (one, other) in enumerate(listed):
        if compared is not None and one.name in places and other.name in places:
            sums = compared.sums[places[one.name]], compared.sums[places[other.name]]
            p_value = wilcoxon(*sums, compared.units)
            if p_value is not None:
                raw[number] = p_value
                if favours_first(*sums, compared.units):
                    favours[number] = one.name
                elif favours_first(sums[1], sums[0], compared.units):
                    favours[number] = other.name
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    return tuple(
        Pair(
            one.name,
            other.name,
            objective.gain(one.value, other.value),
            corrected.get(number),
            favours.get(number),
        )
        for number, (one, other) in enumerate(listed)
    )
