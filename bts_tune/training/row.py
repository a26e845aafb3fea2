"""The row that each epoch of a trial gives. Whoever keeps rows need not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One epoch of one trial. Seconds are wall-clock; images per second count the training steps alone.

    `train_dice_loss` is the pooled soft Dice loss of the epoch's own training batches, augmentation and dropout on;
    `validation` holds `val_loss` and `val_<key>` of every metric, `best` the objective's best value so far, as
    `best_val_<key>`.
    """

    epoch: int
    train_loss: float
    train_dice_loss: float
    validation: dict[str, float | None]
    best: dict[str, float]
    best_epoch: int
    learning_rate: float
    trainable_parameters: int
    seconds: float
    train_seconds: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return the columns by name."""
        columns: dict[str, Any] = {}
        for name, value in vars(self).items():
            columns |= value if isinstance(value, dict) else {name: value}
        return columns

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any]) -> Row:
        """Return the row that `to_dict` made columns of.

        Raises:
            TypeError, KeyError: they are those of no row.
        """
        validation = {name: value for name, value in columns.items() if name.startswith("val_")}
        best = {name: value for name, value in columns.items() if name.startswith("best_val_")}
        others = {name: value for name, value in columns.items() if name not in (*validation, *best)}
        return cls(validation=validation, best=best, **others)

    @property
    def val_dice_loss(self) -> float:
        """The validation Dice loss."""
        value = self.validation["val_dice_loss"]
        assert value is not None
        return value
