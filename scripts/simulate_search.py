#!/usr/bin/env python
"""Replays recorded learning curves through the real scheduler and the real searcher, in simulated time.

    python scripts/simulate_search.py results/reference/curves
    python scripts/simulate_search.py results/reference/curves --grid grace_period=1,2,4 --grid reduction_factor=2,3,4

A search is a race against epochs: how many have to be trained, over all trials, until one of them has a validation Dice
loss within 1 % of the best that is known? To answer that by training would take weeks for each setting. Here every
trial's epochs come from a surrogate of recorded full-length curves instead, and hundreds of searches take minutes.

The record is what a run leaves as `epochs.csv` and `leaderboard.csv`, of trials that were all trained to the full
budget. A searcher proposes configurations that are not in a finite table, so a random forest (Breiman 2001) predicts
the curve of any configuration from the recorded ones, as in surrogate benchmarks (Eggensperger et al. 2015); choices
are one-hot, numbers on the scale on which they are drawn. To what it predicts is added the out-of-bag residual, over
all epochs, of one of the recorded trials for which it predicts most nearly the same: what a trial is better or worse
by than its settings say, seeds included, is as large as it was in the record. How well the forest predicts trials that
it was not fitted to (out of bag) is printed. The nearest recorded configuration's curve would be a table of prizes
rather than a landscape: on 43 recorded curves it predicts worse than their mean does.

An epoch takes the seconds that the forest predicts; `--concurrent` trials run at a time. A search goes on until the
target is reached, or for `--max-trials` trials, which counts with the epochs that it spent.

Methods:

    random     configurations at random, every trial to its full budget
    asha       configurations at random, stopped early by ASHA
    asha+tpe   configurations from TPE, stopped early by ASHA
    default    as a run does it: the baselines first, never stopped, and asha+tpe around them, with learning curves that
               stop trials between ASHA's rungs

Grace period, reduction factor, the complete trials from which on learning curves stop others (`outlook_after`) and
random start-up trials are those of `--settings`, scaled to the curves' length as a run scales them.
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
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from bts_tune.config import TrialConfig, known_fields
from bts_tune.data.parallel import available_cpus
from bts_tune.errors import BtsTuneError, ConfigError
from bts_tune.experiment.search.scheduler import ASHAWithProtectedTrials
from bts_tune.experiment.search.tpe import OptunaTPE
from bts_tune.results.record.objective import DICE_LOSS
from bts_tune.space import ResolvedSearch, load_space
from bts_tune.text import scalar

METHODS = ("random", "asha", "asha+tpe", "default")
SETTINGS = ("grace_period", "reduction_factor", "startup_trials", "outlook_after", "concurrent")
WITHIN = 0.01  # of the best known Dice loss
TREES = 60  # of the forest; more predict no better, and slower
ALIKE = 10  # recorded trials whose residuals a trial may get
MIN_CURVES = 20  # recorded trials; out of bag, a forest of fewer says nothing


@dataclass(frozen=True)
class Curve:
    """A recorded trial: the running best of its validation Dice loss and the seconds of each epoch, both [epochs]."""

    trial: str
    baseline: bool
    config: TrialConfig
    best: np.ndarray
    seconds: np.ndarray


# A table of an earlier version lacks the fields that came after it, which then had no effect: their defaults.
_NEEDED = {"trial", "status", "baseline", "decoder", "encoder", "epochs", "learning_rate"}


def read_curves(folder: Path) -> list[Curve]:
    """Read the curves of a run from its `epochs.csv` and `leaderboard.csv`; trials that did not complete are left out.

    Raises:
        ConfigError: a file or a column is missing, an epoch is missing, a value cannot be read, or the trials have
            different budgets.
    """
    board, epochs = folder / "leaderboard.csv", folder / "epochs.csv"
    complete = [row for row in _read(board, _NEEDED) if row["status"] == "complete"]
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
        # Empty cells are of the parameters of other losses and decoders.
        fields = {name: scalar(row[name]) for name in known_fields() if row.get(name)}
        config = TrialConfig.parse(fields, f"{board}: trial {row['trial']}")
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


class Surrogate:
    """Learning curves of any configuration of a search's space, as recorded ones make them likely."""

    def __init__(self, curves: Sequence[Curve], search: ResolvedSearch) -> None:
        self._search = search
        self.baselines = [curve for curve in curves if curve.baseline]
        recorded = [curve for curve in curves if search.values_of(curve.config) is not None]
        if len(recorded) < MIN_CURVES:
            raise ConfigError(
                f"{search.where}: {len(recorded)} recorded configurations lie in this space, and a surrogate needs "
                f"{MIN_CURVES}; give the space of the run, or record more trials."
            )
        codes = np.array([self._code(curve.config) for curve in recorded])
        losses = np.array([curve.best for curve in recorded])
        self._losses = _forest(codes, losses)
        self._seconds = _forest(codes, np.array([curve.seconds for curve in recorded]))
        held_out = self._losses.oob_prediction_
        self._expected, self._residuals = held_out[:, -1], losses - held_out
        self.best = min(float(curve.best[-1]) for curve in curves)
        self.r2 = float(1 - (self._residuals[:, -1] ** 2).mean() / losses[:, -1].var())
        self.rank_correlation = float(stats.spearmanr(held_out[:, -1], losses[:, -1]).statistic)

    def curve(self, config: TrialConfig, rng: np.random.Generator) -> Curve:
        """Return a likely curve of a configuration; another one at every call."""
        code = self._code(config)[None]
        losses = self._losses.predict(code)[0]
        alike = np.argsort(np.abs(self._expected - losses[-1]), kind="stable")[:ALIKE]
        losses = np.clip(losses + self._residuals[rng.choice(alike)], 0, 1)
        return Curve("drawn", False, config, np.minimum.accumulate(losses), self._seconds.predict(code)[0])

    def _code(self, config: TrialConfig) -> np.ndarray:
        """Return a number for each numeric parameter and one for each choice; NaN for what a configuration has not."""
        drawn = self._search.values_of(config)
        assert drawn is not None
        codes: list[float] = []
        for name, parameter in self._search.parameters.items():
            if parameter.choices is not None:
                codes += [float(drawn.get(name) == choice) for choice in parameter.choices]
            elif name not in drawn:
                codes.append(np.nan)
            else:
                codes.append(float(np.log(drawn[name]) if parameter.log else drawn[name]))
        return np.array(codes)


def _forest(codes: np.ndarray, targets: np.ndarray) -> RandomForestRegressor:
    return RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(codes, targets)


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
    surrogate: Surrogate, search: ResolvedSearch, method: str, *, concurrent: int, replay_seed: int, max_trials: int
) -> Found:
    """Simulate one search until a trial's running best is within 1 % of the best that was recorded."""
    rng = np.random.default_rng((replay_seed, 1))
    # Each suggestion is seeded by the sampler's seed and the number of trials before it; no two replays share one.
    first_seed = replay_seed * 1_000_000
    learns = method in ("asha+tpe", "default")
    sampler = OptunaTPE(replace(search, sampler_seed=first_seed))
    scheduler = None
    if method != "random":
        scheduler = ASHAWithProtectedTrials(
            epochs=search.epochs,
            longest=search.epochs,
            grace_period=search.grace_period,
            reduction_factor=search.reduction_factor,
            min_complete_trials=search.outlook_after if method == "default" else 0,
        )
    baselines = iter(surrogate.baselines if method == "default" else ())
    target = surrogate.best * (1 + WITHIN)
    running: list[tuple[float, int, int, Curve, Any]] = []  # end of the epoch, number, epoch, curve, trial
    now, begun, epochs = 0.0, 0, 0  # simulated seconds, trials, epochs of all of them
    while True:
        while len(running) < concurrent and begun < max_trials:
            name = f"t{begun}"
            if (curve := next(baselines, None)) is not None:
                sampler.add(name, curve.config)
                protected = True
            else:
                if not learns:  # told of nothing, it draws at random, as TPE does at the start
                    sampler = OptunaTPE(replace(search, sampler_seed=first_seed + begun, startup_trials=1))
                curve, protected = surrogate.curve(sampler.suggest(name), rng), False
            trial = SimpleNamespace(trial_id=name, config={"trial": name, "protected": protected})
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
        result = {"epoch": epoch, DICE_LOSS.best_column: value}
        go_on = TrialScheduler.CONTINUE
        decision = scheduler.on_trial_result(None, trial, result) if scheduler is not None else go_on
        if learns:
            sampler.report(name, epoch, value)
        if epoch == search.epochs:
            if scheduler is not None:
                scheduler.on_trial_complete(None, trial, result)
            if learns:
                sampler.finish(name, "complete", value)
        elif decision == TrialScheduler.STOP:
            if learns:
                sampler.finish(name, "stopped", value)
        else:
            heapq.heappush(running, (now + curve.seconds[epoch], number, epoch + 1, curve, trial))


@dataclass(frozen=True)
class Summary:
    """Many replays of one method: quartiles of the epochs spent, and the median's ratio to random search."""

    method: str
    grace_period: int
    reduction_factor: float
    startup_trials: int
    outlook_after: int
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
        outlook_after=search.outlook_after if method == "default" else 0,
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
class Setting:
    """A method with its settings."""

    search: ResolvedSearch
    method: str
    concurrent: int


@dataclass(frozen=True)
class Replayer:
    """Replays a setting; what a worker process gets."""

    surrogate: Surrogate
    max_trials: int

    def __call__(self, setting: Setting, seed: int) -> Found:
        """Simulate one search."""
        return replay(
            self.surrogate,
            setting.search,
            setting.method,
            concurrent=setting.concurrent,
            replay_seed=seed,
            max_trials=self.max_trials,
        )


def resolve(curves: Sequence[Curve], space: str, settings: str) -> ResolvedSearch:
    """Return the search to replay: the parameters of one space, the scheduler's and searcher's settings of another.

    A parameter that has one value in all curves is not searched.
    """
    fixed: dict[str, Any] = {"epochs": curves[0].config.epochs}
    searched = load_space(space).resolve(overrides=fixed).search
    if searched is None:
        raise ConfigError(f"--space {space}: has no search; give the space that the curves were recorded in.")
    for name, parameter in searched.parameters.items():
        if parameter.when:  # a configuration may have no such field
            continue
        values = {getattr(curve.config, name) for curve in curves}
        if len(values) == 1:
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
        outlook_after=chosen.outlook_after,
    )


def compare(
    surrogate: Surrogate,
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
    settings = [Setting(search, method, concurrent) for method in methods]
    for values in itertools.product(*grid.values()) if grid else ():
        point: dict[str, Any] = dict(zip(grid, values, strict=True))
        at_a_time = int(point.pop("concurrent", concurrent))
        settings.append(Setting(replace(search, **point), "default", at_a_time))
        if at_a_time != concurrent:  # what random search spends depends on how many trials run at a time
            settings.append(Setting(search, "random", at_a_time))
    # A point of the grid may be what is compared anyway.
    unique = {(s.method, s.concurrent, *(getattr(s.search, name) for name in SETTINGS[:4])): s for s in settings}
    every = [(setting, seed) for setting in unique.values() for seed in range(replays)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(Replayer(surrogate, max_trials), *zip(*every, strict=True), chunksize=5))
    summaries = [
        summarize(found[n * replays : (n + 1) * replays], setting.method, setting.search, setting.concurrent)
        for n, setting in enumerate(unique.values())
    ]
    random = {one.concurrent: one.epochs_median for one in summaries if one.method == "random"}
    return [
        replace(one, ratio_to_random=one.epochs_median / random[one.concurrent] if one.concurrent in random else None)
        for one in summaries
    ]


def render(curves: Sequence[Curve], surrogate: Surrogate, summaries: Sequence[Summary]) -> str:
    """Return the comparison as text."""
    lines = [
        f"{len(curves)} curves of {curves[0].config.epochs} epochs; best Dice loss {surrogate.best:.4f}, target "
        f"{surrogate.best * (1 + WITHIN):.4f}.",
        f"The surrogate's final Dice loss out of bag: R2 {surrogate.r2:.2f}, rank correlation "
        f"{surrogate.rank_correlation:.2f}.",
        "Epochs of all trials until one reaches the target:",
        "",
        f"{'method':<10}{'grace':>6}{'factor':>7}{'start-up':>9}{'outlook':>8}{'at once':>8}"
        f"{'median':>9}{'quartiles':>17}{'trials':>8}{'hours':>8}{'reached':>9}{'/ random':>9}",
    ]
    for one in summaries:
        asha, tpe = one.method != "random", one.method in ("asha+tpe", "default")
        quartiles = f"{one.epochs_lower_quartile:.0f}–{one.epochs_upper_quartile:.0f}"
        ratio = "–" if one.ratio_to_random is None else f"{one.ratio_to_random:.2f}"
        lines.append(
            f"{one.method:<10}{one.grace_period if asha else '–':>6}{f'{one.reduction_factor:g}' if asha else '–':>7}"
            f"{one.startup_trials if tpe else '–':>9}{one.outlook_after or '–':>8}{one.concurrent:>8}"
            f"{one.epochs_median:>9.0f}{quartiles:>17}"
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
        lowest = {"reduction_factor": 1 + 1e-9, "outlook_after": 0}.get(name, 1)
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
        surrogate = Surrogate(curves, search)
        summaries = compare(
            surrogate,
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
        known = {"curves": len(curves), "best_val_dice_loss": surrogate.best, "surrogate_r2": surrogate.r2}
        known["surrogate_rank_correlation"] = surrogate.rank_correlation
        print(json.dumps({**known, "within": WITHIN, "methods": [asdict(one) for one in summaries]}, indent=2))
    else:
        print(render(curves, surrogate, summaries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
