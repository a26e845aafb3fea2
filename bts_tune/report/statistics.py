"""What a finite set of images can tell: intervals, paired comparisons and the stability of a ranking.

Every figure follows from the sums of each image (`training/scores.py`), so nothing is predicted again.

Intervals come from the non-parametric bootstrap: the images of the split are drawn with replacement, the metric is
pooled over the drawn ones, and the interval is the bias-corrected and accelerated one (BCa; Efron, 'Better bootstrap
confidence intervals', JASA 1987), by `scipy.stats.bootstrap`. Where groups are given, whole groups are drawn instead:
slices of one patient are no independent images (Davison and Hinkley, 'Bootstrap Methods and their Application', 1997,
section 3.8). All trials are measured on the same draws, so that differences are paired.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bts_tune.training.scores import EPS, SUMS

LEVEL = 0.95
RESAMPLES = 9999
SEED = 0
_TP, _FP, _FN, _OVERLAP, _PREDICTED, _TRUTH, _ = range(len(SUMS))
_MAX_CELLS = 4_000_000
"""Largest table of draws held at a time."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure and its interval at `LEVEL`; the limits are None where a single image or group cannot give any."""

    value: float
    low: float | None
    high: float | None

    def __neg__(self) -> Interval:
        """The interval of the figure with its sign changed."""
        return Interval(-self.value, None if self.high is None else -self.high, None if self.low is None else -self.low)

    @property
    def holds_zero(self) -> bool:
        """Whether the interval leaves open which way the figure points; so it does where there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


@dataclass(frozen=True)
class Resampled:
    """What `resample` found; one entry a trial, in the order given.

    Attributes:
        dice_loss: pooled Dice loss.
        iou: pooled IoU.
        dice_gain: the reference's pooled Dice loss minus the trial's: positive where the trial is better.
        iou_gain: the trial's pooled IoU minus the reference's.
        first: share of the draws in which the trial has the lowest pooled Dice loss; equals share a draw.
        units: how many images, or groups, were drawn from.
    """

    dice_loss: list[Interval]
    iou: list[Interval]
    dice_gain: list[Interval]
    iou_gain: list[Interval]
    first: list[float]
    units: int


def pooled_dice_loss(sums: Floats) -> Floats:
    """Return 1 - (2 sum p*y + eps) / (sum p + sum y + eps), from sums [..., 7] already pooled over images."""
    return 1 - (2 * sums[..., _OVERLAP] + EPS) / (sums[..., _PREDICTED] + sums[..., _TRUTH] + EPS)


def pooled_iou(sums: Floats) -> Floats:
    """Return TP / (TP + FP + FN), 1 where that is 0 / 0, from sums [..., 7] already pooled over images."""
    union = sums[..., _TP] + sums[..., _FP] + sums[..., _FN]
    return np.divide(sums[..., _TP], union, out=np.ones_like(union), where=union > 0)


def image_dice(sums: Floats) -> Floats:
    """Return 2 TP / (2 TP + FP + FN) of each image, from sums [..., 7]; NaN where neither holds a tumour."""
    whole = 2 * sums[..., _TP] + sums[..., _FP] + sums[..., _FN]
    return np.divide(2 * sums[..., _TP], whole, out=np.full_like(whole, np.nan), where=whole > 0)


def has_tumour(sums: Floats) -> NDArray[np.bool_]:
    """Return whether the truth of each image holds a tumour, from sums [..., 7]."""
    return sums[..., _TRUTH] > 0


def missed(sums: Floats) -> NDArray[np.bool_]:
    """Return whether an image holds a tumour of which not one pixel is predicted, from sums [..., 7]."""
    return has_tumour(sums) & (sums[..., _TP] == 0)


def resample(
    sums: Floats, reference: int = 0, groups: Sequence[str] | None = None, *, resamples: int = RESAMPLES
) -> Resampled:
    """Measure trials on bootstrap draws of the same images.

    The order of the images changes nothing, and the same arguments give the same figures.

    Args:
        sums: float64 [K, N, 7], of K trials over the same N images, columns as in `SUMS`; N is at least 1.
        reference: the trial that the others are compared with.
        groups: the group of each image, [N]; then whole groups are drawn.
        resamples: how many draws.
    """
    trials = len(sums)
    units = _units(sums, groups)
    count = len(units)
    table = units.reshape(count, -1)

    def measure(drawn: NDArray[np.int64], axis: int = -1) -> Floats:  # scipy gives draws [..., count]
        draws = drawn.reshape(-1, drawn.shape[-1])
        places = draws + count * np.arange(len(draws))[:, np.newaxis]
        weights = np.bincount(places.ravel(), minlength=len(draws) * count).reshape(len(draws), count)
        pooled = (weights @ table).reshape(len(draws), trials, len(SUMS))
        loss, iou = pooled_dice_loss(pooled), pooled_iou(pooled)
        gains = loss[:, [reference]] - loss, iou - iou[:, [reference]]
        return np.concatenate([loss, iou, *gains], axis=1).T.reshape(4 * trials, *drawn.shape[:-1])

    values = measure(np.arange(count))
    if count < 2:
        measured = [Interval(float(value), None, None) for value in values]
        first = _first(values[:trials, np.newaxis])
    else:
        with warnings.catch_warnings():
            # Trials that are equal on every image have a difference of one value only; see below.
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (np.arange(count),),
                measure,
                n_resamples=resamples,
                batch=max(1, _MAX_CELLS // count),
                vectorized=True,
                confidence_level=LEVEL,
                method="BCa",
                rng=np.random.default_rng(SEED),
            )
        drawn = found.bootstrap_distribution
        # BCa is not defined where the figure lies outside of all draws or never changes; percentiles always are.
        tail = 100 * (1 - LEVEL) / 2
        percentiles = np.percentile(drawn, [tail, 100 - tail], axis=-1)
        low = np.where(np.isfinite(found.confidence_interval.low), found.confidence_interval.low, percentiles[0])
        high = np.where(np.isfinite(found.confidence_interval.high), found.confidence_interval.high, percentiles[1])
        limits = zip(values, low, high, strict=True)
        measured = [Interval(float(value), float(lower), float(upper)) for value, lower, upper in limits]
        first = _first(drawn[:trials])
    loss, iou, dice_gain, iou_gain = (measured[start : start + trials] for start in range(0, 4 * trials, trials))
    return Resampled(loss, iou, dice_gain, iou_gain, first, count)


def wilcoxon(sums: Floats, reference: Floats, groups: Sequence[str] | None = None) -> float | None:
    """Return the two-sided p value of the Wilcoxon signed-rank test on the Dice of each image that holds a tumour.

    Zero differences are ranked and then dropped (Pratt, JASA 1959). With groups, the mean difference of each group
    takes the place of its images.

    Args:
        sums: float64 [N, 7], of one trial.
        reference: float64 [N, 7], of the other, on the same images.
        groups: the group of each image, [N].

    Returns:
        The p value; 1 where no image differs; None where no image holds a tumour.
    """
    chosen = has_tumour(reference)
    difference = image_dice(sums[chosen]) - image_dice(reference[chosen])
    if groups is not None:
        _, members = np.unique(np.asarray(groups)[chosen], return_inverse=True)
        difference = np.bincount(members, weights=difference) / np.bincount(members)
    if not len(difference):
        return None
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, Scand. J. Statist. 1979), in the order given."""
    count = len(p_values)
    corrected = [0.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@dataclass(frozen=True)
class Spread:
    """The mean and the sample standard deviation of one recipe's seeds; of a single seed there is no deviation."""

    count: int
    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and spread of at least one value."""
    return Spread(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _units(sums: Floats, groups: Sequence[str] | None) -> Floats:
    """Return the sums of what is drawn, float64 [units, K, 7], in an order that follows from the sums alone."""
    images = np.ascontiguousarray(sums.swapaxes(0, 1))
    if groups is not None:
        found, members = np.unique(np.asarray(groups), return_inverse=True)
        summed = np.zeros((len(found), *images.shape[1:]))
        np.add.at(summed, members, images)
        images = summed
    return images[np.lexsort(images.reshape(len(images), -1).T)]


def _first(losses: Floats) -> list[float]:
    """Return how often each trial, of losses [K, draws], is the lowest; equals share a draw."""
    lowest = losses == losses.min(axis=0)
    return [float(share) for share in (lowest / lowest.sum(axis=0)).mean(axis=1)]
