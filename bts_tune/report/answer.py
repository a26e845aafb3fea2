"""The run's answer in one sentence: which configuration is best, how good it is, and what it gains on the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bts_tune.report.leaderboard import ordered, ranking
from bts_tune.report.words import STATUS_WORDS, metric, names, plural, role, setting, settings, varied_fields, with_role
from bts_tune.store import TrialRecord


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
