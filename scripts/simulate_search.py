#!/usr/bin/env python
"""Replays recorded learning curves through the real scheduler and the real searcher, in simulated time.

    python scripts/simulate_search.py results/reference/curves
    python scripts/simulate_search.py results/reference/curves --grid grace_period=1,2,4 --grid reduction_factor=2,3,4

A search is a race against epochs: how many have to be trained, over all trials, until one of them has a validation Dice
loss within 1 % of the best that is known? To answer that by training would take weeks for each setting. Here every
trial's epochs are looked up in a table of full-length curves instead, and hundreds of searches take minutes.

The table is what a run leaves as `epochs.csv` and `leaderboard.csv`, of trials that were all trained to the full
budget. A searcher proposes configurations that are not in a finite table: it is given the curve of the nearest recorded
one, of one of its seeds at random, as benchmark suites do with a 1-nearest-neighbour surrogate (Salinas et al. 2022,
Syne Tune). Near is Gower's distance (1971) over the searched parameters: the mean of |difference| of numbers scaled to
0..1, on a logarithmic scale where they are drawn on one, and of 0 or 1 for equal or different choices; a parameter that
one of the two does not have counts nothing, since the choice that brings it differs already.

An epoch takes the seconds that it took when it was recorded; `--concurrent` trials run at a time. A search goes on
until the target is reached, or for `--max-trials` trials, which counts with the epochs that it spent.

Methods:

    random     configurations at random, every trial to its full budget
    asha       configurations at random, stopped early by ASHA
    asha+tpe   configurations from TPE, stopped early by ASHA
    default    as a run does it: the baselines first, never stopped, and asha+tpe around them

Grace period, reduction factor and random start-up trials are those of `--settings`, scaled to the curves' length as a
run scales them.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from bts_tune.config import FIELDS, TrialConfig
from bts_tune.errors import BtsTuneError, ConfigError
from bts_tune.experiment.environment import available_cpus
from bts_tune.experiment.scheduler import EPOCH, METRIC, SparingASHA
from bts_tune.experiment.searcher import TreeParzen
from bts_tune.space import ResolvedSearch, load_space

METHODS = ("random", "asha", "asha+tpe", "default")
SETTINGS = ("grace_period", "reduction_factor", "startup_trials", "concurrent")
WITHIN = 0.01  # of the best known Dice loss


@dataclass(frozen=True)
class Curve:
    """A recorded trial: the running best of its validation Dice loss and the seconds of each epoch, both [epochs]."""

    trial: str
    baseline: bool
    config: TrialConfig
    best: np.ndarray
    seconds: np.ndarray


def read_curves(folder: Path) -> list[Curve]:
    """Read the curves of a run from its `epochs.csv` and `leaderboard.csv`; trials that did not complete are left out.

    Raises:
        ConfigError: a file or a column is missing, an epoch is missing, a value cannot be read, or the trials have
            different budgets.
    """
    board, epochs = folder / "leaderboard.csv", folder / "epochs.csv"
    complete = [row for row in _read(board, {"trial", "status", "baseline", *FIELDS}) if row["status"] == "complete"]
    by_trial: dict[str, dict[int, tuple[float, float]]] = {row["trial"]: {} for row in complete}
    for number, row in enumerate(_read(epochs, {"trial", "epoch", "val_dice_loss", "seconds"}), start=2):
        if row["trial"] in by_trial:
            try:
                figures = float(row["val_dice_loss"]), float(row["seconds"])
                by_trial[row["trial"]][int(row["epoch"])] = figures
            except ValueError as error:
                raise ConfigError(f"{epochs}: line {number}: {error}.") from None
            if not np.isfinite(figures).all() or figures[1] < 0:
                raise ConfigError(f"{epochs}: line {number}: val_dice_loss and seconds must be finite, got {figures}.")
    curves = []
    for row in complete:
        config = TrialConfig.parse({name: row[name] for name in FIELDS}, f"{board}: trial {row['trial']}")
        figures_of = by_trial[row["trial"]]
        if sorted(figures_of) != list(range(1, config.epochs + 1)):
            raise ConfigError(f"{epochs}: trial {row['trial']}: must have epochs 1 to {config.epochs}, once each.")
        losses, seconds = np.array([figures_of[epoch] for epoch in sorted(figures_of)]).T
        curves.append(Curve(row["trial"], row["baseline"] == "True", config, np.minimum.accumulate(losses), seconds))
    if not curves:
        raise ConfigError(f"{board}: no trial is complete; a replay needs trials that were trained to the full budget.")
    budgets = sorted({curve.config.epochs for curve in curves})
    if len(budgets) > 1:
        raise ConfigError(f"{board}: the trials have budgets of {budgets} epochs; a replay needs one for all.")
    return curves


def _read(path: Path, needed: set[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = sorted(needed - set(reader.fieldnames or ()))
            if missing:
                raise ConfigError(f"{path}: has no column {', '.join(missing)}; give the folder of a run's CSV files.")
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from None


class Table:
    """Recorded curves as a function of any configuration of a search's space."""

    def __init__(self, curves: Sequence[Curve], search: ResolvedSearch) -> None:
        self._parameters = search.parameters
        self.baselines = [curve for curve in curves if curve.baseline]
        self._seeds: dict[str, list[Curve]] = {}
        for curve in curves:
            if search.values_of(curve.config) is not None:
                self._seeds.setdefault(curve.config.recipe_id, []).append(curve)
        if not self._seeds:
            raise ConfigError(
                f"{search.where}: no recorded configuration lies in this space; give the space of the run."
            )
        self._recipes = list(self._seeds)
        self._codes = np.array([self._code(seeds[0].config, search) for seeds in self._seeds.values()])
        self._search = search
        self._choice = np.array([parameter.choices is not None for parameter in self._parameters.values()])
        self.best = min(float(curve.best[-1]) for curve in curves)

    def __len__(self) -> int:
        return len(self._recipes)

    def curve(self, config: TrialConfig, rng: np.random.Generator) -> Curve:
        """Return the curve of the nearest recorded configuration, of one of its seeds."""
        code = self._code(config, self._search)
        difference = np.abs(self._codes - code)
        difference[:, self._choice] = difference[:, self._choice] > 0
        nearest = self._recipes[int(np.argmin(np.nansum(difference, axis=1)))]
        seeds = self._seeds[nearest]
        return seeds[int(rng.integers(len(seeds)))]

    def _code(self, config: TrialConfig, search: ResolvedSearch) -> np.ndarray:
        """Return numbers in 0..1, positions of choices, and NaN for what the configuration does not have."""
        drawn = search.values_of(config)
        assert drawn is not None
        codes = []
        for name, parameter in self._parameters.items():
            if name not in drawn:
                codes.append(np.nan)
            elif parameter.bounds is None:
                codes.append(float((parameter.choices or []).index(drawn[name])))
            else:
                value, low, high = (
                    float(np.log(number)) if parameter.log else float(number)
                    for number in (drawn[name], *parameter.bounds)
                )
                codes.append((value - low) / (high - low))
        return np.array(codes)


@dataclass(frozen=True)
class Found:
    """How one search went.

    Attributes:
        epochs: epochs trained by all trials until one reached the target.
        trials: trials begun until then.
        seconds: simulated seconds until then.
        reached: whether the target was reached; else the figures are those of the end.
    """

    epochs: int
    trials: int
    seconds: float
    reached: bool


def replay(
    table: Table, search: ResolvedSearch, method: str, *, concurrent: int, replay_seed: int, max_trials: int
) -> Found:
    """Simulate one search until a trial's running best is within 1 % of the best in the table."""
    rng = np.random.default_rng((replay_seed, 1))
    # Each suggestion is seeded by the sampler's seed and the number of trials before it; no two replays share one.
    first_seed = replay_seed * 1_000_000
    learns = method in ("asha+tpe", "default")
    sampler = TreeParzen(replace(search, sampler_seed=first_seed))
    scheduler = None
    if method != "random":
        scheduler = SparingASHA(
            epochs=search.epochs, grace_period=search.grace_period, reduction_factor=search.reduction_factor
        )
    baselines = iter(table.baselines if method == "default" else ())
    target = table.best * (1 + WITHIN)
    running: list[tuple[float, int, int, Curve, Any]] = []  # end of the epoch, number, epoch, curve, trial
    now, begun, epochs = 0.0, 0, 0  # simulated seconds, trials, epochs of all of them
    while True:
        while len(running) < concurrent and begun < max_trials:
            name = f"t{begun}"
            if (curve := next(baselines, None)) is not None:
                sampler.enter(name, curve.config)
                spared = True
            else:
                if not learns:  # told of nothing, it draws at random, as TPE does at the start
                    sampler = TreeParzen(replace(search, sampler_seed=first_seed + begun, startup_trials=1))
                curve, spared = table.curve(sampler.suggest(name), rng), False
            trial = SimpleNamespace(trial_id=name, config={"trial": name, "spared": spared})
            if scheduler is not None:
                scheduler.on_trial_add(None, trial)
            heapq.heappush(running, (now + curve.seconds[0], begun, 1, curve, trial))
            begun += 1
        if not running:
            return Found(epochs, begun, now, False)
        end, number, epoch, curve, trial = heapq.heappop(running)
        now = float(end)
        epochs += 1
        value = float(curve.best[epoch - 1])
        if value <= target:
            return Found(epochs, begun, now, True)
        name = trial.trial_id
        result = {EPOCH: epoch, METRIC: value}
        go_on = TrialScheduler.CONTINUE
        decision = scheduler.on_trial_result(None, trial, result) if scheduler is not None else go_on
        if learns:
            sampler.report(name, epoch, value)
        if epoch == search.epochs:
            if scheduler is not None:
                scheduler.on_trial_complete(None, trial, result)
            if learns:
                sampler.end(name, "complete", value)
        elif decision == TrialScheduler.STOP:
            if learns:
                sampler.end(name, "stopped", value)
        else:
            heapq.heappush(running, (now + curve.seconds[epoch], number, epoch + 1, curve, trial))


@dataclass(frozen=True)
class Summary:
    """Many replays of one method: quartiles of the epochs spent, and the median's ratio to random search."""

    method: str
    grace_period: int
    reduction_factor: float
    startup_trials: int
    concurrent: int
    replays: int
    reached: int
    epochs_lower_quartile: float
    epochs_median: float
    epochs_upper_quartile: float
    trials_median: float
    hours_median: float
    ratio_to_random: float | None


def summarize(found: Sequence[Found], method: str, search: ResolvedSearch, concurrent: int) -> Summary:
    """Return the quartiles of many replays; a search that did not reach the target counts with what it spent."""
    lower, median, upper = np.percentile([one.epochs for one in found], (25, 50, 75))
    return Summary(
        method=method,
        grace_period=search.grace_period,
        reduction_factor=search.reduction_factor,
        startup_trials=search.startup_trials,
        concurrent=concurrent,
        replays=len(found),
        reached=sum(one.reached for one in found),
        epochs_lower_quartile=float(lower),
        epochs_median=float(median),
        epochs_upper_quartile=float(upper),
        trials_median=float(np.median([one.trials for one in found])),
        hours_median=float(np.median([one.seconds for one in found])) / 3600,
        ratio_to_random=None,
    )


@dataclass(frozen=True)
class Task:
    """One setting of one method, `replays` times; what a worker process gets."""

    table: Table
    search: ResolvedSearch
    method: str
    concurrent: int
    replays: int
    max_trials: int

    def __call__(self) -> Summary:
        found = [
            replay(
                self.table,
                self.search,
                self.method,
                concurrent=self.concurrent,
                replay_seed=seed,
                max_trials=self.max_trials,
            )
            for seed in range(self.replays)
        ]
        return summarize(found, self.method, self.search, self.concurrent)


def _carry_out(task: Task) -> Summary:
    return task()


def resolve(curves: Sequence[Curve], space: str, settings: str) -> ResolvedSearch:
    """Return the search to replay: the parameters of one space, the scheduler's and searcher's settings of another.

    A parameter that has one value in all curves is not searched.
    """
    fixed: dict[str, Any] = {"epochs": curves[0].config.epochs}
    searched = load_space(space).resolve(overrides=fixed).search
    if searched is None:
        raise ConfigError(f"--space {space}: has no search; give the space that the curves were recorded in.")
    for name, parameter in searched.parameters.items():
        values = {getattr(curve.config, name) for curve in curves}
        if not parameter.when and len(values) == 1:
            fixed[name] = values.pop()
    search = load_space(space).resolve(overrides=fixed).search
    chosen = load_space(settings).resolve(overrides={"epochs": fixed["epochs"]}).search
    if search is None or chosen is None:
        raise ConfigError(f"--settings {settings}: has no search, so no settings of one.")
    return replace(
        search,
        startup_trials=chosen.startup_trials,
        grace_period=chosen.grace_period,
        reduction_factor=chosen.reduction_factor,
    )


def compare(
    curves: Sequence[Curve],
    search: ResolvedSearch,
    *,
    methods: Iterable[str],
    grid: Mapping[str, Sequence[float]],
    concurrent: int,
    replays: int,
    max_trials: int,
    workers: int,
) -> list[Summary]:
    """Replay every method, and the `default` at every point of the grid, each compared with random search."""
    table = Table(curves, search)
    tasks = [Task(table, search, method, concurrent, replays, max_trials) for method in methods]
    for values in itertools.product(*grid.values()) if grid else ():
        point = dict(zip(grid, values, strict=True))
        at_a_time = int(point.pop("concurrent", concurrent))
        tasks.append(Task(table, replace(search, **point), "default", at_a_time, replays, max_trials))
        if at_a_time != concurrent:  # what random search spends depends on how many trials run at a time
            tasks.append(Task(table, search, "random", at_a_time, replays, max_trials))
    # A point of the grid may be what is compared anyway.
    unique = {(t.method, t.concurrent, *(getattr(t.search, name) for name in SETTINGS[:3])): t for t in tasks}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        summaries = list(pool.map(_carry_out, unique.values()))
    random = {one.concurrent: one.epochs_median for one in summaries if one.method == "random"}
    return [
        replace(one, ratio_to_random=one.epochs_median / random[one.concurrent] if one.concurrent in random else None)
        for one in summaries
    ]


def render(curves: Sequence[Curve], table: Table, summaries: Sequence[Summary]) -> str:
    """Return the comparison as text."""
    lines = [
        f"{len(curves)} curves of {curves[0].config.epochs} epochs, {len(table)} configurations in the space; "
        f"best Dice loss {table.best:.4f}, target {table.best * (1 + WITHIN):.4f}.",
        "Epochs of all trials until one reaches the target:",
        "",
        f"{'method':<10}{'grace':>6}{'factor':>7}{'start-up':>9}{'at once':>8}"
        f"{'median':>9}{'quartiles':>17}{'trials':>8}{'hours':>8}{'reached':>9}{'/ random':>9}",
    ]
    for one in summaries:
        asha, tpe = one.method != "random", one.method in ("asha+tpe", "default")
        quartiles = f"{one.epochs_lower_quartile:.0f}–{one.epochs_upper_quartile:.0f}"
        ratio = "–" if one.ratio_to_random is None else f"{one.ratio_to_random:.2f}"
        lines.append(
            f"{one.method:<10}{one.grace_period if asha else '–':>6}{f'{one.reduction_factor:g}' if asha else '–':>7}"
            f"{one.startup_trials if tpe else '–':>9}{one.concurrent:>8}{one.epochs_median:>9.0f}{quartiles:>17}"
            f"{one.trials_median:>8.0f}{one.hours_median:>8.2f}{f'{one.reached}/{one.replays}':>9}{ratio:>9}"
        )
    return "\n".join(lines)


def _grid(settings: Sequence[str]) -> dict[str, list[float]]:
    grid: dict[str, list[float]] = {}
    for setting in settings:
        name, _, values = setting.partition("=")
        try:
            numbers = [float(value) if name == "reduction_factor" else int(value) for value in values.split(",")]
        except ValueError:
            numbers = []
        lowest = 1 if name != "reduction_factor" else 1 + 1e-9
        if name not in SETTINGS or not numbers or min(numbers) < lowest:
            raise ConfigError(f"--grid {setting!r}: must be NAME=NUMBER,NUMBER,…, NAME one of {', '.join(SETTINGS)}.")
        grid[name] = numbers
    return grid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, help="folder with epochs.csv and leaderboard.csv")
    parser.add_argument("--space", help="space that the curves are of (space.yaml beside them, else extended)")
    parser.add_argument("--settings", default="extended", help="space whose settings are the default (extended)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--grid", action="append", default=[], metavar="NAME=V,V", help="also try these settings")
    parser.add_argument("--concurrent", type=int, default=4, help="trials at a time (4)")
    parser.add_argument("--replays", type=int, default=200, help="searches of each kind (200)")
    parser.add_argument("--max-trials", type=int, default=500, help="trials after which a search gives up (500)")
    parser.add_argument("--workers", type=int, default=available_cpus(), help="processes (one a core)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parsed = parser.parse_args(arguments)
    for name in ("concurrent", "replays", "max_trials", "workers"):
        if getattr(parsed, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(parsed, name)}: must be at least 1.")
    try:
        beside = parsed.curves / "space.yaml"
        curves = read_curves(parsed.curves)
        space = parsed.space or (str(beside) if beside.is_file() else "extended")
        search = resolve(curves, space, parsed.settings)
        table = Table(curves, search)
        summaries = compare(
            curves,
            search,
            methods=parsed.methods,
            grid=_grid(parsed.grid),
            concurrent=parsed.concurrent,
            replays=parsed.replays,
            max_trials=parsed.max_trials,
            workers=parsed.workers,
        )
    except BtsTuneError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    if parsed.json:
        known = {"curves": len(curves), "configurations": len(table), "best_val_dice_loss": table.best}
        print(json.dumps({**known, "within": WITHIN, "methods": [asdict(one) for one in summaries]}, indent=2))
    else:
        print(render(curves, table, summaries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
