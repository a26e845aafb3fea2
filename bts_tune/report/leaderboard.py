"""The ranking: full-budget trials by validation Dice loss, then IoU; and the tables that become the CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bts_tune.config import FIELDS
from bts_tune.report.words import setting
from bts_tune.store import TrialRecord

METRICS = (
    "val_dice_loss",
    "val_iou",
    "val_dice_image",
    "val_iou_image",
    "val_empty_false_positive_rate",
    "val_loss",
    "train_dice_loss",
    "train_loss",
)
"""Metrics of an epoch, as the design defines them; the leaderboard shows a trial's best epoch."""

TEST_METRICS = (
    "test_dice_loss",
    "test_iou",
    "test_dice_image",
    "test_iou_image",
    "test_empty_false_positive_rate",
    "test_loss",
)
"""Metrics of the test split at a trial's best epoch; present for the best trial and the baselines alone."""

_TRIAL_COLUMNS = ("name", "trial", "seed", "baseline", "changed")
_EPOCH_COLUMNS = (
    "epoch",
    "train_loss",
    "train_dice_loss",
    "val_loss",
    "val_dice_loss",
    "val_iou",
    "val_dice_image",
    "val_iou_image",
    "val_empty_false_positive_rate",
    "best_val_dice_loss",
    "best_epoch",
    "learning_rate",
    "trainable_parameters",
    "seconds",
    "train_seconds",
    "images_per_second",
    "time",
)
_INTEGERS = (
    "rank",
    "best_epoch",
    "epochs_run",
    "epochs",
    "parameters",
    "trainable_parameters",
    "seed",
    "epoch",
)
_GROUPS = {
    "complete": 0,
    "stopped": 1,
    "interrupted": 2,
    "running": 2,
    "diverged": 3,
    "oom": 3,
    "failed": 3,
    "waiting": 4,
}


def is_ranked(record: TrialRecord) -> bool:
    """Whether a trial takes part in the ranking: trained to the full budget, with its rows on record."""
    return record.full_budget and bool(record.rows)


def ordered(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials as every table lists them.

    Ranked ones come first (validation Dice loss, then IoU at that epoch, higher first, then identifier); then those
    stopped early, interrupted or running, diverged, out of memory or failed, and waiting, each group in the same order.
    Trials without rows close their group in the order of planning. A complete trial whose rows are lost stands with the
    failed ones.
    """
    return sorted(trials, key=_sort_key)


def ranking(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the full-budget trials, best first."""
    return [record for record in ordered(trials) if is_ranked(record)]


def best_baselines(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the best-ranked seed of every baseline, best first."""
    first: dict[str, TrialRecord] = {}
    for record in ranking(trials):
        if record.baseline:
            first.setdefault(record.name, record)
    return list(first.values())


def total_seconds(record: TrialRecord) -> float | None:
    """Return the seconds that the recorded epochs took, validation included; None without rows."""
    return math.fsum(row.get("seconds") or 0.0 for row in record.rows) if record.rows else None


def leaderboard(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row a trial, in the order of `ordered`.

    Columns: `rank` (Int64; full-budget trials only), what the trial is and how it ended, `METRICS` at its best epoch,
    `TEST_METRICS`, `best_epoch`, `epochs_run`, `epochs` (the budget), `seconds` (all epochs, validation included),
    `images_per_second` (training images over training time), `parameters`, `trainable_parameters` (at the best epoch),
    `seed`, `config_id`, `recipe_id`, then every other field of `TrialConfig`. What is not known is missing.
    """
    rows = []
    ranks = {record.trial: rank for rank, record in enumerate(ranking(trials), start=1)}
    for record in ordered(trials):
        best = record.best_row or {}
        row: dict[str, Any] = {
            "rank": ranks.get(record.trial),
            "name": record.name,
            "trial": record.trial,
            "status": record.status,
            "reason": record.reason,
            "baseline": record.baseline,
            "changed": ";".join(record.changed),
        }
        row |= {name: best.get(name) for name in METRICS}
        row |= {name: record.test.get(name) for name in TEST_METRICS}
        row |= {
            "best_epoch": best.get("epoch"),
            "epochs_run": len(record.rows),
            "epochs": setting(record, "epochs"),
            "seconds": total_seconds(record),
            "images_per_second": _images_per_second(record),
            "parameters": record.started.get("parameters"),
            "trainable_parameters": best.get("trainable_parameters", record.started.get("trainable_parameters")),
            "seed": setting(record, "seed"),
            "config_id": record.config_id,
            "recipe_id": record.recipe_id,
        }
        row |= {field: setting(record, field) for field in FIELDS if field not in row}
        rows.append(row)
    columns = list(rows[0]) if rows else _empty_columns()
    return _typed(pd.DataFrame(rows, columns=columns), (*METRICS, *TEST_METRICS, "seconds", "images_per_second"))


def epochs_table(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row an epoch: trials in the order of planning, epochs ascending, every recorded metric."""
    rows = [
        {
            "name": record.name,
            "trial": record.trial,
            "seed": setting(record, "seed"),
            "baseline": record.baseline,
            "changed": ";".join(record.changed),
            **{name: row.get(name) for name in _EPOCH_COLUMNS},
        }
        for record in sorted(trials, key=lambda record: (record.index, record.trial))
        for row in record.rows
    ]
    frame = pd.DataFrame(rows, columns=[*_TRIAL_COLUMNS, *_EPOCH_COLUMNS])
    return _typed(frame, [name for name in _EPOCH_COLUMNS if name not in _INTEGERS])


def _sort_key(record: TrialRecord) -> tuple[int, float, float, int, str]:
    best = record.best_row
    if best is None:
        group = 3 if record.status == "complete" else _GROUPS[record.status]
        return (group, math.inf, math.inf, record.index, record.trial)
    return (_GROUPS[record.status], best["val_dice_loss"], -best["val_iou"], 0, record.trial)


def _images_per_second(record: TrialRecord) -> float | None:
    """Training images over training time of all epochs, so that a slow first epoch weighs by its length."""
    timed = [row for row in record.rows if row.get("train_seconds") and row.get("images_per_second") is not None]
    seconds = math.fsum(row["train_seconds"] for row in timed)
    if not seconds:
        return None
    return math.fsum(row["images_per_second"] * row["train_seconds"] for row in timed) / seconds


def _empty_columns() -> list[str]:
    blank = TrialRecord("", "", 0, False, [], None, {}, "", "")
    return list(leaderboard([blank]).columns)


def _typed(frame: pd.DataFrame, floats: Sequence[str]) -> pd.DataFrame:
    """Give the numeric columns one type whatever is missing, so that the CSV never turns `12` into `12.0`."""
    types = dict.fromkeys(floats, "float64") | {name: "Int64" for name in _INTEGERS if name in frame.columns}
    return frame.astype(types)
