"""The ranking for a terminal, as rich text, and for a pipe, as plain lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
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
_STATUS_STYLES = {"complete": "green", "diverged": "red", "oom": "red", "failed": "red", "interrupted": "yellow"}


def ranking_table(trials: Sequence[TrialRecord], *, width: int | None = None, limit: int = 40) -> RenderableType:
    """Return the ranking with its notes, styled.

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
    # Lines rather than rich's own table: in a narrow terminal that would cut digits off numbers.
    lines = [_line(header, "bold")]
    for record, cells in zip(listed, rows, strict=True):
        best = is_ranked(record) and cells[0].strip() == "1"
        lines.append(_line(cells, "bold" if best else "" if is_ranked(record) else "dim", record.status))
    return Group(*lines, *(Text(note, style="dim") for note in _notes(listed, more, width)))


def ranking_text(trials: Sequence[TrialRecord], *, width: int = DEFAULT_WIDTH, limit: int = 40) -> str:
    """Return the ranking as plain lines, for a pipe or a log.

    Args:
        trials: the run's trials in any order.
        width: most characters of a line; below 64 the numbers and the shortest names may take more.
        limit: most trials to list; the baselines are always among them.
    """
    listed, more = _listed(trials, limit)
    lines = [(" " * _GAP).join(cells).rstrip() for cells in _cells(trials, listed, width)]
    return "\n".join([*lines, *_notes(listed, more, width)])


def _line(cells: Sequence[str], style: str, status: str = "") -> Text:
    line = Text(style=style, no_wrap=True, overflow="ignore")
    for column, cell in enumerate(cells):
        line.append(cell, _STATUS_STYLES.get(status) if column == _STATUS else None)
        line.append(" " * _GAP)
    line.rstrip()
    return line


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
    spare = width - (sum(widths) - widths[_NAME]) - _GAP * (len(_HEADER) - 1)
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
