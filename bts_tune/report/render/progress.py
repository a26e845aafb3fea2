"""How far the trials of a run are, from its record alone: a table for a terminal that is looked at again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bts_tune.report.wording import MISSING, duration, metric
from bts_tune.results.ranking.configurations import result_stage
from bts_tune.results.ranking.leaderboard import total_seconds
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.objective import DICE_LOSS, objective_of
from bts_tune.results.record.run_folder import FINISHED, TrialRecord
from bts_tune.results.record.status import STATUSES
from bts_tune.results.trial_count import count_trials
from bts_tune.text import plural, printable, shortened

_LEFT = ("trial", "status")
_BEST = "best so far"
_RIGHT = ("epoch", "Dice loss", "IoU", _BEST, "time")
_GIVE_WAY = ("IoU", "time", "Dice loss", "status")
"""Columns that a narrow terminal does not show, the first ones first."""
_GAP = 2
_MIN_NAME = 8
_FEWEST = 4


def progress_table(
    run: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    *,
    state: str,
    height: int | None = None,
    width: int | None = None,
) -> RenderableType:
    """Return the running trials, then the best of the others, and a line that says how the run stands.

    Args:
        run: the content of `run.json`.
        trials: its trials.
        state: how it stands.
        height: lines of the terminal; as many trials are shown as fit. None for all of them.
        width: columns of the terminal; a narrow one shows shorter names and fewer of the table's columns, but never a
            part of a number. None for all of them.
    """
    listed = _ordered(trials)
    room = len(listed) if height is None else max(_FEWEST, height - 5)
    leader = min((_cost(record) for record in trials if record.rows), default=None)
    objective = objective_of(trials)
    titles = {name: name for name in (*_LEFT, *_RIGHT)}
    if objective != DICE_LOSS:
        titles[_BEST] = printable(f"best {objective.title}")
    rows = [_cells(record) for record in listed[:room]]
    if width is not None:
        titles, rows = _fitting(titles, rows, width)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, title in titles.items():
        # Not markup: a plugin names its metric as it likes.
        table.add_column(Text(title), justify="right" if name in _RIGHT else "left", no_wrap=True)
    for record, cells in zip(listed, rows, strict=False):
        leads = bool(record.rows) and _cost(record) == leader
        styles = {"status": STATUSES[record.status].style, _BEST: "bold green" if leads else ""}
        table.add_row(*(Text(cells[name], style=styles.get(name, "")) for name in titles))
    parts: list[RenderableType] = [Text(printable(str(run.get("run") or "")), style="bold"), table]
    if len(listed) > room:
        parts.append(Text(f"… and {len(listed) - room} more", style="dim"))
    return Group(*parts, Text(printable(_summary(run, trials, state)), style="dim"))


def _cells(record: TrialRecord) -> dict[str, str]:
    last = record.rows[-1] if record.rows else {}
    return {
        "trial": record.trial + ("*" if record.baseline else ""),
        "status": record.status,
        "epoch": f"{last.get('epoch', 0)}/{setting(record, 'epochs')}",
        "Dice loss": metric(last.get("val_dice_loss")),
        "IoU": metric(last.get("val_iou")),
        _BEST: metric((record.best_row or {}).get(record.objective.column)),
        "time": duration(total_seconds(record)),
    }


def _fitting(
    titles: dict[str, str], rows: Sequence[dict[str, str]], width: int
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the titles of the columns that there is room for, and the cells with names of the length that is left."""

    def room_for_names() -> int:
        taken = [max(len(row[name]) for row in [titles, *rows]) + _GAP for name in titles if name != "trial"]
        return width - sum(taken)

    longest = max(len(row["trial"]) for row in [titles, *rows])
    if room_for_names() < longest:
        titles = {**titles, _BEST: shortened(titles[_BEST], len(_BEST))}
    for name in _GIVE_WAY:
        if room_for_names() < min(longest, _MIN_NAME):
            titles = {other: title for other, title in titles.items() if other != name}
    room = max(_MIN_NAME, room_for_names())
    return titles, [{**row, "trial": shortened(row["trial"], room)} for row in rows]


def _ordered(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    stage = result_stage(trials)

    def key(record: TrialRecord) -> tuple[bool, bool, bool, float, int]:
        cost = _cost(record) if record.rows else 0.0
        return (record.status != "running", record.stage != stage, not record.rows, cost, record.index)

    return sorted(trials, key=key)


def _cost(record: TrialRecord) -> float:
    row = record.best_row
    assert row is not None
    return record.objective.cost_of(row)


def _summary(run: Mapping[str, Any], trials: Sequence[TrialRecord], state: str) -> str:
    count = count_trials(run, trials)
    epochs = sum(len(record.rows) for record in trials)
    dataset = "demo" if run.get("profile") == "demo" else str((run.get("dataset") or {}).get("path") or MISSING)
    left = seconds_left(run, trials) if state == "running" else None
    ends = "" if left is None else f"; ends in about {duration(left)}"
    return (
        f"{state}: {count.ended} of {count.of} {'trial' if count.trials == 1 else 'trials'} ended, "
        f"{plural(epochs, 'epoch')} trained{ends}; dataset {dataset}; * baseline"
    )


def seconds_left(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> float | None:
    """Return how long what is planned still takes, by the mean epoch of each model so far; None before the first one.

    What a search has not planned yet is left out, as is a final stage that is not planned.
    """
    taken: dict[tuple[Any, ...], list[float]] = {}
    for record in trials:
        taken.setdefault(_model(record), []).extend(row.get("seconds") or 0.0 for row in record.rows)
    every = [seconds for of_model in taken.values() for seconds in of_model]
    open_trials = [record for record in trials if record.status not in FINISHED]
    if not every or not open_trials:
        return None
    parts = [
        math.fsum(taken[_model(record)] or every)
        / len(taken[_model(record)] or every)
        * max(0, setting(record, "epochs") - len(record.rows))
        for record in open_trials
    ]
    resources = run.get("resources")
    side_by_side = resources.get("concurrent") if isinstance(resources, Mapping) else None
    at_a_time = side_by_side if isinstance(side_by_side, int) and side_by_side > 0 else 1
    return max(math.fsum(parts) / at_a_time, *parts)


def _model(record: TrialRecord) -> tuple[Any, ...]:
    return tuple(setting(record, name) for name in ("decoder", "encoder", "freeze", "image_size", "batch_size"))
