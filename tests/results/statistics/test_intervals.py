"""Intervals that cover what they claim, comparisons against brute force, and the cases at the edge."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from bts_tune.metrics.base import ImageStatistics, metrics_in_use, objective
from bts_tune.registry import METRICS
from bts_tune.results.record.scores import SUMS
from bts_tune.results.statistics import intervals as statistics
from bts_tune.results.statistics.intervals import Floats, Interval, favours_first, holm, resample, spread, wilcoxon
from bts_tune.testing.runs import make_sums


def trials(*qualities: float, images: int = 40, empty: int = 0, seed: int = 0) -> Floats:
    """Configurations of one replicate each, [K, 1, images, 6]."""
    return np.stack([[make_sums(images, quality, seed=seed, empty=empty)] for quality in qualities])


def test_the_definitions_are_those_of_training() -> None:
    """One definition: what a report pools is what the training loop records."""
    for sums in (make_sums(30, 0.7, empty=4), make_sums(3, 0.0), np.zeros((2, 6))):
        images = ImageStatistics(SUMS, sums)
        metrics = {metric.key(): metric.compute(images) for metric in metrics_in_use()}
        total = sums.sum(axis=0)
        assert statistics.pooled_dice_loss(total) == pytest.approx(metrics["dice_loss"], abs=1e-12)
        assert statistics.pooled_iou(total) == pytest.approx(metrics["iou"], abs=1e-12)
        dice = statistics.image_dice(sums[statistics.has_tumour(sums)])
        assert (dice.mean() if len(dice) else None) == pytest.approx(metrics["dice_image"])


def test_intervals_lie_around_the_figure_of_all_images() -> None:
    found = resample(trials(0.8, 0.6), reference=1, resamples=999)
    for interval in (*found.dice_loss, *found.iou, found.dice_gain[0], found.iou_gain[0]):
        assert interval.low is not None
        assert interval.high is not None
        assert interval.low < interval.value < interval.high
    assert found.dice_gain[0].value == pytest.approx(found.dice_loss[1].value - found.dice_loss[0].value)
    assert found.iou_gain[0].value == pytest.approx(found.iou[0].value - found.iou[1].value)
    assert found.dice_gain[1] == Interval(0.0, 0.0, 0.0)
    assert found.units == 40


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_of_our_own_can_be_resampled_as_the_objective(name: str) -> None:
    sums = trials(0.8, 0.6, empty=6)
    found = resample(sums, reference=1, objective=objective(name), resamples=499)
    for place, (one,) in enumerate(sums):
        value = METRICS.get(name)().compute(ImageStatistics(SUMS, one))
        assert found.value[place].value == pytest.approx(value)
    worse, better = found.value[1].value, found.value[0].value
    sign = 1 if METRICS.get(name).direction == "maximize" else -1
    assert found.gain[0].value == pytest.approx(sign * (better - worse))
    assert found.first is not None
    assert sum(found.first) == pytest.approx(1)
    plain = resample(sums, reference=1, resamples=499)
    # The draws are the same whatever the objective is.
    for column in ("dice_loss", "iou", "dice_gain", "iou_gain"):
        for mine, other in zip(getattr(found, column), getattr(plain, column), strict=True):
            assert (mine.low, mine.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert (plain.value, plain.gain) == (plain.dice_loss, plain.dice_gain)


def test_first_equals_the_count_over_every_possible_draw() -> None:
    """Of three images all 27 draws can be listed."""
    sums = trials(0.7, 0.68, images=3, seed=2)
    wins = []
    for draw in itertools.product(range(3), repeat=3):
        losses = [float(statistics.pooled_dice_loss(one[list(draw)].sum(axis=0))) for (one,) in sums]
        wins.append(0.5 if losses[0] == losses[1] else float(losses[0] < losses[1]))
    found = resample(sums)
    assert found.first is not None
    assert found.first[0] == pytest.approx(np.mean(wins), abs=0.02)
    assert sum(found.first) == pytest.approx(1)


def test_of_many_images_percentiles_are_bca_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = trials(0.8, 0.6, images=5000)
    found = resample(sums, reference=1, resamples=1999)
    monkeypatch.setattr(statistics, "_MANY", 10_000)
    bca = resample(sums, reference=1, resamples=1999)
    for one, other in zip((*found.dice_loss, found.iou_gain[0]), (*bca.dice_loss, bca.iou_gain[0]), strict=True):
        assert one.low is not None
        assert one.high is not None
        assert (one.low, one.high) != (other.low, other.high)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.05 * (one.high - one.low))


def test_a_paired_difference_is_narrower_than_the_intervals_it_is_made_of() -> None:
    one = make_sums(60, 0.7, spread=0.25)
    other = one.copy()
    other[:, 3] *= 0.97  # a little worse on every image alike
    found = resample(np.stack([[one], [other]]), reference=1, resamples=999)
    assert not found.dice_gain[0].includes_zero
    assert found.first == [1.0, 0.0]
    single, gain = found.dice_loss[0], found.dice_gain[0]
    assert gain.high - gain.low < 0.2 * (single.high - single.low)  # type: ignore[operator]


def test_the_interval_covers_the_truth_at_its_rate() -> None:
    """The truth is the pooled loss of a population so large that it has no noise of its own."""
    population = make_sums(200_000, 0.7, spread=0.15)
    truth = float(statistics.pooled_dice_loss(population.sum(axis=0)))
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        found = resample(
            population[np.newaxis, np.newaxis, random.integers(0, len(population), 60)], resamples=499
        ).dice_loss[0]
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_groups_of_like_images_widen_the_interval() -> None:
    patients = np.repeat(make_sums(12, 0.7, spread=0.25), 10, axis=0)[np.newaxis, np.newaxis]
    groups = [f"patient {number // 10}" for number in range(120)]
    alone, grouped = resample(patients, resamples=999), resample(patients, groups=groups, resamples=999)
    assert grouped.units == 12
    assert grouped.dice_loss[0].value == pytest.approx(alone.dice_loss[0].value)
    widths = [found.dice_loss[0].high - found.dice_loss[0].low for found in (alone, grouped)]  # type: ignore[operator]
    assert widths[1] > 2 * widths[0]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_images_changes_nothing(order: list[int]) -> None:
    sums = trials(0.7, 0.6, images=12, empty=2)
    assert resample(sums[:, :, order], resamples=99) == resample(sums, resamples=99)
    assert wilcoxon(sums[0][:, order], sums[1][:, order]) == wilcoxon(sums[0], sums[1])
    groups = [f"g{number % 4}" for number in range(12)]
    found = resample(sums[:, :, order], groups=[groups[place] for place in order], resamples=99)
    expected = resample(sums, groups=groups, resamples=99)
    assert found.dice_loss[0].low == pytest.approx(expected.dice_loss[0].low)


def replicated(*qualities: float, seeds: int = 3, images: int = 12, noise: float = 0.02) -> Floats:
    """Configurations of several replicates each, [K, seeds, images, 6]."""
    random = np.random.default_rng(5)
    levels = [[quality + noise * random.normal() for _ in range(seeds)] for quality in qualities]
    return np.stack([[make_sums(images, level, seed=1) for level in row] for row in levels])


def limits(found: statistics.Resampled) -> list[float]:
    every = [*found.dice_loss, *found.iou, *found.dice_gain, *found.iou_gain]
    return [side for one in every for side in (one.value, one.low, one.high) if side is not None]


@settings(max_examples=10, deadline=None)
@given(images=st.permutations(range(12)), seeds=st.permutations(range(3)), places=st.permutations(range(3)))
def test_the_order_of_images_replicates_and_configurations_changes_nothing(
    images: list[int], seeds: list[int], places: list[int]
) -> None:
    sums = replicated(0.7, 0.68, 0.6)
    expected = resample(sums, resamples=99)
    moved = resample(sums[places][:, seeds][:, :, images], places.index(0), resamples=99)
    for name in ("dice_loss", "iou", "dice_gain", "iou_gain"):
        for place, origin in enumerate(places):
            one, other = getattr(moved, name)[place], getattr(expected, name)[origin]
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-9)
    assert moved.first is not None
    assert [moved.first[places.index(place)] for place in range(3)] == pytest.approx(expected.first)
    p_value = wilcoxon(sums[0][seeds][:, images], sums[1][:, images])
    assert p_value == pytest.approx(wilcoxon(sums[0], sums[1]))


def test_seeds_widen_the_interval_by_students_t_and_replicates_alike_do_not() -> None:
    sums = replicated(0.7, 0.68, images=60, noise=0.05)
    alike = resample(np.repeat(sums[:, :1], 3, axis=1), resamples=999)
    single = resample(sums[:, :1], resamples=999)
    assert limits(alike) == pytest.approx(limits(single))
    constant = np.tile(sums[:, :, :1], (1, 1, 5, 1))  # the images change nothing: the seeds alone are left
    found = resample(constant, resamples=99).dice_loss[0]
    losses = statistics.pooled_dice_loss(constant[0].sum(axis=1))
    mean = losses.mean()
    half = stats.t.ppf(0.975, 2) * losses.std(ddof=1) / math.sqrt(3) / (mean * (1 - mean))
    assert found.value == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx(
        tuple(special.expit(special.logit(mean) + half * side) for side in (-1, 1))
    )


@st.composite
def any_sums(draw: st.DrawFn) -> Floats:
    """Sums [K, R, N, 6] of any figures that a training can have, perfect and hopeless ones among them."""
    shape = tuple(draw(st.integers(low, high)) for low, high in ((1, 3), (1, 4), (2, 6)))
    count = math.prod(shape)
    share = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
    size = st.sampled_from([0, 1]) | st.integers(0, 5000)

    def drawn(one: st.SearchStrategy[float] | st.SearchStrategy[int]) -> Floats:
        return np.array(draw(st.lists(one, min_size=count, max_size=count)), dtype=np.float64).reshape(shape)

    hits, alarms, misses = drawn(size), drawn(size), drawn(size)
    truth = hits + misses
    overlap = drawn(share) * truth
    sums = np.stack([hits, alarms, misses, overlap, overlap + drawn(share) * 5000, truth], axis=-1)
    if draw(st.booleans()) and shape[1] > 1:
        sums[0, 1:] = np.nan  # the first configuration has one training
    return sums


@settings(max_examples=150, deadline=None)
@given(sums=any_sums())
def test_every_interval_holds_its_figure_and_lies_within_its_range(sums: Floats) -> None:
    found = resample(sums, resamples=49)
    for lowest, intervals in ((0, found.dice_loss + found.iou), (-1, found.dice_gain + found.iou_gain)):
        for one in intervals:
            assert one.low is not None
            assert one.high is not None
            assert lowest <= one.low <= one.value <= one.high <= 1


def test_two_trainings_far_apart_have_a_wide_interval_within_the_range() -> None:
    sums = np.stack([[make_sums(40, quality, seed=1) for quality in row] for row in ((0.8, 0.3), (0.6, 0.5))])
    found = resample(sums, reference=1, resamples=199)
    for one in (*found.dice_loss, *found.iou):
        assert one.low is not None
        assert one.high is not None
        assert 0 < one.low < one.value < one.high < 1
    gain = found.dice_gain[0]
    assert gain.low is not None
    assert gain.high is not None
    assert -1 < gain.low < 0 < gain.high < 1


@pytest.mark.parametrize(("mean", "deviation"), [(0.25, 0.008), (0.25, 0.02), (0.5, 0.05), (0.1, 0.03), (0.9, 0.05)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_over_seeds_hold_the_truth_as_often_as_plain_students_t(
    mean: float, deviation: float, seeds: int
) -> None:
    """Each configuration is one experiment, of trainings whose loss is drawn from one distribution.

    The images change nothing. Plain Student's t is exact for normal losses, and leaves the range; amid the range, and
    where it is not wide, the two are nearly the same.
    """
    concentration = mean * (1 - mean) / deviation**2 - 1
    random = np.random.default_rng(7)
    losses = random.beta(mean * concentration, (1 - mean) * concentration, (1000, seeds))
    sums = np.zeros((1000, seeds, 2, 6))
    sums[..., 3] = 1000 * (1 - losses)[..., np.newaxis]
    sums[..., 4:6] = 1000
    found = resample(sums, resamples=9).dice_loss
    half = stats.t.ppf(0.975, seeds - 1) * losses.std(axis=1, ddof=1) / math.sqrt(seeds)
    plain = np.abs(losses.mean(axis=1) - mean) <= half
    held = np.array([(one.low or 0) <= mean <= (one.high or 0) for one in found])
    assert held.mean() >= plain.mean() - 0.003
    assert 0.93 <= held.mean() <= 0.975
    if mean == 0.25 and deviation == 0.008 and seeds > 2:
        limits = np.array([(one.low, one.high) for one in found])
        moved = limits - losses.mean(axis=1, keepdims=True) - np.stack([-half, half], axis=1)
        assert np.median(np.abs(moved) / half[:, np.newaxis]) < 0.05


def test_a_replicate_that_is_not_there_costs_only_itself() -> None:
    sums = replicated(0.7, 0.6, images=40)
    sums[1, 2] = np.nan
    found = resample(sums, reference=1, resamples=199)
    assert found.replicates == [3, 2]
    losses = [statistics.pooled_dice_loss(one.sum(axis=0)) for one in sums[1, :2]]
    assert found.dice_loss[1].value == pytest.approx(np.mean(losses))
    assert found.dice_gain[0].value == pytest.approx(found.dice_loss[1].value - found.dice_loss[0].value)
    assert found.dice_gain[1] == Interval(0.0, 0.0, 0.0)
    assert all(math.isfinite(side) for side in limits(found))
    assert found.first is not None
    assert sum(found.first) == pytest.approx(1)
    assert wilcoxon(sums[0], sums[1]) == pytest.approx(wilcoxon(sums[0], sums[1, :2]))


def test_intervals_over_seeds_and_groups_hold_the_truth_at_their_rate() -> None:
    """The truth is the expected loss of a training whose quality is drawn anew, on images drawn anew."""
    population = [make_sums(20_000, quality, spread=0.15, seed=3) for quality in np.linspace(0.66, 0.74, 41)]
    losses = [float(statistics.pooled_dice_loss(sums.sum(axis=0))) for sums in population]
    random, covered = np.random.default_rng(2), 0
    for _ in range(200):
        images = random.integers(0, 20_000, 80)
        trained = np.stack([population[place][images] for place in random.integers(0, 41, 3)])[np.newaxis]
        found = resample(trained, resamples=299).dice_loss[0]
        assert found.low is not None
        assert found.high is not None
        covered += bool(found.low <= np.mean(losses) <= found.high)
    assert 0.9 <= covered / 200 <= 0.99


def test_equal_trials_are_tied() -> None:
    found = resample(trials(0.7, 0.7, 0.7), resamples=99)
    assert found.first == pytest.approx([1 / 3] * 3)
    assert found.dice_gain == [Interval(0.0, 0.0, 0.0)] * 3
    assert all(gain.includes_zero for gain in found.dice_gain)


def test_one_image_has_no_interval() -> None:
    found = resample(trials(0.8, 0.6, images=1))
    assert found.dice_loss[0].low is None
    assert found.dice_gain[1].includes_zero
    assert found.first is None, "nothing was drawn, so nothing came first"
    of_one_group = resample(trials(0.8, 0.6, images=5), groups=["a"] * 5)
    assert of_one_group.dice_loss[0].low is None
    assert of_one_group.first is None


def test_images_without_any_tumour_still_have_figures() -> None:
    sums = trials(0.8, 0.6, images=6, empty=6)
    found = resample(sums, resamples=99)
    assert all(math.isfinite(interval.value) for interval in (*found.dice_loss, *found.iou))
    assert wilcoxon(sums[0], sums[1]) is None
    nothing = resample(np.zeros((2, 1, 4, 6)), resamples=99)
    assert nothing.iou[0] == Interval(1.0, 1.0, 1.0)
    assert nothing.dice_loss[0] == Interval(0.0, 0.0, 0.0)


def test_wilcoxon_is_scipys_on_the_images_that_hold_a_tumour() -> None:
    one, other = trials(0.72, 0.7, empty=5)
    dice = [2 * sums[:-5, 0] / (2 * sums[:-5, 0] + sums[:-5, 1] + sums[:-5, 2]) for (sums,) in (one, other)]
    assert wilcoxon(one, other) == pytest.approx(stats.wilcoxon(*dice).pvalue)
    assert wilcoxon(one, one) == 1.0
    assert favours_first(one, other)
    assert not favours_first(other, one)
    assert not favours_first(one, one)
    twice = [np.concatenate([sums, sums], axis=1) for sums in (one, other)]
    groups = [f"image {number}" for number in [*range(40), *range(40)]]
    assert wilcoxon(twice[0], twice[1], groups) == pytest.approx(wilcoxon(one, other))


def test_an_image_whose_tumour_vanishes_at_the_other_size_is_left_out() -> None:
    sums = trials(0.7, 0.6)
    smaller = sums.copy()
    smaller[0, :, 0] = 0
    expected = wilcoxon(sums[0][:, 1:], sums[1][:, 1:])
    assert wilcoxon(smaller[0], smaller[1]) == wilcoxon(smaller[1], smaller[0]) == expected
    assert favours_first(smaller[0], smaller[1])


def test_holm_against_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_value_nor_swaps_two(values: list[float]) -> None:
    found = holm(values)
    assert all(value <= corrected <= 1 for value, corrected in zip(values, found, strict=True))
    for (a, x), (b, y) in itertools.combinations(zip(values, found, strict=True), 2):
        assert (a - b) * (x - y) >= 0


def test_spread() -> None:
    found = spread([0.2, 0.3, 0.4])
    assert found.count == 3
    assert found.mean == pytest.approx(0.3)
    assert found.deviation == pytest.approx(0.1)
    assert spread([0.2]).deviation is None


def test_an_interval_with_its_sign_changed() -> None:
    assert -Interval(0.2, 0.1, 0.4) == Interval(-0.2, -0.4, -0.1)
    assert -Interval(0.2, None, None) == Interval(-0.2, None, None)


def test_what_is_better_over_all_pixels_may_lose_image_by_image() -> None:
    """Two huge tumours decide over all pixels, twenty small ones over the images."""
    pixels = np.array([1e5, 1e5, *([1e2] * 20)])

    def of(dice: list[float]) -> Floats:
        found = np.array(dice) * pixels
        return np.stack([found, pixels - found, pixels - found, found, pixels, pixels], axis=1)[np.newaxis]

    huge, small = of([0.9, 0.9, *([0.6] * 20)]), of([0.8, 0.8, *([0.7] * 20)])
    over_all = [statistics.pooled_dice_loss(one[0].sum(axis=0)) for one in (huge, small)]
    assert over_all[0] < over_all[1]
    assert not favours_first(huge, small)
    assert favours_first(small, huge)
    p_value = wilcoxon(huge, small)
    assert p_value is not None
    assert p_value < 0.05


def test_a_draw_without_any_image_of_a_mean_is_no_value() -> None:
    """Of twelve images three hold a tumour, on each of which one configuration is better by 0.1 or more."""
    sums = trials(0.9, 0.7, images=12, empty=9)
    found = resample(sums, reference=1, objective=objective("dice-image"), resamples=1999)
    each = statistics.image_dice(sums[:, 0][:, statistics.has_tumour(sums[0, 0])])
    assert each.shape == (2, 3)
    assert found.gain[0].low is not None
    assert found.gain[0].low >= (each[0] - each[1]).min() - 1e-9
    assert found.value[1].low is not None
    assert found.value[1].low >= each[1].min() - 1e-9
    assert found.first == [1, 0]


def test_a_single_image_of_a_mean_gives_no_interval() -> None:
    found = resample(trials(0.9, 0.7, images=10, empty=9), objective=objective("iou-image"), resamples=199)
    assert [one.low for one in (*found.value, *found.gain)] == [None] * 4
    assert found.dice_loss[0].low is not None


def test_the_value_of_folds_is_the_mean_over_them_and_lies_in_its_interval() -> None:
    """Folds whose tumours differ in size: pooled over all, the largest would count nearly alone."""
    each = [trials(quality, quality - 0.1, images=8, seed=seed) for seed, quality in enumerate((0.5, 0.9, 0.7))]
    sums = np.concatenate([part * scale for part, scale in zip(each, (1, 100, 3), strict=True)], axis=2)
    folds = np.repeat([1, 2, 3], 8).tolist()
    found = resample(sums, folds=folds, resamples=999)
    places = [slice(0, 8), slice(8, 16), slice(16, 24)]
    for name, measure in (("dice_loss", statistics.pooled_dice_loss), ("iou", statistics.pooled_iou)):
        for one, configuration in zip(getattr(found, name), sums, strict=True):
            expected = np.mean([measure(configuration[0, place].sum(axis=0)) for place in places])
            assert one.value == pytest.approx(expected)
            assert one.low < one.value < one.high
    mixed = np.random.default_rng(0).permutation(24)
    again = resample(sums[:, :, mixed], folds=[folds[place] for place in mixed], resamples=999)
    assert again.dice_loss[0].low == pytest.approx(found.dice_loss[0].low)
    one_fold = resample(sums, folds=[1] * 24, resamples=199)
    assert one_fold == resample(sums, resamples=199)


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([0.1, float("nan")])


def test_an_objective_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="empty_false_positive_rate"):
        resample(trials(0.9, 0.7), objective=objective("empty-false-positive-rate"))
