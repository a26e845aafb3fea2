"""The tables of trials, which rank nothing: the log of the search, and who was stopped, is not finished or failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import MAX_ROWS, Page, epoch_cell, rest, run_epochs_cell, time_cell
from bts_tune.report.wording import MISSING, STATUS_WORDS, metric
from bts_tune.results.leaderboard import is_ranked, search_log
from bts_tune.results.naming import role, with_role
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting, settings
from bts_tune.text import plural


def search_trials(page: Page) -> Iterable[Block]:
    """Yield the trials of the search that a final stage followed."""
    log = search_log(page.trials)
    if not log:
        return
    header = ["place", "name", "role", "validation Dice loss", "IoU", "best epoch", "time", "seed", "settings"]
    rows = []
    for place, record in enumerate(log[:MAX_ROWS], start=1):
        best = record.best_row or {}
        rows.append(
            [
                place,
                page.called[record.trial],
                role(record),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                epoch_cell(record),
                time_cell(record),
                setting(record, "seed"),
                settings(record, page.varied),
            ]
        )
    yield paragraph(
        "How the search went, not a result: trials trained to the full budget, each the best epoch of one seed, by the "
        "figure that chose among them, which is optimistic for that. The ranking is above."
    )
    yield table(header, rows, right=(0, *range(3, 8)))
    yield from rest(log)


def stopped(page: Page) -> Iterable[Block]:
    """Yield the trials that the scheduler stopped early."""
    records = [record for record in page.trials if record.status == "stopped"]
    if records:
        yield paragraph("Not ranked: stopped before the full budget, so not to be set beside the trials above.")
        yield from _short_table(page, records)


def unfinished(page: Page) -> Iterable[Block]:
    """Yield the trials that are not trained to the end, and those that have not begun."""
    begun = [record for record in page.trials if record.status in ("interrupted", "running")]
    waiting = [record for record in page.trials if record.status == "waiting"]
    if begun:
        yield paragraph("Not ranked: not trained to the end.")
        yield from _short_table(page, begun, status=True)
    if waiting:
        shown = ", ".join(with_role(page.called[record.trial], record) for record in waiting[:MAX_ROWS])
        more = f" and {len(waiting) - MAX_ROWS} more" if len(waiting) > MAX_ROWS else ""
        yield paragraph(f"Waiting: {plural(len(waiting), 'trial')} ({shown}{more}).")


def failed(page: Page) -> Iterable[Block]:
    """Yield the trials that diverged, ran out of memory or failed, and those whose rows are lost."""
    records = [record for record in page.trials if record.status in ("diverged", "oom", "failed")]
    lost = [record for record in page.trials if record.status == "complete" and not is_ranked(record)]
    if not records and not lost:
        return
    rows = [
        [
            page.called[record.trial],
            role(record),
            STATUS_WORDS[record.status],
            record.reason or MISSING,
            run_epochs_cell(record),
            settings(record),
        ]
        for record in records[:MAX_ROWS]
    ]
    rows += [
        [page.called[record.trial], role(record), "complete", "its rows are not on record", "0", settings(record)]
        for record in lost[:MAX_ROWS]
    ]
    yield table(["name", "role", "status", "reason", "epochs run", "settings"], rows, right=(4,))
    yield from rest(records)


def _short_table(page: Page, records: Sequence[TrialRecord], status: bool = False) -> list[Block]:
    header = ["name", "role", *(["status"] if status else []), "validation Dice loss", "IoU", "best epoch"]
    header += ["epochs run", "time", "settings"]
    rows = []
    for record in records[:MAX_ROWS]:
        best = record.best_row or {}
        rows.append(
            [
                page.called[record.trial],
                role(record),
                *([STATUS_WORDS[record.status]] if status else []),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                best.get("epoch", MISSING),
                run_epochs_cell(record),
                time_cell(record),
                settings(record, page.varied),
            ]
        )
    first = 3 if status else 2
    return [table(header, rows, right=range(first, first + 5)), *rest(records)]
