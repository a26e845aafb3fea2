"""The comparison of a run's configurations, image by image: how sure their metrics are, and which is better."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bts_tune.errors import RunError
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.leaks import of_the_same_scan, read_leaks
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import SPLITS, SUMS, Scores, SplitScores, has_tumour, read_scores
from bts_tune.results.statistics.intervals import (
    RESAMPLED,
    RESAMPLES,
    Resampled,
    holm,
    is_defined,
    resample,
    wilcoxon,
)

FEWEST_IMAGES = 5
"""Images that a stratum must have to be measured by itself."""
MOST_VALUES = 12
"""Values that a stratum may have to be one."""
RESAMPLES_OF_STRATA = 1999

_SPLIT_COLUMNS = ("file", "split", "group", "fold")


@dataclass(frozen=True)
class SplitComparison:
    """Configurations measured on the same images of one split.

    Attributes:
        configurations: best first on the validation split.
        reference: the place, in `configurations`, of the best baseline; 0 where there is none.
        images: how many images the split has.
        tumours: how many of them hold a tumour.
        groups: how many groups the images form; None where groups are not known, and images are drawn.
        tumour_groups: how many of them hold an image with a tumour, which `p_values` are of.
        objective: what `resampled` tells gains and firsts of: the run's, or the Dice loss where that cannot be
            resampled from the scores of images, or none of these images has a value of it.
        resampled: intervals, differences from the reference and how often each configuration comes first; neither where
            the images are one group, or a single one.
        p_values: Wilcoxon's, of each configuration against the reference, corrected by Holm; None for the reference
            itself and where no image holds a tumour.
        sums: what all of it was made from, as `statistics.resample` takes it.
        units: the group of each image there; None where groups are not known.
    """

    configurations: tuple[Configuration, ...]
    reference: int
    images: int
    tumours: int
    groups: int | None
    tumour_groups: int | None
    objective: Objective
    resampled: Resampled
    p_values: tuple[float | None, ...]
    sums: NDArray[np.float64] = field(repr=False, compare=False)
    units: tuple[str, ...] | None = field(repr=False, compare=False)

    @property
    def replicates(self) -> list[int]:
        """How many replicates of each configuration were measured.

        On the validation split the folds of a seed are one together; on the test split every training is one.
        """
        return self.resampled.replicates

    @property
    def why_no_intervals(self) -> str:
        """Why nothing tells how much other images would change the numbers; empty where intervals tell it."""
        if self.resampled.units > 1:
            return ""
        return "there is one image" if self.images == 1 else f"all {self.images} images are of one group"

    def place(self, configuration: Configuration) -> int | None:
        """Return where a configuration stands in the lists, or None where it was not compared."""
        places = (place for place, one in enumerate(self.configurations) if one.key == configuration.key)
        return next(places, None)


@dataclass(frozen=True)
class CleanTest:
    """The test images that have no identical and no same-scan image in training, see `results/record/leaks.py`.

    Attributes:
        left_out: how many test images have one.
        identical: how many of them have an identical one.
        compared: the configurations on the others; None where no image is left, or none is left out.
    """

    left_out: int
    identical: int
    compared: SplitComparison | None


@dataclass(frozen=True)
class Stratum:
    """The images of a split of which names or files tell the same, such as those of gliomas.

    Attributes:
        name: what is told, such as `tumour`.
        value: what it is, such as `glioma`.
        compared: the best configuration and the best baseline on these images; `resampled.value` is of `METRIC` where
            any of them holds a tumour.
    """

    METRIC: ClassVar[str] = "dice_image"

    name: str
    value: str
    compared: SplitComparison


@dataclass(frozen=True)
class Comparison:
    """The configurations of a run, compared by the scores of single images.

    Attributes:
        scores: by trial, of the replicates of the configurations that are compared.
        splits: by name, `valid` and `test`; empty without scores.
        variants: by trial and name, of the variants that were measured; see `TrialRecord.variants`.
        missing: sentences on scores that are not there or cannot be used.
        failed: a sentence on why there is no comparison at all, where making it failed.
        clean: the test split without images that leak; None where these are not on record.
        strata: by split, of every stratum with enough images; none where nothing is told of images.
        groups: by image, its group of related slices, which intervals draw as a whole; empty where none is known.
    """

    scores: Mapping[str, Scores] = field(default_factory=dict)
    splits: Mapping[str, SplitComparison] = field(default_factory=dict)
    variants: Mapping[tuple[str, str], Scores] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    failed: str = ""
    clean: CleanTest | None = None
    strata: Mapping[str, tuple[Stratum, ...]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


def compare_configurations(folder: RunFolder, trials: Sequence[TrialRecord]) -> Comparison:
    """Read the scores of the configurations that the result is about, and compare them.

    Those are all of the final stage; without one, the best and the baselines. A configuration's folds of one seed
    score every validation image once, and count as one replicate there.

    Scores that were never made, are missing, spoilt, of another epoch than the trial's best, or of other images than
    the first trial's, cost that replicate its place and leave a sentence.
    """
    found = configurations(trials)
    if result_stage(trials) == "search":
        found = [one for place, one in enumerate(found) if one.baseline or place == 0]
    records = [record for one in found for record in one.trials]
    scores: dict[str, Scores] = {}
    missing = _never_measured(folder, found)
    for record in records:
        if _is_not_measured(folder, record):
            continue
        try:
            read = read_scores(folder.scores_file(record.trial))
        except RunError as error:
            missing.append(str(error))
            continue
        if record.best_row is None or read.epoch != record.best_row["epoch"]:
            missing.append(f"scores/{record.trial}.npz is left out: it is of epoch {read.epoch}, not of the best.")
        else:
            scores[record.trial] = read
    groups = _read_groups(folder, missing)
    folds = {record.fold for record in records}
    fold_of = {
        image: record.fold
        for record in records
        if record.fold is not None and record.trial in scores and "valid" in scores[record.trial].splits
        for image in scores[record.trial].splits["valid"].names
    }
    told = read_strata(folder.split_file)
    splits = {}
    strata = {}
    clean = None
    for name in SPLITS:
        measured = [(one, _measured(one, scores, name, folds, missing)) for one in found]
        compared = _compare(measured, groups, name, missing, fold_of=fold_of if name == "valid" else None)
        if compared is not None:
            splits[name] = compared
            if of_split := _by_stratum(measured, compared, groups, name, told):
                strata[name] = of_split
            if name == "test":
                clean = _clean_test(folder, measured, groups, missing)
    variants = {}
    for record in (record for record in records if record.trial in scores):
        for name in record.variants:
            try:
                variants[record.trial, name] = read_scores(folder.variant_scores_file(record.trial, name))
            except RunError as error:
                missing.append(str(error))
    return Comparison(
        scores, splits, variants, tuple(dict.fromkeys(missing)), clean=clean, strata=strata, groups=groups
    )


def _is_not_measured(folder: RunFolder, record: TrialRecord) -> bool:
    """Whether a trial was never measured image by image, which is no fault: without a final stage, few are."""
    return not record.test and not folder.scores_file(record.trial).is_file()


def _never_measured(folder: RunFolder, found: Sequence[Configuration]) -> list[str]:
    sentences = []
    for one in found:
        lacking = sum(_is_not_measured(folder, record) for record in one.trials)
        if lacking:
            which = f"{lacking} of the {len(one.trials)} trainings of {one.name}" if len(one.trials) > 1 else one.name
            sentences.append(f"Not measured image by image: {which}.")
    return sentences


_Key = tuple[int, int, int]
"""Seed, fold (0 for all together, or for none) and the number of the repetition: what pairs replicates."""


def _measured(
    configuration: Configuration,
    scores: Mapping[str, Scores],
    split: str,
    folds: set[int | None],
    missing: list[str],
) -> dict[_Key, tuple[str, SplitScores]]:
    """Return a configuration's replicates on one split, with what names them in a sentence."""
    repeated: Counter[tuple[int, int]] = Counter()
    found: dict[_Key, tuple[str, SplitScores]] = {}
    parts: dict[_Key, dict[int | None, SplitScores]] = {}
    for record in configuration.trials:
        seed, fold = setting(record, "seed"), record.fold or 0
        key = (seed, fold, repeated[seed, fold])
        repeated[seed, fold] += 1
        part = scores[record.trial].splits.get(split) if record.trial in scores else None
        if part is None or not part.names:
            continue
        if split == "valid" and folds != {None}:
            parts.setdefault((seed, 0, key[2]), {})[record.fold] = part
        else:
            found[key] = (f"scores/{record.trial}.npz", part)
    for key, by_fold in parts.items():
        name = f"{configuration.name} seed {key[0]}"
        if by_fold.keys() == folds:
            found[key] = (f"{name}, all folds", _joined(list(by_fold.values())))
        else:
            missing.append(
                f"{name} is left out of the comparison on the validation split: it has {len(by_fold)} of "
                f"{len(folds)} folds."
            )
    return found


def _joined(parts: Sequence[SplitScores]) -> SplitScores:
    return SplitScores(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.sums for part in parts]),
        np.concatenate([part.brightness for part in parts]),
        np.concatenate([part.contrast for part in parts]),
    )


def _compare(
    measured: Sequence[tuple[Configuration, dict[_Key, tuple[str, SplitScores]]]],
    groups: Mapping[str, str],
    split: str,
    missing: list[str],
    *,
    fold_of: Mapping[str, int] | None = None,
    objective: Objective | None = None,
    resamples: int = RESAMPLES,
) -> SplitComparison | None:
    images: list[str] | None = None
    kept: list[tuple[Configuration, dict[_Key, NDArray[np.float64]]]] = []
    for configuration, replicates in measured:
        usable = {}
        for key, (source, part) in replicates.items():
            order = np.argsort(part.names, kind="stable")
            names = [part.names[place] for place in order]
            if images is None:
                images = names
            if names == images:
                usable[key] = part.sums[order]
            else:
                missing.append(f"{source} is left out: it is of other images than the first trial's.")
        if usable:
            kept.append((configuration, usable))
    if images is None:
        return None
    if any(configuration.baseline for configuration, _ in measured) and not any(one.baseline for one, _ in kept):
        missing.append(f"No baseline has scores of the {split} split, so there is none to compare with.")
    keys = sorted({key for _, replicates in kept for key in replicates})
    sums = np.full((len(kept), len(keys), len(images), len(SUMS)), np.nan)
    for place, (_, kept_replicates) in enumerate(kept):
        for key, images_sums in kept_replicates.items():
            sums[place, keys.index(key)] = images_sums
    found = tuple(configuration for configuration, _ in kept)
    reference = next((place for place, one in enumerate(found) if one.baseline), 0)
    units = [groups[name] for name in images] if all(name in groups for name in images) else None
    objective = objective or found[0].objective
    if objective.metric not in RESAMPLED or not is_defined(sums, objective.metric):
        objective = Objective()
    raw = {
        place: p_value
        for place in range(len(found))
        if place != reference and (p_value := wilcoxon(sums[place], sums[reference], units)) is not None
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    with_tumour = [has_tumour(next(iter(replicates.values()))) for _, replicates in kept]
    for one, shown in zip(found, with_tumour, strict=True):
        if vanished := int((shown != with_tumour[reference]).sum()):
            missing.append(
                f"Images that show a tumour at the image size of only one of {one.name} and {found[reference].name} "
                f"are left out of the paired test of the two on the {split} split: {vanished}."
            )
    return SplitComparison(
        configurations=found,
        reference=reference,
        images=len(images),
        tumours=int(with_tumour[0].sum()),
        groups=None if units is None else len(set(units)),
        tumour_groups=None if units is None else len(set(itertools.compress(units, with_tumour[0]))),
        objective=objective,
        resampled=resample(
            sums,
            reference,
            units,
            folds=[fold_of[name] for name in images] if fold_of else None,
            objective=objective,
            resamples=resamples,
        ),
        p_values=tuple(corrected.get(place) for place in range(len(found))),
        sums=sums,
        units=None if units is None else tuple(units),
    )


def _clean_test(
    folder: RunFolder,
    measured: Sequence[tuple[Configuration, dict[_Key, tuple[str, SplitScores]]]],
    groups: Mapping[str, str],
    missing: list[str],
) -> CleanTest | None:
    """Compare on the test images without an identical or same-scan image in training; None where none is known."""
    try:
        pairs = read_leaks(folder.leaks_file)
    except RunError as error:
        missing.append(f"{error} No metric is given for the test images without a copy in training.")
        return None
    if pairs is None:
        return None  # a run of an earlier version
    images = {name for _, replicates in measured for _, part in replicates.values() for name in part.names}
    leaking = of_the_same_scan(pairs, "test") & images
    identical = sum(pair.relation == "identical" and pair.file in leaking for pair in pairs)
    if not leaking or leaking == images:
        return CleanTest(len(leaking), identical, None)
    without = [
        (one, {key: (source, _without(part, leaking)) for key, (source, part) in replicates.items()})
        for one, replicates in measured
    ]
    # What cannot be compared was said for the whole split.
    return CleanTest(len(leaking), identical, _compare(without, groups, "test", []))


def _by_stratum(
    measured: Sequence[tuple[Configuration, dict[_Key, tuple[str, SplitScores]]]],
    whole: SplitComparison,
    groups: Mapping[str, str],
    split: str,
    told: Mapping[str, Mapping[str, str]],
) -> tuple[Stratum, ...]:
    """Compare the best configuration and the best baseline on the images of each stratum."""
    shown = {one.key for one in (whole.configurations[0], whole.configurations[whole.reference])}
    chosen = [(one, replicates) for one, replicates in measured if one.key in shown]
    images = {name for _, replicates in chosen for _, part in replicates.values() for name in part.names}
    members: dict[tuple[str, str], set[str]] = {}
    for image in images:
        for name, value in told.get(image, {}).items():
            members.setdefault((name, value), set()).add(image)
    values = Counter(name for name, _ in members)
    found = []
    for (name, value), own in sorted(members.items()):
        # One value alone tells nothing that the split does not; many are more names than kinds.
        if not 1 < values[name] <= MOST_VALUES or len(own) < FEWEST_IMAGES:
            continue
        left_out = images - own
        without = [
            (one, {key: (source, _without(part, left_out)) for key, (source, part) in replicates.items()})
            for one, replicates in chosen
        ]
        objective = Objective(Stratum.METRIC, "maximize", "Dice per image", 0.0, 1.0)
        compared = _compare(without, groups, split, [], objective=objective, resamples=RESAMPLES_OF_STRATA)
        if compared is not None:
            found.append(Stratum(name, value, compared))
    return tuple(found)


def read_strata(path: Path) -> dict[str, dict[str, str]]:
    """Return what names or files tell of each slice, from the run's `split.csv`; nothing where it has no such columns.

    A file that cannot be read has none: who reads the groups says so.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            titles = [title for title in table.fieldnames or () if title not in _SPLIT_COLUMNS]
            if not titles:
                return {}
            return {row["file"]: {title: row[title] for title in titles if row[title]} for row in table}
    except (OSError, csv.Error, KeyError, UnicodeDecodeError):
        return {}


def _without(part: SplitScores, names: set[str]) -> SplitScores:
    """Return the sums of all images but some."""
    kept = [place for place, name in enumerate(part.names) if name not in names]
    return replace(
        part,
        names=tuple(part.names[place] for place in kept),
        sums=part.sums[kept],
        brightness=part.brightness[kept],
        contrast=part.contrast[kept],
        shapes=None,
        further={},
    )


def _read_groups(folder: RunFolder, missing: list[str]) -> dict[str, str]:
    """Return the group of each slice, by name, from the run's `split.csv`; empty where it cannot be used."""
    try:
        with folder.split_file.open(newline="", encoding="utf-8") as file:
            return {row["file"]: row["group"] for row in csv.DictReader(file) if row["group"]}
    except FileNotFoundError:
        return {}  # a run of an earlier version
    except (OSError, csv.Error, KeyError, UnicodeDecodeError):
        missing.append("split.csv cannot be read, so that single images are drawn for the intervals, not groups.")
        return {}
