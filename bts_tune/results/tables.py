"""The CSV files: a table of trials, one of configurations and one of epochs, as frames and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.leaderboard import configuration_ranks, ordered, total_seconds
from bts_tune.results.ranking.memo import memoized
from bts_tune.results.ranking.settings import fields_of, setting
from bts_tune.results.record.objective import Objective, metric_keys, objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.comparison import Comparison, SplitComparison
from bts_tune.results.statistics.intervals import Interval, spread

METRICS = (*(f"val_{key}" for key in metric_keys()), "val_loss", "train_dice_loss", "train_loss")
"""Metrics of an epoch; the leaderboard shows a trial's best epoch."""

TEST_METRICS = (*(f"test_{key}" for key in metric_keys()), "test_loss")
"""Metrics of the test split at a trial's best epoch; of trials of the final stage, or of the best and the baselines."""

_OF_TRAINING = ("learning_rate", "trainable_parameters", "seconds", "train_seconds", "images_per_second", "time")
INTEGERS = (
    "rank",
    "best_epoch",
    "epochs_run",
    "epochs",
    "parameters",
    "trainable_parameters",
    "seed",
    "fold",
    "epoch",
    "replicates",
    "planned",
    "seeds",
    "folds",
)


def with_profile(frame: pd.DataFrame, run: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table with the run's profile (`demo` or `data`) as a column after the trial's."""
    marked = frame.copy(deep=False)
    marked.insert(int(frame.columns.get_indexer(pd.Index(["trial"]))[0]) + 1, "profile", run.get("profile", ""))
    return marked


def leaderboard(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row a trial, in the order of `ordered`.

    Columns: `rank` (Int64; that of its configuration, so that replicates share it; of full-budget trials of the stage
    that the result comes from), what the trial is and how it ended, its stage, `METRICS` at its best epoch,
    `TEST_METRICS`, `best_epoch`, `epochs_run`, `epochs` (the budget), `seconds` (all epochs, validation included),
    `images_per_second` (training images over training time), `parameters`, `trainable_parameters` (at the best epoch),
    `seed`, `config_id`, `recipe_id`, then every other field of a configuration. Metrics of
    plugins follow our own. What is not known is missing.
    """
    rows = []
    ranks = configuration_ranks(trials)
    fields = fields_of(trials)
    metrics = (*METRICS, *further_metrics(trials))
    test_metrics = (*TEST_METRICS, *further_test_metrics(trials))
    for record in ordered(trials):
        best = record.best_row or {}
        row: dict[str, Any] = {
            "rank": ranks.get(record.trial),
            "name": record.name,
            "trial": record.trial,
            "status": record.status,
            "reason": record.reason,
            "baseline": record.baseline,
            "changed": ";".join(record.changed),
            "stage": record.stage,
            "origin": record.origin,
            "fold": record.fold,
        }
        row |= {name: best.get(name) for name in metrics}
        row |= {name: record.test.get(name) for name in test_metrics}
        row |= {
            "best_epoch": best.get("epoch"),
            "epochs_run": len(record.rows),
            "epochs": setting(record, "epochs"),
            "seconds": total_seconds(record),
            "images_per_second": _images_per_second(record),
            "parameters": record.started.get("parameters"),
            "trainable_parameters": best.get("trainable_parameters", record.started.get("trainable_parameters")),
            "seed": setting(record, "seed"),
            "config_id": record.config_id,
            "recipe_id": record.recipe_id,
        }
        row |= {field: setting(record, field) for field in fields if field not in row}
        rows.append(row)
    columns = list(rows[0]) if rows else _empty_columns()
    return _typed(pd.DataFrame(rows, columns=columns), (*metrics, *test_metrics, "seconds", "images_per_second"))


@memoized
def further_metrics(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Return the validation metrics on record that are not among `METRICS`: those of plugins."""
    last = (record.rows[-1] for record in trials if record.rows)
    return tuple(dict.fromkeys(name for row in last for name in row if name.startswith("val_") and name not in METRICS))


@memoized
def further_test_metrics(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Return the test metrics on record that are not among `TEST_METRICS`: those of plugins."""
    names = dict.fromkeys(name for record in trials for name in record.test)
    return tuple(name for name in names if name.startswith("test_") and name not in TEST_METRICS)


def configurations_table(trials: Sequence[TrialRecord], comparison: Comparison | None = None) -> pd.DataFrame:
    """Return one row a ranked configuration, best first.

    Columns: `rank`, what it is, `replicates` of the `planned` ones that were trained to the full budget, their `seeds`
    and `folds` (missing without folds), and for `val_` and `test_`: mean and `_sd`, the sample standard deviation, of
    the replicates' metrics; then, from the scores of single images, `_low` and `_high` of Dice loss, IoU and the
    objective, what it gains on the best baseline, with limits, the p value and the share of the draws in which it is
    first. Then the
    trial whose model to use, and every field of the configuration but the seed. What is not known is missing.
    """
    comparison = comparison or Comparison()
    metrics = (*metric_keys(), *(name.removeprefix("val_") for name in further_metrics(trials)))
    rows = []
    fields = fields_of(trials)
    for rank, one in enumerate(configurations(trials), start=1):
        row: dict[str, Any] = {
            "rank": rank,
            "name": one.name,
            "trial": one.best.trial,
            "baseline": one.baseline,
            "changed": ";".join(one.changed),
            "recipe_id": one.recipe_id,
            "replicates": len(one.trials),
            "planned": one.planned,
            "seeds": one.seeds,
            "folds": one.folds or None,
        }
        for split, prefix in (("valid", "val"), ("test", "test")):
            for name in metrics:
                values = one.values(f"{prefix}_{name}")
                found = spread(values) if values else None
                row[f"{prefix}_{name}"] = found and found.mean
                row[f"{prefix}_{name}_sd"] = found and found.deviation
            compared = comparison.splits.get(split)
            place = compared.place(one) if compared else None
            columns_of = _comparison_columns(compared, place, one.objective)
            row |= {f"{prefix}_{name}": value for name, value in columns_of.items()}
        seconds = [total for record in one.trials if (total := total_seconds(record)) is not None]
        row |= {"seconds": math.fsum(seconds) if seconds else None, "parameters": one.best.started.get("parameters")}
        row |= {field: setting(one.best, field) for field in fields if field != "seed" and field not in row}
        rows.append(row)
    columns = list(rows[0]) if rows else list(configurations_table([_blank()]).columns)
    frame = pd.DataFrame(rows, columns=columns)
    return _typed(frame, [name for name in columns if name.startswith(("val_", "test_"))] + ["seconds"])


def _comparison_columns(
    compared: SplitComparison | None, place: int | None, objective: Objective
) -> dict[str, float | None]:
    nothing = Interval(math.nan, None, None)
    attributes = {name: name for name in ("dice_loss", "iou", "dice_gain", "iou_gain")}
    if not objective.is_ranking_key:
        attributes |= {objective.metric: "value", f"{objective.metric}_gain": "gain"}
    found = dict.fromkeys(attributes, nothing)
    p_value, first = None, None
    if compared is not None and place is not None:
        resampled, same = compared.resampled, compared.objective == objective
        found |= {
            name: getattr(resampled, attribute)[place]
            for name, attribute in attributes.items()
            if same or name == attribute
        }
        first = resampled.first[place] if same and resampled.first is not None else None
        p_value = compared.p_values[place]
        if not compared.configurations[compared.reference].baseline:
            found |= {name: nothing for name in found if name.endswith("gain")}
            p_value = None
    columns: dict[str, float | None] = {}
    for name, interval in found.items():
        if name.endswith("gain"):
            columns[name] = interval.value
        columns |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {**columns, "p_holm": p_value, "first": first}


def epochs_table(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row an epoch: trials in the order of planning, epochs ascending, every recorded metric."""
    planned = in_order(trials)
    columns = epoch_columns(planned)
    of_trials = {
        "name": [record.name for record in planned],
        "trial": [record.trial for record in planned],
        "seed": [setting(record, "seed") for record in planned],
        "baseline": [record.baseline for record in planned],
        "changed": [";".join(record.changed) for record in planned],
    }
    frame = pd.DataFrame(of_trials).loc[np.repeat(np.arange(len(planned)), [len(record.rows) for record in planned])]
    # Column by column: row by row, a long run would be in memory a second time.
    of_epochs = {
        name: pd.array(
            [row.get(name) for record in planned for row in record.rows],
            dtype="Int64" if name in INTEGERS else "float64",
        )
        for name in columns
    }
    return frame.reset_index(drop=True).assign(**of_epochs).astype({"seed": "Int64"})


def in_order(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return trials in the order of planning."""
    return sorted(trials, key=lambda record: (record.index, record.trial))


def epoch_columns(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Return the columns of `epochs_table` that each epoch has; those of its trial come before them."""
    metrics = [f"val_{key}" for key in metric_keys()]
    losses = ("epoch", "train_loss", "train_dice_loss", "val_loss")
    best = objective_of(trials).best_column
    return (*losses, *metrics, best, "best_epoch", *_OF_TRAINING, *further_metrics(trials))


def _images_per_second(record: TrialRecord) -> float | None:
    """Training images over training time of all epochs, so that a slow first epoch weighs by its length."""
    timed = [row for row in record.rows if row.get("train_seconds") and row.get("images_per_second") is not None]
    seconds = math.fsum(row["train_seconds"] for row in timed)
    if not seconds:
        return None
    return math.fsum(row["images_per_second"] * row["train_seconds"] for row in timed) / seconds


def _empty_columns() -> list[str]:
    return list(leaderboard([_blank()]).columns)


def _blank() -> TrialRecord:
    """A trial that is in every table, of which nothing is kept but the names of the columns."""
    row = {"epoch": 1, "val_dice_loss": 1.0, "val_iou": 0.0}
    return TrialRecord("", "", 0, False, [], None, {}, "", "", status="complete", rows=[row])


def _typed(frame: pd.DataFrame, floats: Sequence[str]) -> pd.DataFrame:
    """Give the numeric columns one type whatever is missing, so that the CSV never turns `12` into `12.0`."""
    types = dict.fromkeys(floats, "float64") | {name: "Int64" for name in INTEGERS if name in frame.columns}
    return frame.astype(types)
