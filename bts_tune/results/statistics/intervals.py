"""What a finite set of images and of seeds can tell: intervals, paired comparisons and the stability of a ranking.

Every number here follows from the sums of each image (`results/record/scores.py`), so nothing is predicted again. A
configuration's value is the mean of its replicates' values (its trainings with several seeds), and what it estimates
is the expected value of a new training on new images. Two kinds of chance part them, and an interval holds both:

- which images the split has: the non-parametric bootstrap. The images are drawn with replacement, the metric is pooled
  over the drawn ones and averaged over the replicates, and the interval is the bias-corrected and accelerated one (BCa;
  Efron, 'Better bootstrap confidence intervals', JASA 1987), by `scipy.stats.bootstrap`; from 5,000 drawn units on,
  which hardly need the correction, that of plain percentiles. Where groups are given, whole
  groups are drawn instead: slices of one patient are no independent images (Davison and Hinkley, 'Bootstrap Methods and
  their Application', 1997, section 3.8). Of a cross-validation the metric is pooled within each fold and averaged over
  the folds, as the ranking does. A mean over images with a tumour has no value in a draw without any, and is drawn
  again.
- which seeds were trained: the variance of the mean over replicates. Three or five seeds are too few to be drawn with
  replacement: the drawn means would vary too little, by the factor (R - 1) / R, and never leave the few that are there.

The two variances are added, as for readers and cases in studies of diagnosis, and the limits of the first are moved
out by the root of what that adds, and by Student's t in place of the normal quantile, with the degrees of freedom of
such a sum (Satterthwaite, Biometrics 1946): that keeps the asymmetry of the first. The replicates are measured on the
same images, so that a part of their variance counts twice; it makes up for what few seeds and groups lack. All
configurations are measured on the same draws and paired by seed, so that differences are paired in both.

No interval leaves the range of its value: 0 to 1 of a metric, -1 to 1 of a difference of two. BCa limits are values
of draws. They are moved out on the logit scale of the range and taken back: on it a value has no end to run into, BCa
limits are BCa limits still (DiCiccio and Efron, 'Bootstrap confidence intervals', Statistical Science 1996), and
variances become their first-order ones (the delta method, as in the logit interval of a proportion: Brown, Cai and
DasGupta, 'Interval estimation for a binomial proportion', Statistical Science 2001). Of a difference the scale is, but
for a factor, Fisher's z. As every variance of a value is multiplied by the same, neither the root nor the degrees of
freedom change, and the limits of a narrow interval amid the range hardly do. Cutting limits off at the end of the range
would cover as often, but it would state the end itself, which no mean of different values can be.

How often such intervals hold the truth, beside those of images alone and of seeds drawn with replacement, is measured
by `scripts/simulate_selection.py`; its results are in docs/statistics.md.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.scores import SUMS, Floats, has_tumour, image_dice, image_iou, pooled_dice_loss, pooled_iou

LEVEL = 0.95
RESAMPLES = 9999
SEED = 0
_MANY = 5000
"""Units from which on limits are plain percentiles: BCa leaves out each unit once, in a time that grows with the square
of their number, and what it corrects shrinks with the root of it."""
_MAX_CELLS = 4_000_000
"""Largest table of draws held at a time."""


@dataclass(frozen=True)
class Interval:
    """A value and its interval at `LEVEL`; the limits are None where a single image or group cannot give any."""

    value: float
    low: float | None
    high: float | None

    def __neg__(self) -> Interval:
        """The interval of the value with its sign changed."""
        return Interval(-self.value, None if self.high is None else -self.high, None if self.low is None else -self.low)

    @property
    def includes_zero(self) -> bool:
        """Whether the interval leaves open which sign the value has; so it does where there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


@dataclass(frozen=True)
class Resampled:
    """What `resample` found; one entry a configuration, in the order given.

    Attributes:
        dice_loss: mean over replicates of the pooled Dice loss.
        iou: mean over replicates of the pooled IoU.
        dice_gain: the reference's Dice loss minus the configuration's: positive where the configuration is better.
        iou_gain: the configuration's IoU minus the reference's.
        value: mean over replicates of the objective.
        gain: by how much it is better than the reference's; negative where it is worse.
        first: share of the draws in which the configuration is the best by the objective; equals share a draw. None
            where a single image or group allows no draws.
        units: how many images, or groups, were drawn from.
        replicates: how many replicates each configuration has.
    """

    dice_loss: list[Interval]
    iou: list[Interval]
    dice_gain: list[Interval]
    iou_gain: list[Interval]
    value: list[Interval]
    gain: list[Interval]
    first: list[float] | None
    units: int
    replicates: list[int]


def resample(
    sums: Floats,
    reference: int = 0,
    groups: Sequence[Hashable] | None = None,
    *,
    folds: Sequence[int] | None = None,
    objective: Objective = DICE_LOSS,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Measure configurations on bootstrap draws of the same images, and on what their seeds leave open.

    The order of the images changes nothing, nor does that of the replicates or of the configurations but for the last
    digits, and the same arguments give the same values.

    Args:
        sums: float64 [K, R, N, 6], of K configurations with up to R replicates over the same N images, columns as in
            `SUMS`; N is at least 1. Replicate r of each configuration has the same seed; one that is not there is NaN,
            and each configuration has at least one.
        reference: the configuration that the others are compared with.
        groups: the group of each image, [N]; then whole groups are drawn.
        folds: the fold of each image, [N]; then a metric is the mean over the folds that have a drawn image.
        objective: one that these images define (`is_defined`): the pooled Dice loss or IoU, or a mean or share over
            images.
        resamples: how many draws.

    Of a configuration with a single replicate the interval is of images alone: nothing tells the spread of its seeds.

    Raises:
        ValueError: the objective is not defined.
    """
    if not is_defined(sums, objective.metric):
        raise ValueError(f"{objective.metric}: no image has a value of it")
    trials = len(sums)
    present = ~np.isnan(sums[:, :, 0, 0])
    counts = present.sum(axis=1)
    metrics = list(dict.fromkeys(("dice_loss", "iou", objective.metric)))
    sums = np.where(present[:, :, np.newaxis, np.newaxis], sums, 0.0)
    parts = [sums, *(_parts_of_mean(sums, metric) for metric in metrics[2:])]
    units = _units(_by_fold([*parts, np.ones((*sums.shape[:-1], 1))], folds), groups)
    count = len(units)
    table = units.reshape(count, -1)
    random = np.random.default_rng(SEED)

    def pooled(weights: Floats) -> list[Floats]:
        drawn = (weights @ table).reshape(len(weights), *units.shape[1:])
        images = drawn[..., -1]
        # But for rounding, all lie in 0..1.
        values = (np.where(images > 0, RESAMPLED[metric](drawn).clip(0, 1), np.nan) for metric in metrics)
        return [_mean_over_folds(value) for value in values]

    def pooled_again(weights: Floats) -> list[Floats]:
        values = pooled(weights)
        while (undefined := np.isnan(values[-1][:, present]).any(axis=1)).any():
            again = random.multinomial(count, np.full(count, 1 / count), undefined.sum()).astype(np.float64)
            values[-1][undefined] = pooled(again)[-1]
        return values

    def measure(drawn: NDArray[np.int64], axis: int = -1) -> Floats:  # scipy gives draws [..., count]
        draws = drawn.reshape(-1, drawn.shape[-1])
        places = draws + count * np.arange(len(draws))[:, np.newaxis]
        times = np.bincount(places.ravel(), minlength=len(draws) * count).reshape(len(draws), count)
        del places  # each of these tables is large
        weights = times.astype(np.float64)
        del times
        # One unit less, as BCa asks for, is no draw.
        values = pooled_again(weights) if draws.shape[-1] == count else pooled(weights)
        means = [np.where(present, value, 0.0).sum(axis=2) / counts for value in values]
        gains = [
            mean[:, [reference]] - mean if lower else mean - mean[:, [reference]]
            for mean, lower in zip(means, lower_is_better, strict=True)
        ]
        return np.concatenate([*means, *gains], axis=1).T.reshape(2 * len(metrics) * trials, *drawn.shape[:-1])

    lower_is_better = [metric == "dice_loss" or objective.mode == "min" for metric in metrics]
    lower_is_better[1] = False  # the IoU
    place = metrics.index(objective.metric)
    values = measure(np.arange(count))
    single = [np.where(present, value[0], np.nan) for value in pooled(np.ones((1, count)))]
    if count < 2:
        measured = [Interval(float(value), None, None) for value in values]
        first = None
    else:
        low, high, of_images, drawn = _image_limits(measure, values, count, resamples)
        drawn_values = drawn[place * trials : (place + 1) * trials]
        seeds = [_variance(row) for value in single for row in value]
        seeds += [_variance_of_difference(row, value[reference]) for value in single for row in value]
        lowest = np.repeat([0.0, -1.0], len(metrics) * trials)
        low, high = _widened(values, low, high, of_images, seeds, count, lowest)
        drawn_values = drawn_values + _seed_draws(single[place], drawn_values.shape[1])
        limits = zip(values, low, high, strict=True)
        measured = [Interval(float(value), float(lower), float(upper)) for value, lower, upper in limits]
        first = _first(drawn_values if objective.mode == "min" else -drawn_values)
        if len(metrics) > 2 and _fewest_that_count(units, present) < 2:
            of_objective = (*range(2 * trials, 3 * trials), *range(5 * trials, 6 * trials))
            measured = [
                Interval(one.value, None, None) if place in of_objective else one for place, one in enumerate(measured)
            ]
            first = None
    of_metric = [measured[start : start + trials] for start in range(0, 2 * len(metrics) * trials, trials)]
    means, gains = of_metric[: len(metrics)], of_metric[len(metrics) :]
    return Resampled(means[0], means[1], gains[0], gains[1], means[place], gains[place], first, count, counts.tolist())


_TOTAL, _NUMBER = len(SUMS), len(SUMS) + 1
"""The columns of `_parts_of_mean`, after the sums."""


def _mean(sums: Floats) -> Floats:
    """Return the mean over images, from its two parts in `sums`; NaN where no image of the draw has a value."""
    total, number = sums[..., _TOTAL], sums[..., _NUMBER]
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


RESAMPLED: Mapping[str, Callable[[Floats], Floats]] = {
    "dice_loss": pooled_dice_loss,
    "iou": pooled_iou,
    "dice_image": _mean,
    "iou_image": _mean,
    "empty_false_positive_rate": _mean,
}
"""The metrics that `resample` can take as the objective: from sums that were added up over drawn images."""


def _parts_of_mean(sums: Floats, metric: str) -> Floats:
    """Return each image's value, and 1 where it counts, of a metric that is a mean over images, [..., 2]."""
    with_tumour = has_tumour(sums)
    if metric == "empty_false_positive_rate":
        value, counts = (sums[..., SUMS.index("false_positives")] > 0).astype(np.float64), ~with_tumour
    else:
        value, counts = (image_dice if metric == "dice_image" else image_iou)(sums), with_tumour
    return np.stack([np.where(counts, value, 0.0), counts], axis=-1)


def is_defined(sums: Floats, metric: str) -> bool:
    """Return whether a metric of `RESAMPLED` has a value for every replicate that is there, of sums [K, R, N, 6]."""
    if RESAMPLED[metric] is not _mean:
        return True
    present = ~np.isnan(sums[:, :, 0, 0])
    return bool(_parts_of_mean(sums[present], metric)[..., 1].any(axis=-1).all())


def _by_fold(parts: Sequence[Floats], folds: Sequence[int] | None) -> Floats:
    """Return the columns of each image in the place of its fold, [K, R, N, folds, S], and 0 in those of all others."""
    columns = np.concatenate(parts, axis=-1)[..., np.newaxis, :]
    if folds is None:
        return columns
    return columns * (np.array(folds)[:, np.newaxis] == np.unique(folds))[..., np.newaxis]


def _mean_over_folds(values: Floats) -> Floats:
    """Return the mean over the last axis of those that are not NaN; NaN where all are."""
    there = ~np.isnan(values)
    total, number = np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _fewest_that_count(units: Floats, present: NDArray[np.bool_]) -> int:
    """Return how many units hold an image that a mean is over, in the replicate that has fewest of them."""
    return int((units[..., _NUMBER].sum(axis=-1) > 0).sum(axis=0)[present].min())


def _image_limits(
    measure: Callable[..., Floats], values: Floats, count: int, resamples: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return limits and variance of each value over draws of images, and the values [V, draws] of the draws."""
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
            method="BCa" if count < _MANY else "percentile",
            rng=np.random.default_rng(SEED),
        )
    drawn = found.bootstrap_distribution
    # BCa is not defined where the value lies outside of all draws or never changes; percentiles always are. They may
    # then lie on one side of the figure, which the other kind of chance would be joined to.
    tail = 100 * (1 - LEVEL) / 2
    percentiles = np.percentile(drawn, [tail, 100 - tail], axis=-1)
    low, high = found.confidence_interval
    low = np.minimum(np.where(np.isfinite(low), low, percentiles[0]), values)
    high = np.maximum(np.where(np.isfinite(high), high, percentiles[1]), values)
    return low, high, drawn.var(axis=-1, ddof=1), drawn


def _variance(values: Floats) -> tuple[float, float]:
    """Return the variance of the mean over replicates, [R], and its degrees of freedom; NaN is no replicate."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return 0.0, 1.0
    return float(values.var(ddof=1) / len(values)), len(values) - 1.0


def _variance_of_difference(values: Floats, others: Floats) -> tuple[float, float]:
    """Return the same of a difference of two means: paired by replicate, unless the two have different replicates."""
    if np.array_equal(np.isnan(values), np.isnan(others)):
        return _variance(values - others)
    (one, freedom), (other, of_other) = _variance(values), _variance(others)
    total = one + other
    return total, total**2 / (one**2 / freedom + other**2 / of_other) if total else 1.0


def _widened(
    values: Floats,
    low: Floats,
    high: Floats,
    of_images: Floats,
    of_seeds: Sequence[tuple[float, float]],
    units: int,
    lowest: Floats,
) -> tuple[Floats, Floats]:
    """Return limits that hold the chance of the seeds too, within `lowest`..1; without variance over seeds, the same.

    The limits are moved out on the logit scale of that range; the module's first lines say why.
    """
    seeds, freedom = np.array(of_seeds).T
    size = 1 - lowest
    share = (values - lowest) / size
    total = of_images + seeds
    changed = (seeds > 0) & (share > 0) & (share < 1)
    safe, share = np.where(changed, total, 1.0), np.where(changed, share, 0.5)
    degrees = safe**2 / np.where(changed, of_images**2 / (units - 1) + seeds**2 / freedom, 1.0)
    quantile, normal = stats.t.ppf((1 + LEVEL) / 2, degrees), stats.norm.ppf((1 + LEVEL) / 2)
    # Where the images change nothing, but for rounding, there are no limits to move.
    alone = of_images < 1e-9 * safe
    ratio = np.sqrt(safe / np.where(alone, safe, of_images)) * quantile / normal
    middle = special.logit(share)
    of_seeds_alone = normal * np.sqrt(safe) / (size * share * (1 - share))
    below, above = (
        np.where(alone, of_seeds_alone, np.abs(special.logit(((limit - lowest) / size).clip(0, 1)) - middle)) * ratio
        for limit in (low, high)
    )
    lower, upper = lowest + size * special.expit(middle - below), lowest + size * special.expit(middle + above)
    return np.where(changed, np.minimum(lower, values), low), np.where(changed, np.maximum(upper, values), high)


def _seed_draws(values: Floats, draws: int) -> Floats:
    """Return by how much the mean over new replicates may lie off that of values [K, R], as often as asked, [K, draws].

    Each is Student's t with the standard error of the mean for its scale, and so is each difference of two with that of
    the paired difference: draws of the replicates' deviations weighted by one normal number each, over the root of a
    chi-squared one.
    """
    present = ~np.isnan(values)
    values = values[:, np.argsort(np.nansum(values, axis=0), kind="stable")]
    counts = present.sum(axis=1, keepdims=True)
    means = np.nansum(values, axis=1, keepdims=True) / counts
    random = np.random.default_rng(SEED)
    normal, uniform = random.standard_normal((values.shape[1], draws)), random.random(draws)
    # One uniform number for all: equal counts give equal divisors, and the differences stay paired.
    divisor = np.sqrt(counts * stats.chi2.ppf(uniform, np.maximum(counts - 1, 1)))
    return np.nan_to_num(values - means) @ normal / divisor


def wilcoxon(sums: Floats, reference: Floats, groups: Sequence[Hashable] | None = None) -> float | None:
    """Return the two-sided p value of the Wilcoxon signed-rank test on the Dice of each image that holds a tumour.

    The Dice of an image is the mean over replicates. Zero differences are ranked and then dropped (Pratt, JASA 1959).
    With groups, the mean difference of each group takes the place of its images.

    Args:
        sums: float64 [R, N, 6], of one configuration's replicates; one that is not there is NaN.
        reference: float64 [R, N, 6], of the other's, on the same images.
        groups: the group of each image, [N].

    Returns:
        The p value; 1 where no image differs; None where no image holds a tumour in both.
    """
    difference = _differences(sums, reference, groups)
    if not len(difference):
        return None
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, zero_method="pratt").pvalue)


def favours_first(sums: Floats, reference: Floats, groups: Sequence[Hashable] | None = None) -> bool:
    """Return whether the signed ranks of `wilcoxon` are in favour of the first configuration; arguments as there.

    A configuration that is better on few images, by far, may have the better metrics over all pixels, and lose here.
    """
    difference = _differences(sums, reference, groups)
    return bool(np.sign(difference) @ stats.rankdata(np.abs(difference)) > 0)


def _differences(sums: Floats, reference: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """Return the difference in Dice of each image that holds a tumour, or the mean of each group of images.

    A small tumour may be gone from the mask at the smaller image size of one of the two: such an image is left out.
    """
    one, other = (replicates[~np.isnan(replicates[:, 0, 0])] for replicates in (sums, reference))
    chosen = has_tumour(one[0]) & has_tumour(other[0])
    difference = image_dice(one[:, chosen]).mean(axis=0) - image_dice(other[:, chosen]).mean(axis=0)
    if groups is None:
        return np.asarray(difference)
    _, members = np.unique(_members(groups)[chosen], return_inverse=True)
    return np.asarray(np.bincount(members, weights=difference) / np.bincount(members))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, Scand. J. Statist. 1979), in the order given.

    Raises:
        ValueError: one is not in 0..1.
    """
    if not all(0 <= one <= 1 for one in p_values):
        raise ValueError(f"p values lie in 0..1, got {p_values}")
    count = len(p_values)
    corrected = [0.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the seeds of a configuration; of a single seed there is no deviation."""

    count: int
    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and spread of at least one value."""
    return Spread(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _units(columns: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """Return what is drawn, float64 [units, K, R, folds, S], in an order that follows from the sums alone."""
    images = np.ascontiguousarray(np.moveaxis(columns, 2, 0))
    if groups is not None:
        members = _members(groups)
        summed = np.zeros((members.max() + 1, *images.shape[1:]))
        np.add.at(summed, members, images)
        images = summed
    # First by what does not depend on the order of configurations and replicates, as far as that tells units apart.
    sums = images[..., : len(SUMS)]  # whatever else there is follows from them
    flat = sums.reshape(len(sums), -1)
    total = sums.sum(axis=(1, 2)).round(6).reshape(len(sums), -1)
    return images[np.lexsort((*flat.T, *total.T))]


def _members(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return the number of each image's group, int64 [N], counted in the order in which the groups appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _first(costs: Floats) -> list[float]:
    """Return how often each configuration, of costs [K, draws], is the lowest; equals share a draw."""
    # The same scores, summed in another order, may differ in their last digits.
    lowest = costs <= costs.min(axis=0) + 1e-12
    return [float(share) for share in (lowest / lowest.sum(axis=0)).mean(axis=1)]
