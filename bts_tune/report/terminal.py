"""The ranking for a terminal, as a rich table, and for a pipe, as plain lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bts_tune.report.leaderboard import is_ranked, ordered, ranking, total_seconds
from bts_tune.report.words import (
    BASELINE_MARK,
    CHANGED_MARK,
    MISSING,
    changed_note,
    duration,
    mark,
    metric,
    names,
    plural,
    setting,
    shortened,
)
from bts_tune.store import TrialRecord

DEFAULT_WIDTH = 80
_HEADER = ("rank", "trial", "Dice loss", "IoU", "epoch", "status", "time")
_NAME, _STATUS = 1, 5
_GAP = 2
_MAX_NAME, _MIN_NAME = 40, 8
_STATUS_STYLES = {"complete": "green", "diverged": "red", "failed": "red", "interrupted": "yellow"}


def ranking_table(trials: Sequence[TrialRecord], *, width: int | None = None, limit: int = 40) -> RenderableType:
    """Return the ranking as a rich table with its notes.

    Dice loss and IoU are the validation split's at the best epoch, which stands beside the budget. Numbers are never
    cut: in a narrow terminal the names give way.

    Args:
        trials: the run's trials in any order.
        width: columns of the terminal; 80 where it is not given.
        limit: most trials to list; the baselines are always among them.
    """
    width = width or DEFAULT_WIDTH
    listed, more = _listed(trials, limit)
    header, *rows = _cells(trials, listed, width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for title in header:
        # The cells are padded already, and rich must not shorten them.
        table.add_column(Text(title), no_wrap=True, overflow="ignore")
    for record, cells in zip(listed, rows, strict=True):
        texts = [Text(cell) for cell in cells]
        texts[_STATUS].stylize(_STATUS_STYLES.get(record.status, ""))
        best = is_ranked(record) and cells[0].strip() == "1"
        table.add_row(*texts, style="bold" if best else "" if is_ranked(record) else "dim")
    return Group(table, *(Text(note, style="dim") for note in _notes(listed, more, width)))


def ranking_text(trials: Sequence[TrialRecord], *, width: int = DEFAULT_WIDTH, limit: int = 40) -> str:
    """Return the ranking as plain lines, for a pipe or a log.

    Args:
        trials: the run's trials in any order.
        width: most characters of a line; below about 60 the numbers and the shortest names take more.
        limit: most trials to list; the baselines are always among them.
    """
    listed, more = _listed(trials, limit)
    lines = [(" " * _GAP).join(cells).rstrip() for cells in _cells(trials, listed, width)]
    return "\n".join([*lines, *_notes(listed, more, width)])


def _listed(trials: Sequence[TrialRecord], limit: int) -> tuple[list[TrialRecord], int]:
    everyone = ordered(trials)
    shown = [record for place, record in enumerate(everyone) if place < limit or record.baseline]
    return shown, len(everyone) - len(shown)


def _cells(trials: Sequence[TrialRecord], listed: Sequence[TrialRecord], width: int) -> list[list[str]]:
    """Return the header and the rows, every column padded to one width, and all of them fitting `width` if they can."""
    ranks = {record.trial: str(rank) for rank, record in enumerate(ranking(trials), start=1)}
    called = names(trials)
    rows = [list(_HEADER)]
    for record in listed:
        best = record.best_row or {}
        rows.append(
            [
                ranks.get(record.trial, MISSING),
                "",
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                f"{best['epoch']}/{setting(record, 'epochs')}" if best else MISSING,
                record.status,
                duration(total_seconds(record)),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    spare = width - (sum(widths) - widths[_NAME]) - _GAP * len(_HEADER)
    room = min(_MAX_NAME, max(_MIN_NAME, spare))
    for record, row in zip(listed, rows[1:], strict=True):
        marked = f" {mark(record)}" if record.baseline else ""
        row[_NAME] = shortened(called[record.trial], room - len(marked)) + marked
    widths[_NAME] = max(len(row[_NAME]) for row in rows)
    left = (_NAME, _STATUS)
    return [
        [cell.ljust(size) if column in left else cell.rjust(size) for column, (cell, size) in enumerate(zipped)]
        for zipped in (zip(row, widths, strict=True) for row in rows)
    ]


def _notes(listed: Sequence[TrialRecord], more: int, width: int) -> list[str]:
    notes = [f"… {plural(more, 'more trial')} in leaderboard.csv"] if more else []
    notes.append("Dice loss (lower is better) and IoU: validation split, at the best epoch.")
    if any(record.baseline for record in listed):
        notes.append(f"{BASELINE_MARK} baseline")
    changed = changed_note(listed)
    if changed:
        notes.append(f"{CHANGED_MARK} {changed}")
    if any(not is_ranked(record) for record in listed):
        notes.append("Only trials trained to the full budget are ranked.")
    return [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
