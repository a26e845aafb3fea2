"""Plans and records for tests, without training anything."""

from __future__ import annotations

from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.results.record.run_folder import TrialRecord, TrialStatus


def planned(trial: str, *, index: int = 0, baseline: bool = False, **fields: Any) -> PlannedTrial:
    """A planned trial with some fields of its configuration."""
    return PlannedTrial(trial, trial, index, baseline, TrialConfig.parse({"epochs": 4, **fields}))


def result(epoch: int, value: float, *, best: float | None = None) -> dict[str, Any]:
    """What a trial reports after an epoch."""
    best = value if best is None else best
    return {
        "epoch": epoch,
        "train_loss": 1.0,
        "train_dice_loss": value,
        "val_loss": 1.0,
        "val_dice_loss": value,
        "val_iou": 1 - value,
        "val_dice_image": None,
        "val_iou_image": None,
        "val_empty_false_positive_rate": None,
        "best_val_dice_loss": best,
        "best_epoch": epoch,
        "learning_rate": 1e-3,
        "trainable_parameters": 10,
        "seconds": 1.0,
        "train_seconds": 0.5,
        "images_per_second": 100.0,
    }


def record(trial: PlannedTrial, values: list[float], status: TrialStatus = "complete") -> TrialRecord:
    """What the record says of a trial with these validation Dice losses."""
    rows = [
        {"trial": trial.trial, **result(epoch, value, best=min(values[:epoch]))}
        for epoch, value in enumerate(values, start=1)
    ]
    return TrialRecord(trial=trial.trial, **trial.event(), status=status, rows=rows)
