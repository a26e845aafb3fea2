"""The run's answer: which configuration is best, how good it is, what it gains on the baselines, how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bts_tune.report.evidence import Compared, Evidence
from bts_tune.report.leaderboard import ordered, ranking
from bts_tune.report.words import (
    STATUS_WORDS,
    gained,
    metric,
    names,
    plural,
    role,
    setting,
    settings,
    share,
    varied_fields,
    with_role,
)
from bts_tune.store import TrialRecord

_SPLITS = (("test", "on the test split"), ("valid", "on the validation split that chose it"))


def headline(trials: Sequence[TrialRecord], evidence: Evidence) -> str | None:
    """Return the answer in one sentence with its interval, as plain text; None where no scores allow one.

    It is about the test split, which chose nothing, and about the validation split only where there is no other.
    """
    best = next(iter(ranking(trials)), None)
    split = next(((evidence.splits[name], where) for name, where in _SPLITS if name in evidence.splits), None)
    if best is None or split is None:
        return None
    compared, where = split
    place = compared.place(best)
    rival = _rival(compared, best)
    if place is None or rival is None:
        return None
    called = names(trials)
    other = compared.trials[rival]
    # Differences are from the best baseline: from the winner itself, where that is the best baseline.
    gain = -compared.resampled.dice_gain[rival] if best.baseline else compared.resampled.dice_gain[place]
    subject = called[best.trial]
    rank = "next baseline" if best.baseline else f"best {'' if other.changed else 'documented '}baseline"
    opponent = f"the {rank}, {called[other.trial]}"
    opening = "The best is a baseline: " if best.baseline else ""
    first = share(compared.resampled.first[place])
    tail = f"it is first of {plural(len(compared.trials), 'trial')} in {first} of resamples."
    if gain.low is None or gain.high is None:
        return f"{opening}{subject} and {opponent}, cannot be told apart {where}: it holds too few images."
    limits = f"95\u00a0% interval {gained(gain.low)} to {gained(gain.high)}, {plural(compared.images, 'image')}"
    size = metric(abs(gain.value))
    if gain.value > 0 and not gain.holds_zero:
        return f"{opening}{subject} beats {opponent}, by {size} Dice {where} ({limits}); {tail}"
    ahead = f"{size} Dice {'ahead of' if gain.value >= 0 else 'behind'} {opponent}, {where} ({limits})"
    if gain.holds_zero:
        return f"{opening}{subject} is {ahead}, and as the interval includes zero, nothing tells the two apart; {tail}"
    return f"{opening}{subject} ranks first on the validation split, but is {ahead}; {tail}"


def _rival(compared: Compared, best: TrialRecord) -> int | None:
    """Return the place of the best baseline other than the winner; None where there is none."""
    others = (place for place, record in enumerate(compared.trials) if record.baseline and record.name != best.name)
    return next(others, None)


def answer(trials: Sequence[TrialRecord]) -> str:
    """Return the answer as plain text.

    With nothing trained to the full budget it says so, and names the lowest validation Dice loss so far, if any.
    """
    ranked = ranking(trials)
    called = names(trials)
    if not ranked:
        return _nothing_ranked(trials, called)
    best = ranked[0]
    row = _best_row(best)
    described = "; ".join(part for part in (role(best), settings(best, varied_fields(trials))) if part)
    sentence = (
        f"Best of {plural(len(ranked), 'trial')} trained to the full budget: "
        f"{called[best.trial]} ({described}), with validation Dice loss "
        f"{metric(row['val_dice_loss'])} and IoU {metric(row['val_iou'])} at epoch {row['epoch']} "
        f"of {setting(best, 'epochs')}"
    )
    if best.baseline:
        return sentence + _ahead_of_next(ranked, called)
    baseline = next((record for record in ranked if record.baseline), None)
    if baseline is None:
        return f"{sentence}; no baseline was trained to the full budget, so there is none to compare it with."
    other = _best_row(baseline)
    return (
        f"{sentence}: {_difference(row, other)} than the best baseline, "
        f"{with_role(called[baseline.trial], baseline)}, with {_pair(other)}."
    )


def _nothing_ranked(trials: Sequence[TrialRecord], called: dict[str, str]) -> str:
    statuses = Counter(record.status for record in ordered(trials))
    counts = ", ".join(f"{number} {STATUS_WORDS[status]}" for status, number in statuses.items()) or "none planned"
    # `min` over all groups: an interrupted trial may be further on than one stopped early.
    begun = [record for record in ordered(trials) if record.rows]
    if not begun:
        return f"No trial has finished an epoch, so there is nothing to rank (trials: {counts})."
    best = min(begun, key=lambda record: _best_row(record)["val_dice_loss"])
    row = _best_row(best)
    return (
        f"No trial has been trained to its full budget, so nothing is ranked (trials: {counts}); the lowest validation "
        f"Dice loss so far is {metric(row['val_dice_loss'])} (IoU {metric(row['val_iou'])}), by "
        f"{with_role(called[best.trial], best)} at epoch {row['epoch']} of {setting(best, 'epochs')}."
    )


def _ahead_of_next(ranked: Sequence[TrialRecord], called: dict[str, str]) -> str:
    best, *others = ranked
    searched = [record for record in others if not record.baseline]
    if searched:
        closest = searched[0]
        return (
            f"; no searched configuration does better, and the closest, {called[closest.trial]}, has "
            f"{_pair(_best_row(closest))}."
        )
    different = [record for record in others if record.name != best.name]
    if different:
        following = different[0]
        return f"; next comes {with_role(called[following.trial], following)}, with {_pair(_best_row(following))}."
    return "; there is no other configuration to compare it with."


def _best_row(record: TrialRecord) -> dict[str, Any]:
    row = record.best_row
    if row is None:
        raise ValueError(f"trial {record.trial} has no rows")
    return row


def _pair(row: dict[str, Any]) -> str:
    return f"Dice loss {metric(row['val_dice_loss'])} and IoU {metric(row['val_iou'])}"


def _difference(row: dict[str, Any], other: dict[str, Any]) -> str:
    less_loss = other["val_dice_loss"] - row["val_dice_loss"]
    more_iou = row["val_iou"] - other["val_iou"]
    return (
        f"{metric(less_loss)} lower Dice loss and {metric(abs(more_iou))} {'higher' if more_iou >= 0 else 'lower'} IoU"
    )
