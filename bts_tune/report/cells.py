"""Cells and rows that the tables of several sections have."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

from bts_tune.report.blocks import Block, Cell, Code, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.wording import CHANGED, MISSING, duration, interval, mean_and_spread, metric, spread_words
from bts_tune.results.ranking.configurations import Configuration
from bts_tune.results.ranking.leaderboard import total_seconds
from bts_tune.results.ranking.naming import changed_note, role
from bts_tune.results.ranking.settings import setting, settings
from bts_tune.results.record.objective import Objective, objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES
from bts_tune.results.statistics.comparison import Comparison, SplitComparison
from bts_tune.text import plural

MAX_ROWS = 50
"""Longest table; leaderboard.csv and configurations.csv have all rows."""


def role_cell(record: TrialRecord | Configuration) -> str:
    """Return `baseline`, marked where an override changed it; an empty text for what was searched."""
    return f"baseline {CHANGED}" if record.baseline and record.changed else role(record)


def changed_notes(records: Iterable[TrialRecord | Configuration]) -> list[str]:
    """Return the note that explains the mark of `role_cell`, for the foot of a table; none where nothing is marked."""
    note = changed_note(records)
    return [f"{CHANGED} {note} In these fields they differ from the documented models."] if note else []


def more_rows(listed: Sequence[object], noun: str = "trial", file: str = "leaderboard.csv") -> list[Block]:
    """Return a paragraph on what a table of at most `MAX_ROWS` rows leaves out; nothing where it has all."""
    more = len(listed) - MAX_ROWS
    return [paragraph(f"{plural(more, f'more {noun}')} in ", Code(file), ".")] if more > 0 else []


def time_cell(record: TrialRecord) -> Cell:
    """Return how long the trial took."""
    seconds = total_seconds(record)
    return Cell(duration(seconds), seconds)


def epoch_cell(record: TrialRecord) -> str:
    """Return the best epoch and the budget, `12 of 35`; a dash without rows."""
    return f"{record.best_row['epoch']} of {setting(record, 'epochs')}" if record.best_row else MISSING


def run_epochs_cell(record: TrialRecord) -> str:
    """Return how many epochs were trained and the budget, `35 of 35`."""
    return f"{len(record.rows)} of {setting(record, 'epochs')}"


def spread_cell(one: Configuration, name: str) -> str:
    """Return mean and spread of a metric over the trainings of a configuration."""
    return mean_and_spread(one.values(name))


def mean_cell(one: Configuration, name: str) -> str:
    """Return the mean of a metric over the trainings of a configuration."""
    values = one.values(name)
    return metric(statistics.fmean(values) if values else None)


def interval_cell(
    comparison: Comparison,
    one: Configuration,
    split: str = "valid",
    name: Literal["dice_loss", "iou"] = "dice_loss",
) -> str:
    """Return the interval of a configuration's metric, or a dash where its scores are not those of all trainings."""
    compared = comparison.splits.get(split)
    place = compared.place(one) if compared else None
    if compared is None or place is None or not all(record.trial in comparison.scores for record in one.trials):
        return MISSING
    found = compared.resampled.dice_loss if name == "dice_loss" else compared.resampled.iou
    return interval(found[place])


def has_intervals(compared: SplitComparison | None) -> bool:
    """Return whether a table of a split has a column for intervals."""
    return compared is not None and not compared.why_no_intervals


def no_interval_notes(compared: SplitComparison | None) -> list[str]:
    """Return the note of a table that has no column for intervals though there are scores; none for any other."""
    if compared is None or not compared.why_no_intervals:
        return []
    return [f"Without intervals: {compared.why_no_intervals}."]


def own_header(objective: Objective) -> list[str]:
    """Return the heading of the objective's own column; none where Dice loss or IoU is the objective."""
    return [] if objective.is_ranking_key else [f"validation {objective.title}"]


def own_cells(one: Configuration | TrialRecord) -> list[str]:
    """Return the cell of the column that `own_header` heads."""
    objective = one.objective
    if objective.is_ranking_key:
        return []
    if isinstance(one, Configuration):
        return [spread_cell(one, objective.column)]
    return [metric((one.best_row or {}).get(objective.column))]


def order(objective: Objective) -> str:
    """Return what trials are ranked by, such as `Dice loss, then IoU`."""
    keys = dict.fromkeys((objective.title, "Dice loss", "IoU"))
    return ", then ".join(keys)


def over_trainings(shown: Sequence[Configuration]) -> str:
    """Return what a table shows over the trainings of its configurations, as the end of a sentence."""
    return f"over the trainings of a configuration, {spread_words(len(one.trials) for one in shown)}"


def unranked_table(
    context: ReportContext, records: Sequence[TrialRecord], *, status: bool = False, reason: bool = False
) -> list[Block]:
    """Return a table of trials that are not ranked, with their status and its reason where these are asked for."""
    own = own_header(objective_of(records))
    header = ["name", "role", *(["status"] if status else []), *own, "validation Dice loss", "IoU", "best epoch"]
    header += ["epochs run", "time", *(["reason"] if reason else []), "settings"]
    rows = []
    for record in records[:MAX_ROWS]:
        best = record.best_row or {}
        rows.append(
            [
                context.names[record.trial],
                role_cell(record),
                *([STATUSES[record.status].words] if status else []),
                *own_cells(record),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                best.get("epoch", MISSING),
                run_epochs_cell(record),
                time_cell(record),
                *([record.reason or MISSING] if reason else []),
                settings(record, context.varied),
            ]
        )
    first = 3 if status else 2
    notes = changed_notes(records[:MAX_ROWS])
    return [table(header, rows, right=range(first, first + 5 + len(own)), notes=notes), *more_rows(records)]
