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
from bts_tune.text import plural, shortened

_LEFT = ("trial", "status")
_BEST = "best so far"
_RIGHT = ("epoch", "Dice loss", "IoU", _BEST, "time")
_FROM_WIDTH = {"IoU": 66, "time": 58, "Dice loss": 50}
"""The narrowest terminal that has room for a column; the others are always shown."""
_WIDE = 100
"""The narrowest terminal that has room for the whole title of an objective; numbers must not be cut for it."""
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
        width: columns of the terminal; a narrow one shows fewer of the table's. None for all of them.
    """
    listed = _ordered(trials)
    room = len(listed) if height is None else max(_FEWEST, height - 5)
    leader = min((_cost(record) for record in trials if record.rows), default=None)
    objective = objective_of(trials)
    best_title = _BEST if objective == DICE_LOSS else f"best {objective.title}"
    if width is not None and width < _WIDE:
        best_title = shortened(best_title, len(_BEST))
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [name for name in (*_LEFT, *_RIGHT) if width is None or width >= _FROM_WIDTH.get(name, 0)]
    for name in shown:
        title = Text(best_title if name == _BEST else name)  # not markup: a plugin names its metric as it likes
        table.add_column(title, justify="right" if name in _RIGHT else "left", no_wrap=True)
    for record in listed[:room]:
        last = record.rows[-1] if record.rows else {}
        best = metric((record.best_row or {}).get(record.objective.column))
        leads = bool(record.rows) and _cost(record) == leader
        cells: dict[str, str | Text] = {
            "trial": Text(record.trial + ("*" if record.baseline else "")),
            "status": Text(record.status, style=STATUSES[record.status].style),
            "epoch": f"{last.get('epoch', 0)}/{setting(record, 'epochs')}",
            "Dice loss": metric(last.get("val_dice_loss")),
            "IoU": metric(last.get("val_iou")),
            _BEST: Text(best, style="bold green" if leads else ""),
            "time": duration(total_seconds(record)),
        }
        table.add_row(*(cells[name] for name in shown))
    parts: list[RenderableType] = [Text(str(run.get("run") or ""), style="bold"), table]
    if len(listed) > room:
        parts.append(Text(f"… and {len(listed) - room} more", style="dim"))
    return Group(*parts, Text(_summary(run, trials, state), style="dim"))


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
    ended = sum(record.status in FINISHED for record in trials)
    epochs = sum(len(record.rows) for record in trials)
    options = run.get("options") or {}
    searched = f", of a search for {options['num_trials']}" if options.get("num_trials") else ""
    dataset = "demo" if run.get("profile") == "demo" else str((run.get("dataset") or {}).get("path") or MISSING)
    left = seconds_left(run, trials) if state == "running" else None
    ends = "" if left is None else f"; ends in about {duration(left)}"
    return (
        f"{state}: {ended} of {plural(len(trials), 'planned trial')} ended{searched}, {plural(epochs, 'epoch')} "
        f"trained{ends}; dataset {dataset}; * baseline"
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
