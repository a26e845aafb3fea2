"""What the scores of single images say of a run: how sure its figures are, and how its best trials compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bts_tune.errors import RunError
from bts_tune.report.leaderboard import best_baselines, ranking
from bts_tune.report.statistics import Resampled, has_tumour, holm, resample, wilcoxon
from bts_tune.store import RunFolder, TrialRecord
from bts_tune.training.scores import SPLITS, Scores, SplitScores, read_scores


@dataclass(frozen=True)
class Compared:
    """Trials measured on the same images of one split.

    Attributes:
        trials: the best trial and the best seed of each baseline, best first on the validation split.
        reference: the place, in `trials`, of the best baseline; 0 where there is none.
        images: how many images the split has.
        tumours: how many of them hold a tumour.
        resampled: intervals, differences from the reference and how often each trial comes first.
        p_values: Wilcoxon's, of each trial against the reference, corrected by Holm; None for the reference itself and
            where no image holds a tumour.
    """

    trials: tuple[TrialRecord, ...]
    reference: int
    images: int
    tumours: int
    resampled: Resampled
    p_values: tuple[float | None, ...]

    def place(self, trial: TrialRecord) -> int | None:
        """Return where a trial stands in the lists, or None where it was not compared."""
        return next((place for place, record in enumerate(self.trials) if record.trial == trial.trial), None)


@dataclass(frozen=True)
class Evidence:
    """Everything that the scores on record give.

    Attributes:
        scores: by trial, of the trials that are compared.
        splits: by name, `valid` and `test`; empty without scores.
        missing: sentences on scores that are not there or cannot be used.
    """

    scores: Mapping[str, Scores] = field(default_factory=dict)
    splits: Mapping[str, Compared] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def gather(folder: RunFolder, trials: Sequence[TrialRecord]) -> Evidence:
    """Read the scores of the best trial and of the best seed of each baseline, and compare them.

    Scores that are missing, spoilt, of another epoch than the trial's best, or of other images than the first trial's,
    cost that trial its place and leave a sentence.
    """
    best = ranking(trials)[:1]
    wanted = best + [record for record in best_baselines(trials) if record not in best]
    scores: dict[str, Scores] = {}
    missing = []
    for record in wanted:
        try:
            found = read_scores(folder.scores_file(record.trial))
        except RunError as error:
            missing.append(str(error))
            continue
        if record.best_row is None or found.epoch != record.best_row["epoch"]:
            missing.append(f"scores/{record.trial}.npz is left out: it is of epoch {found.epoch}, not of the best.")
        elif scores and _images(found) != _images(next(iter(scores.values()))):
            missing.append(f"scores/{record.trial}.npz is left out: it is of other images than the first trial's.")
        else:
            scores[record.trial] = found
    ready = [record for record in wanted if record.trial in scores]
    splits = {}
    for name in SPLITS:
        parts = [scores[record.trial].splits.get(name) for record in ready]
        present = [part for part in parts if part is not None and part.names]
        if present and len(present) == len(ready):
            splits[name] = _compare(ready, present)
    return Evidence(scores, splits, tuple(missing))


def _images(scores: Scores) -> dict[str, list[str]]:
    return {name: sorted(split.names) for name, split in scores.splits.items()}


def _compare(trials: Sequence[TrialRecord], parts: Sequence[SplitScores]) -> Compared:
    sums = np.stack([part.sums[np.argsort(part.names, kind="stable")] for part in parts])
    reference = next((place for place, record in enumerate(trials) if record.baseline), 0)
    raw = {
        place: p_value
        for place in range(len(trials))
        if place != reference and (p_value := wilcoxon(sums[place], sums[reference])) is not None
    }
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    return Compared(
        trials=tuple(trials),
        reference=reference,
        images=sums.shape[1],
        tumours=int(has_tumour(sums[0]).sum()),
        resampled=resample(sums, reference),
        p_values=tuple(corrected.get(place) for place in range(len(trials))),
    )
