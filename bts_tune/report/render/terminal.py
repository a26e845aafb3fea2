"""The ranking for a terminal, as rich text, and for a pipe, as plain lines."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from bts_tune.report.wording import MISSING, duration, metric
from bts_tune.results.ranking.configurations import Configuration, configurations, folds_sentence, result_stage
from bts_tune.results.ranking.leaderboard import ordered, total_seconds
from bts_tune.results.ranking.memo import FrozenTrials
from bts_tune.results.ranking.naming import BASELINE_MARK, CHANGED_MARK, changed_note, mark, names
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES
from bts_tune.text import plural, printable, shortened

DEFAULT_WIDTH = 80
_ONCE = ("rank", "trial", "Dice loss", "IoU", "epoch", "status", "time")
_REPEATED = ("rank", "configuration", "trainings", "Dice loss", "± sd", "IoU", "status", "time")
_NAME = 1
_GAP = 2
_MIN_NAME = 8
_STATUS_STYLES: Mapping[str, str] = {**{name: one.style for name, one in STATUSES.items()}, "partial": "yellow"}

_Listed = Configuration | TrialRecord
"""A ranked configuration, or a trial of the same stage that is not ranked."""


def ranking_table(trials: Sequence[TrialRecord], *, width: int | None = None, limit: int = 40) -> RenderableType:
    """Return the ranking with its notes, styled.

    One row is a configuration; trials that were not trained to the full budget follow. Dice loss and IoU are the
    validation split's at the best epoch, which stands beside the budget; where a configuration was trained more than
    once they are means, and the number of trainings done and planned and the standard deviation of the Dice loss stand
    beside them. The search before a final stage is not listed. Numbers are never cut: in a narrow terminal the names
    give way.

    Args:
        trials: the run's trials in any order.
        width: columns of the terminal; 80 where it is not given.
        limit: most rows to list; the baselines are always among them.
    """
    width, trials = width or DEFAULT_WIDTH, FrozenTrials(trials)
    listed, more = _listed(trials, limit)
    header, *rows = _cells(trials, listed, width)
    status = _header(listed).index("status")
    # Lines rather than rich's own table: in a narrow terminal that would cut digits off numbers.
    lines = [_line(header, "bold", status)]
    for row, cells in zip(listed, rows, strict=True):
        style = "dim" if isinstance(row, TrialRecord) else "bold" if cells[0].strip() == "1" else ""
        lines.append(_line(cells, style, status))
    return Group(*lines, *(Text(printable(note), style="dim") for note in _notes(trials, listed, more, width)))


def ranking_text(trials: Sequence[TrialRecord], *, width: int = DEFAULT_WIDTH, limit: int = 40) -> str:
    """Return the ranking as plain lines, for a pipe or a log.

    Args:
        trials: the run's trials in any order.
        width: most characters of a line; below 72 the numbers and the shortest names may take more.
        limit: most rows to list; the baselines are always among them.
    """
    trials = FrozenTrials(trials)
    listed, more = _listed(trials, limit)
    lines = [(" " * _GAP).join(cells).rstrip() for cells in _cells(trials, listed, width)]
    return "\n".join([*lines, *_notes(trials, listed, more, width)])


def _line(cells: Sequence[str], style: str, status: int) -> Text:
    line = Text(style=style, no_wrap=True, overflow="ignore")
    for column, cell in enumerate(cells):
        line.append(cell, _STATUS_STYLES.get(cell.strip()) if column == status else None)
        line.append(" " * _GAP)
    line.rstrip()
    return line


def _listed(trials: Sequence[TrialRecord], limit: int) -> tuple[list[_Listed], list[_Listed]]:
    """Return the rows that are shown, and those that are not."""
    ranked = configurations(trials)
    placed = {record.trial for one in ranked for record in one.trials}
    stage = result_stage(trials)
    unranked = [record for record in ordered(trials) if record.stage == stage and record.trial not in placed]
    everyone: list[_Listed] = [*ranked, *unranked]
    return (
        [one for place, one in enumerate(everyone) if place < limit or one.baseline],
        [one for one in everyone[limit:] if not one.baseline],
    )


def _objective(listed: Sequence[_Listed]) -> Objective:
    return listed[0].objective if listed else Objective()


def _header(listed: Sequence[_Listed]) -> tuple[str, ...]:
    repeated = any(isinstance(one, Configuration) and one.planned > 1 for one in listed)
    final = any(isinstance(one, TrialRecord) and one.stage == "final" for one in listed)
    header = _REPEATED if repeated or final else _ONCE
    objective = _objective(listed)
    if objective.is_ranking_key:
        return header
    place = header.index("Dice loss")
    return (*header[:place], objective.title, *header[place:])


def _cells(trials: Sequence[TrialRecord], listed: Sequence[_Listed], width: int) -> list[list[str]]:
    """Return the header and the rows, every column padded to one width, and all of them fitting `width` if they can."""
    header = _header(listed)
    ranks = {one.key: str(rank) for rank, one in enumerate(configurations(trials), start=1)}
    by_trial = names(trials)
    rows = [{name: printable(name) for name in header}]
    for one in listed:
        rows.append(_configuration(one, ranks[one.key]) if isinstance(one, Configuration) else _trial(one))
    table = [[row.get(name, MISSING) for name in header] for row in rows]
    for row in table[1:]:
        row[_NAME] = ""
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    spare = width - (sum(widths) - widths[_NAME]) - _GAP * (len(header) - 1)
    room = max(_MIN_NAME, spare)
    for one, row in zip(listed, table[1:], strict=True):
        marked = f" {mark(one)}" if one.baseline else ""
        name = one.name if isinstance(one, Configuration) else by_trial[one.trial]
        row[_NAME] = shortened(printable(name), room - len(marked)) + marked
    table[0][_NAME] = shortened(table[0][_NAME], room)
    widths[_NAME] = max(len(row[_NAME]) for row in table)
    left = (_NAME, header.index("status"))
    return [
        [cell.ljust(size) if column in left else cell.rjust(size) for column, (cell, size) in enumerate(zipped)]
        for zipped in (zip(row, widths, strict=True) for row in table)
    ]


def _configuration(one: Configuration, rank: str) -> dict[str, str]:
    losses = one.values("val_dice_loss")
    seconds = [total_seconds(record) or 0.0 for record in one.trials]
    epoch = (one.best.best_row or {}).get("epoch")
    return {
        "rank": rank,
        "trainings": f"{len(one.trials)}/{one.planned}",
        one.objective.title: metric(one.value),
        "Dice loss": metric(one.dice_loss),
        "± sd": metric(statistics.stdev(losses) if len(losses) > 2 else None),
        "IoU": metric(one.iou),
        "epoch": f"{epoch}/{setting(one.best, 'epochs')}",
        "status": "complete" if one.complete else "partial",
        "time": duration(statistics.fmean(seconds)),
    }


def _trial(record: TrialRecord) -> dict[str, str]:
    best = record.best_row or {}
    return {
        record.objective.title: metric(best.get(record.objective.column)),
        "Dice loss": metric(best.get("val_dice_loss")),
        "IoU": metric(best.get("val_iou")),
        "epoch": f"{best['epoch']}/{setting(record, 'epochs')}" if best else MISSING,
        "status": record.status,
        "time": duration(total_seconds(record)),
    }


def _notes(trials: Sequence[TrialRecord], listed: Sequence[_Listed], more: Sequence[_Listed], width: int) -> list[str]:
    repeated = _header(listed)[_NAME] == "configuration"
    left_out = sum(repeated and isinstance(one, Configuration) for one in more)
    notes = [f"… {plural(left_out, 'more configuration')} in configurations.csv"] if left_out else []
    notes += [f"… {plural(len(more) - left_out, 'more trial')} in leaderboard.csv"] if len(more) > left_out else []
    objective = _objective(listed)
    shown = "Dice loss (lower is better) and IoU"
    if not objective.is_ranking_key:
        shown = f"{objective.title} ({objective.better} is better), {shown}"
    ranked_by = "" if objective == Objective() else f"; ranked by {objective.title}"
    if repeated:
        notes.append(
            f"{shown}: validation split, each training at its best epoch, means over the trainings done of those "
            "planned, beside the Dice loss its standard deviation; two are no more than a range, and have "
            f"none{ranked_by}."
        )
    else:
        notes.append(f"{shown}: validation split, at the best epoch{ranked_by}.")
    if result_stage(trials) == "final":
        searched = sum(record.stage == "search" for record in trials)
        where = f" The search's {plural(searched, 'trial')}: leaderboard.csv" if searched else ""
        notes.append(f"Ranked: the final stage alone, with fresh seeds.{where}")
    if sentence := folds_sentence(configurations(trials)):
        notes.append(sentence)
    if any(one.baseline for one in listed):
        notes.append(f"{BASELINE_MARK} baseline")
    changed = changed_note(listed)
    if changed:
        notes.append(f"{CHANGED_MARK} {changed}")
    if any(isinstance(one, TrialRecord) for one in listed):
        notes.append("Only trials trained to the full budget are ranked.")
    return [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
