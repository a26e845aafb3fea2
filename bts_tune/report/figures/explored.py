"""The trials of a run as the plots of a page need them, to be explored: values, curves and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bts_tune.report.cells import role_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.wording import duration, metric
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.leaderboard import is_ranked, total_seconds
from bts_tune.results.ranking.settings import fields_of, setting, value
from bts_tune.results.record.objective import objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES

MAX_TRIALS = 1000
"""Most trials that the plots hold: with more, a page is slow, and nobody can follow the lines."""

_MAX_POINTS = 120
"""Most epochs of a curve that are drawn."""


def explored(context: ReportContext) -> dict[str, Any] | None:
    """Return what a page's plots show of the trials, ready for JSON; None where none has an epoch.

    Of more than `MAX_TRIALS` trials with an epoch it holds the best half as many and the baselines, and others at even
    steps: `total` is how many there are.
    """
    drawn = [record for record in context.trials if record.rows]
    if not drawn:
        return None
    shown = _chosen(drawn)
    objective = objective_of(context.trials)
    ranks = {
        record.trial: rank for rank, one in enumerate(configurations(context.trials), start=1) for record in one.trials
    }
    fields = fields_of(shown)
    varied = [field for field in fields if len({repr(setting(record, field)) for record in shown}) > 1]
    return {
        "objective": objective.title,
        "better": objective.better,
        "total": len(drawn),
        "varied": varied,
        "common": {field: value(setting(shown[0], field)) for field in fields if field not in varied},
        "trials": [_trial(context, record, ranks.get(record.trial), varied) for record in shown],
    }


def _chosen(drawn: Sequence[TrialRecord]) -> list[TrialRecord]:
    if len(drawn) <= MAX_TRIALS:
        return list(drawn)
    first = MAX_TRIALS // 2
    always = [place for place, record in enumerate(drawn) if place < first or record.baseline][:MAX_TRIALS]
    others = sorted(set(range(len(drawn))) - set(always))
    steps = np.linspace(0, len(others) - 1, MAX_TRIALS - len(always)).round().astype(int)
    return [drawn[place] for place in sorted({*always, *(others[step] for step in steps)})]


def _trial(context: ReportContext, record: TrialRecord, rank: int | None, varied: Sequence[str]) -> dict[str, Any]:
    best = record.best_row or {}
    rows = record.rows
    if len(rows) > _MAX_POINTS:
        rows = [rows[place] for place in np.linspace(0, len(rows) - 1, _MAX_POINTS).round().astype(int)]
    return {
        "id": record.trial,
        "name": context.names[record.trial],
        "role": role_cell(record),
        "stage": record.stage,
        "rank": rank,
        "ranked": is_ranked(record),
        "status": STATUSES[record.status].words,
        "time": duration(total_seconds(record)),
        "value": _number(record.objective.value(best)) if best else None,
        "loss": metric(best.get("val_dice_loss")),
        "iou": metric(best.get("val_iou")),
        "best": best.get("epoch"),
        "epochs": setting(record, "epochs"),
        "x": [row["epoch"] for row in rows],
        "y": [_number(record.objective.value(row)) for row in rows],
        "gap": [_gap(row) for row in rows],
        "set": [_plain(setting(record, field)) for field in varied],
    }


def _gap(row: Mapping[str, Any]) -> float | None:
    trained = row.get("train_dice_loss")
    return None if trained is None else _number(row["val_dice_loss"] - trained)


def _number(content: Any) -> float | None:
    """Return a number to five significant digits; None for what JSON cannot hold."""
    number = float(content)
    return float(f"{number:.5g}") if math.isfinite(number) else None


def _plain(content: Any) -> float | int | str | bool | None:
    """Return a setting as JSON holds it: a number, or a text."""
    if isinstance(content, bool) or content is None or isinstance(content, str):
        return content
    if isinstance(content, int | float) and math.isfinite(content):
        return float(f"{content:.4g}") if isinstance(content, float) else content
    return value(content)
