"""How often a search crowns the wrong configuration, and how often the report's intervals hold the truth.

In a simulated run every configuration has a known quality: the expected Dice loss of a new training on new images. What
is observed of it is noisy, image by image, group by group, seed by seed and epoch by epoch. Two ways of choosing
are compared on the same trials: the best epoch of one seed, over all trials; and a final stage, in which the first few
and the baselines are trained again with fresh seeds. Then the intervals of the final stage's figures are held against
the truth, made in three ways: of the images alone, with seeds drawn with replacement beside the groups, and as
`bts_tune.results.statistics.intervals.resample` makes them.

    python scripts/simulate_selection.py
    python scripts/simulate_selection.py --repeats 2000 --seed-noise 0.01 --json

The sizes of the noises, and where they are from:

  images, groups   standard deviation of an image's Dice, 0.23 within and 0.14 between groups, and 0.71 correlation of
                   two models' Dice on the same image: one-way analysis of variance of the scores of `unet-b0` and
                   `unet-b0-frozen` (lite0 encoder, 96 pixels, 4 epochs) on the 429 validation images of the provided
                   split of the real dataset, in 229 groups; 150 groups hold its 215 test images
  epochs           0.011, of the validation Dice loss about its trend over epochs 5 to 10 of
                   results/reference/unet-b0-lite0-128px-10epochs-epochs.csv
                   how much of a model's own part of these noises its seeds share is not on record: half is assumed
  seeds            no repeated training on the real dataset is on record: 0.008 is an assumption, set by --seed-noise
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bts_tune.results.record.scores import SUMS, pooled_dice_loss
from bts_tune.results.statistics.intervals import LEVEL, Floats, resample

IMAGE_SD, GROUP_SD, SHARED = 0.23, 0.14, 0.71
LASTING = 0.5
"""Of what a training does not share with all others on an image, the part that its configuration's seeds share."""
EPOCH_SD = 0.011
LATE_EPOCHS = 10
"""Epochs of a training that compete for its best: those before them are too far from the end of the curve."""
AREA_CV = 0.71
"""Variation of the tumours' area over the same images."""


@dataclass(frozen=True)
class World:
    """What is simulated: sizes and noises, in Dice."""

    trials: int
    baselines: int
    spread: float
    top: int
    seeds: int
    images: int
    groups: int
    seed_noise: float


@dataclass
class Choices:
    """How one way of choosing did.

    Attributes:
        wrong: share of the runs in which a configuration other than the truly best was crowned.
        regret: mean of the crowned configuration's true Dice loss minus that of the truly best.
        promised: mean of the crowned configuration's true Dice loss minus the figure that crowned it.
    """

    wrong: float = 0.0
    regret: float = 0.0
    promised: float = 0.0


def scores(world: World, losses: Floats, random: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
    """Return sums [K, R, N, 6] of trainings with the expected Dice losses [K, R], and the group of each image, [N].

    Each image's Dice is its training's plus noise of its group and its own, part of which all trainings share. The
    sums of an image are such that their pooled Dice is the mean of the images' Dice weighted by area.
    """
    configurations, seeds = losses.shape
    # Sizes of groups as skewed as those found: most of one or two images, a few of ten.
    shares = random.gamma(0.5, size=world.groups) + 0.02
    groups = np.concatenate(
        [np.arange(world.groups), random.choice(world.groups, world.images - world.groups, p=shares / shares.sum())]
    )
    own = (configurations, seeds)

    def noise(count: int) -> Floats:
        of_recipe = math.sqrt(LASTING) * random.normal(size=(configurations, 1, count))
        apart = of_recipe + math.sqrt(1 - LASTING) * random.normal(size=(*own, count))
        return math.sqrt(SHARED) * random.normal(size=count) + math.sqrt(1 - SHARED) * apart

    group, image = noise(world.groups), noise(world.images)
    dice = 1 - losses[..., np.newaxis] + GROUP_SD * group[..., groups] + IMAGE_SD * image
    sigma = math.sqrt(math.log(1 + AREA_CV**2))
    area = np.round(400 * np.exp(sigma * random.normal(size=world.images) - sigma**2 / 2)) + 1
    sums = np.zeros((*own, world.images, len(SUMS)))
    # Predicted as large as the truth, so that Dice = overlap / area. It may leave 0..1: a clip would shift the truth.
    sums[..., SUMS.index("overlap")] = dice * area
    sums[..., SUMS.index("predicted")] = area
    sums[..., SUMS.index("truth")] = area
    sums[..., SUMS.index("true_positives")] = dice * area
    sums[..., SUMS.index("false_positives")] = (1 - dice) * area
    sums[..., SUMS.index("false_negatives")] = (1 - dice) * area
    return sums, groups


def chosen_wrongly(world: World, repeats: int, random: np.random.Generator) -> dict[str, Choices]:
    """Return how often either way crowns a wrong configuration, and what that costs.

    The validation images' noise is that of the pooled figure: what all trainings share moves no rank, and the rest is
    a normal number of the standard deviation that `scores` gives.
    """
    sample, _ = scores(world, np.full((200, 1), 0.25), random)
    pooled = pooled_dice_loss(sample[:, 0].sum(axis=1))
    image_noise = float(pooled.std(ddof=1))
    found = {"search": Choices(), "final": Choices()}
    for _ in range(repeats):
        truth = 0.25 + world.spread * random.normal(size=world.trials)
        # A configuration's errors on these very images are partly its own, whatever the seed.
        of_recipe = image_noise * math.sqrt(LASTING) * random.normal(size=world.trials)

        def trained(which: NDArray[np.int64], seeds: int, truth: Floats = truth, lasting: Floats = of_recipe) -> Floats:
            """Return the validation Dice loss at the best epoch, [K, seeds]."""
            shape = (len(which), seeds)
            level = truth[which, np.newaxis] + lasting[which, np.newaxis]
            level = level + world.seed_noise * random.normal(size=shape)
            level = level + image_noise * math.sqrt(1 - LASTING) * random.normal(size=shape)
            return (level[..., np.newaxis] + EPOCH_SD * random.normal(size=(*shape, LATE_EPOCHS))).min(axis=-1)

        everything = np.arange(world.trials)
        searched = trained(everything, 1)[:, 0]
        order = np.argsort(searched)
        baselines = everything[: world.baselines]
        again = np.unique([*order[~np.isin(order, baselines)][: world.top], *baselines])
        final = trained(again, world.seeds).mean(axis=1)
        crowned = {"search": int(order[0]), "final": int(again[np.argmin(final)])}
        figure = {"search": float(searched.min()), "final": float(final.min())}
        for way, choices in found.items():
            choices.wrong += (crowned[way] != truth.argmin()) / repeats
            choices.regret += float(truth[crowned[way]] - truth.min()) / repeats
            choices.promised += float(truth[crowned[way]] - figure[way]) / repeats
    return found


def percentile_limits(
    sums: Floats, groups: NDArray[np.int64], seeds: bool, draws: int, random: np.random.Generator
) -> list[tuple[float, float]]:
    """Return the limits of the first configuration's Dice loss, and of its gain on the second, by percentiles.

    Groups are drawn with replacement, and seeds too where asked, the same for both configurations.
    """
    number = int(groups.max()) + 1
    units = np.zeros((number, *sums.shape[:2], len(SUMS)))
    np.add.at(units, groups, np.moveaxis(sums, 2, 0))
    weights = random.multinomial(number, np.full(number, 1 / number), size=draws).astype(float)
    loss = pooled_dice_loss((weights @ units.reshape(number, -1)).reshape(draws, *sums.shape[:2], len(SUMS)))
    replicates = sums.shape[1]
    drawn = random.multinomial(replicates, np.full(replicates, 1 / replicates), size=draws) / replicates
    of_seeds = drawn if seeds else np.full((draws, replicates), 1 / replicates)
    means = (loss * of_seeds[:, np.newaxis]).sum(axis=2)
    tail = 100 * (1 - LEVEL) / 2
    return [
        (float(low), float(high))
        for low, high in (np.percentile(x, [tail, 100 - tail]) for x in (means[:, 0], means[:, 1] - means[:, 0]))
    ]


def coverage(world: World, repeats: int, draws: int, random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Return the share of intervals that hold the truth and their mean length, of the Dice loss and of the gain."""
    truths = (0.24, 0.015)
    ways = ("groups alone", "groups and seeds drawn", "as reported")
    held = {way: np.zeros((2, 2)) for way in ways}
    for _ in range(repeats):
        losses = np.array([[truths[0]], [truths[0] + truths[1]]]) + world.seed_noise * random.normal(
            size=(2, world.seeds)
        )
        sums, groups = scores(world, losses, random)
        found = resample(sums, 1, groups.tolist(), resamples=draws)
        reported = [found.dice_loss[0], found.dice_gain[0]]
        limits = {
            "groups alone": percentile_limits(sums, groups, False, draws, random),
            "groups and seeds drawn": percentile_limits(sums, groups, True, draws, random),
            "as reported": [(float(one.low or 0.0), float(one.high or 0.0)) for one in reported],
        }
        for way in ways:
            for place, ((low, high), truth) in enumerate(zip(limits[way], truths, strict=True)):
                held[way][place] += np.array([low <= truth <= high, high - low]) / repeats
    names = ("dice_loss", "dice_loss_length", "gain", "gain_length")
    return {way: dict(zip(names, held[way].ravel().tolist(), strict=True)) for way in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=400, help="simulated runs (400)")
    parser.add_argument("--draws", type=int, default=999, help="bootstrap draws of an interval (999)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60, help="trials of the search, baselines included (60)")
    parser.add_argument("--baselines", type=int, default=3)
    parser.add_argument("--spread", type=float, default=0.02, help="of the configurations' true Dice loss (0.02)")
    parser.add_argument("--top", type=int, default=5, help="configurations of the final stage beside baselines (5)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the final stage (3)")
    parser.add_argument("--images", type=int, default=215)
    parser.add_argument("--groups", type=int, default=150)
    parser.add_argument("--seed-noise", type=float, default=0.008, help="standard deviation of a training (0.008)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    world = World(
        arguments.trials,
        arguments.baselines,
        arguments.spread,
        arguments.top,
        arguments.seeds,
        arguments.images,
        arguments.groups,
        arguments.seed_noise,
    )
    begun = time.perf_counter()
    random = np.random.default_rng(arguments.seed)
    choices = chosen_wrongly(world, arguments.repeats, random)
    covered = coverage(world, arguments.repeats, arguments.draws, random)
    if arguments.json:
        print(
            json.dumps(
                {
                    "world": asdict(world),
                    "repeats": arguments.repeats,
                    "choices": {way: asdict(found) for way, found in choices.items()},
                    "coverage": covered,
                    "level": LEVEL,
                },
                indent=2,
            )
        )
        return
    print(
        f"{arguments.repeats} runs of {world.trials} trials; final stage: {world.top} and {world.baselines} baselines, "
        f"{world.seeds} seeds; {world.images} images in {world.groups} groups; seed noise {world.seed_noise:g}"
    )
    print(f"{'crowned by':<34}{'wrong':>8}{'regret':>9}{'promised too much':>20}")
    for way, text in (("search", "best epoch of one seed, all trials"), ("final", "the final stage")):
        found = choices[way]
        print(f"{text:<34}{found.wrong:>8.1%}{found.regret:>9.4f}{found.promised:>20.4f}")
    print(f"{f'{LEVEL:.0%} intervals':<34}{'Dice loss':>10}{'length':>9}{'gain':>9}{'length':>9}")
    for way, figures in covered.items():
        print(
            f"{way:<34}{figures['dice_loss']:>10.1%}{figures['dice_loss_length']:>9.4f}{figures['gain']:>9.1%}"
            f"{figures['gain_length']:>9.4f}"
        )
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
