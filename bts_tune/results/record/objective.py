"""The objective: the validation metric that chooses a trial's best epoch, and by which trials are ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bts_tune.registry import METRICS

RANKING_KEYS = ("dice-loss", "iou")
"""The metrics that every ranking shows and that break ties, in this order; the first is the default objective."""

_FURTHEST = 1e9
"""Stands for the worst value of a metric without a bound: Ray and Optuna need a number."""


@dataclass(frozen=True)
class Objective:
    """A metric as an objective; the default is the Dice loss. `run.json` keeps it, so that a report needs no plugin.

    Attributes:
        metric: the metric's part of a column's name: `val_<metric>`.
        direction: whether a lower or a higher value is better.
        title: what a reader calls the metric.
        worst: the worst value that it can have.
        perfect: the best one.
    """

    metric: str = "dice_loss"
    direction: Literal["minimize", "maximize"] = "minimize"
    title: str = "Dice loss"
    worst: float = 1.0
    perfect: float = 0.0

    @classmethod
    def of(
        cls, metric: str, direction: Literal["minimize", "maximize"], title: str, limits: tuple[float, float]
    ) -> Objective:
        """Return the objective of a metric whose values lie within `limits`."""
        low, high = (max(-_FURTHEST, min(_FURTHEST, limit)) for limit in limits)
        worst, perfect = (high, low) if direction == "minimize" else (low, high)
        return cls(metric, direction, title, worst, perfect)

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> Objective:
        """Return the objective that `run.json` keeps; the Dice loss in a run of an earlier version."""
        kept = run.get("objective")
        return cls(**{name: kept[name] for name in asdict(cls())}) if kept else cls()

    def to_dict(self) -> dict[str, Any]:
        """Return what `of_run` reads."""
        return asdict(self)

    @property
    def column(self) -> str:
        """The column of an epoch's value."""
        return f"val_{self.metric}"

    @property
    def best_column(self) -> str:
        """The column of the best value so far, which Ray, the scheduler and Optuna see."""
        return f"best_val_{self.metric}"

    @property
    def mode(self) -> str:
        """What Ray Tune calls the direction: 'min' or 'max'."""
        return self.direction[:3]

    @property
    def is_ranking_key(self) -> bool:
        """Whether every ranking shows the metric anyway."""
        return self.metric in (_key(name) for name in RANKING_KEYS)

    @property
    def better(self) -> str:
        """'lower' or 'higher'."""
        return "lower" if self.direction == "minimize" else "higher"

    @property
    def best_word(self) -> str:
        """'lowest' or 'highest'."""
        return "lowest" if self.direction == "minimize" else "highest"

    def value(self, row: Mapping[str, Any]) -> float:
        """Return an epoch's value; the worst where the metric is not defined on the split, or was not recorded."""
        found = row.get(self.column)
        return self.worst if found is None else float(found)

    def cost(self, value: float) -> float:
        """Return a value so that lower is better."""
        return value if self.direction == "minimize" else -value

    def distance(self, value: float) -> float:
        """Return how far a value is from a perfect one, at least 0: of the Dice loss, itself."""
        return abs(value - self.perfect)

    def cost_of(self, row: Mapping[str, Any]) -> float:
        """Return the cost of an epoch's value."""
        return self.cost(self.value(row))

    def gain(self, value: float, reference: float) -> float:
        """Return by how much a value is better than another; negative where it is worse."""
        return self.cost(reference) - self.cost(value)

    def sort_key(self, value: float, dice_loss: float, iou: float) -> tuple[float, float, float]:
        """Return what puts the best first: the objective, then the Dice loss, then the IoU."""
        return (self.cost(value), dice_loss, -iou)

    def rank_of(self, row: Mapping[str, Any]) -> tuple[float, float, float]:
        """Return the `sort_key` of one epoch's row."""
        return self.sort_key(self.value(row), row["val_dice_loss"], row["val_iou"])


DICE_LOSS = Objective()
"""The default."""


def objective_of(trials: Sequence[Any]) -> Objective:
    """Return the objective of a run's trials; all have the same."""
    found: Objective = trials[0].objective if trials else DICE_LOSS
    return found


def metric_keys() -> tuple[str, ...]:
    """Return the keys of our own metrics as tables list them: the ranking keys, then the others by name."""
    own = [name for name in METRICS.names() if not METRICS.is_plugin(name)]
    return tuple(_key(name) for name in sorted(own, key=lambda name: (_place(name), name)))


def _place(name: str) -> int:
    return RANKING_KEYS.index(name) if name in RANKING_KEYS else len(RANKING_KEYS)


def _key(name: str) -> str:
    return name.replace("-", "_")
