"""What a metric is: its declaration, and how it is computed from figures of single images."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bts_tune.errors import ConfigError
from bts_tune.registry import METRICS
from bts_tune.results.record.objective import Objective, metric_keys
from bts_tune.results.record.scores import SUMS
from bts_tune.text import quoted

if TYPE_CHECKING:
    import torch

_HAIR = 1e-6
"""By how much rounding may lead out of a range."""
_told: set[str] = set()
"""Metrics of which it was said that they left their range; once is enough."""

__all__ = ["METRICS", "ImageStatistics", "Metric"]


class ImageStatistics:
    """Figures of every image of a split, by name: float64 [N] each.

    Always there are the sums over the pixels of an image that `SUMS` names: `true_positives`, `false_positives` and
    `false_negatives` at the threshold 0.5; `overlap`, `predicted` and `truth`, which are sum p*y, sum p and sum y of
    probabilities p and truth y. What else there is, the metrics themselves gave by `Metric.image_statistics`.
    """

    def __init__(self, columns: Sequence[str], values: NDArray[np.float64]) -> None:
        """Take the names of the columns, `SUMS` first, and the values, float64 [N, K]."""
        self.columns, self._values = tuple(columns), values

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return one figure of every image, [N].

        Raises:
            KeyError: there is none of this name.
        """
        if name not in self.columns:
            raise KeyError(f"no statistic {name!r}; there are {', '.join(self.columns)}")
        return self._values[:, self.columns.index(name)]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._values)

    @property
    def sums(self) -> NDArray[np.float64]:
        """The sums of each image, [N, 6], in the order of `SUMS`."""
        return self._values[:, : len(SUMS)]

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """The sums over all images, [6], in the order of `SUMS`."""
        return self._values.sum(axis=0)[: len(SUMS)]

    def of(self, metric: Metric) -> ImageStatistics:
        """Return the statistics as a metric sees them: the sums, and its own by the names that it gave them."""
        if not metric.statistics:
            return self
        own = [f"{metric.key()}.{name}" for name in metric.statistics]
        values = np.column_stack([self.sums, *(self[name] for name in own)])
        return ImageStatistics([*SUMS, *metric.statistics], values)

    @property
    def further(self) -> Mapping[str, NDArray[np.float64]]:
        """The figures that are not among `SUMS`, by name."""
        return {name: self[name] for name in self.columns[len(SUMS) :]}


class Metric(ABC):
    """One figure of a model on a split.

    A metric is declared once, here: the columns `val_<key>` and `test_<key>`, their definition in every report and in
    the documentation are made from its attributes. It is computed from figures of single images, so that neither the
    batch size nor the order of the images has an effect.

    A metric that needs more than the sums that `ImageStatistics` always has names its own figures in `statistics` and
    computes them, batch by batch, in `image_statistics`.

    Attributes:
        name: the name that it is registered under; set by the registry.
        title: what a reader calls it.
        definition: how it is computed, in one sentence, for the report.
        direction: whether a lower or a higher value is better.
        range: the lowest and the highest value that it can have.
        unit: of its values; empty for a share.
        source: the paper or rule that defines it; empty where the definition says all.
        statistics: names of the figures of an image that `image_statistics` gives.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    definition: ClassVar[str]
    direction: ClassVar[Literal["minimize", "maximize"]]
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = ""
    source: ClassVar[str] = ""
    statistics: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def check_declared(cls, name: str) -> None:
        """Raise a `ConfigError` where columns cannot be named so, or the direction is none."""
        if name == "loss" or not re.fullmatch("[a-z0-9-]{1,100}", name):
            raise ConfigError(
                f"metric {name!r}: columns are named after it, so its name must be of at most 100 lower-case letters, "
                "digits and hyphens, and not 'loss'."
            )
        direction = getattr(cls, "direction", None)
        if direction not in ("minimize", "maximize"):
            raise ConfigError(f"metric {name!r}: direction must be 'minimize' or 'maximize', got {quoted(direction)}.")

    @classmethod
    def key(cls) -> str:
        """Return the metric's part of a column's name: `val_<key>`."""
        return cls.name.replace("-", "_")

    def image_statistics(self, probability: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the figures of each image that `statistics` names.

        Args:
            probability: of tumour, float32 in 0..1, [n, 1, S, S].
            truth: float32, 0 or 1, of the same shape.

        Returns:
            [n, k] on the same device, a column for each of `statistics`.
        """
        raise NotImplementedError(f"metric {self.name!r} names statistics and must compute them")

    def value_of(self, images: ImageStatistics) -> float | None:
        """Return what `compute` does, as a number of Python's own, which a record and a checkpoint can hold.

        Raises:
            ConfigError: it is no number.
        """
        found = self.compute(images)
        try:
            value = None if found is None else float(found)
        except (TypeError, ValueError):
            raise ConfigError(
                f"metric {self.name!r}: computed {quoted(found)}; it must be a number, or None where it is not defined."
            ) from None
        lowest, highest = self.range
        if value is not None and (value < lowest - _HAIR or value > highest + _HAIR) and self.name not in _told:
            _told.add(self.name)
            logging.getLogger(__name__).warning(
                "Metric %r: computed %g, which is outside its range of %g to %g; correct its range or what it "
                "computes.",
                self.name,
                value,
                lowest,
                highest,
            )
        return value

    @abstractmethod
    def compute(self, images: ImageStatistics) -> float | None:
        """Return the metric of a split of at least one image; None where it is not defined on these images."""


def metrics_in_use() -> list[Metric]:
    """Return every metric that is computed: our own in the order of the tables, then those of plugins."""
    own = metric_keys()
    metrics = [METRICS.get(name)() for name in METRICS.names()]
    return sorted(metrics, key=lambda metric: own.index(metric.key()) if metric.key() in own else len(own))


def objective(name: str) -> Objective:
    """Return the metric of this name as an objective.

    Raises:
        ConfigError: there is none.
    """
    metric = METRICS.get(name)
    return Objective.of(metric.key(), metric.direction, metric.title, metric.range)
