"""The section on the search that a final stage followed."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, Details, paragraph, table
from bts_tune.report.cells import (
    MAX_ROWS,
    changed_notes,
    epoch_cell,
    more_rows,
    own_cells,
    own_header,
    role_cell,
    time_cell,
)
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import metric
from bts_tune.results.fidelity import fidelity_sentence
from bts_tune.results.ranking.leaderboard import search_log
from bts_tune.results.ranking.settings import setting, settings
from bts_tune.results.record.objective import objective_of

FIRST_ROWS = 10
"""Trials that stand in sight; further ones are folded away."""


@SECTIONS.register("search-log")
class SearchLog(Section):
    """The trials of a search, which is not the result."""

    title = "Search log"
    after = "search-optimism"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the trials of the search that a final stage followed."""
        log = search_log(context.trials)
        if not log:
            return
        own = own_header(objective_of(log))
        header = [
            "place",
            "name",
            "role",
            *own,
            "validation Dice loss",
            "IoU",
            "best epoch",
            "time",
            "seed",
            "settings",
        ]
        rows = []
        for place, record in enumerate(log[:MAX_ROWS], start=1):
            best = record.best_row or {}
            rows.append(
                [
                    place,
                    context.names[record.trial],
                    role_cell(record),
                    *own_cells(record),
                    metric(best.get("val_dice_loss")),
                    metric(best.get("val_iou")),
                    epoch_cell(record),
                    time_cell(record),
                    setting(record, "seed"),
                    settings(record, context.varied),
                ]
            )
        yield paragraph(
            "How the search went; the result is the ranking above. Each trial was trained to the full budget with one "
            "seed. The numbers are a little too good, as the same validation images chose the best epochs and trials."
        )
        if sentence := fidelity_sentence(context.trials):
            yield paragraph(sentence)
        right = (0, *range(3, 8 + len(own)))
        yield table(header, rows[:FIRST_ROWS], right=right, notes=changed_notes(log[:FIRST_ROWS]))
        further = rows[FIRST_ROWS:]
        if further:
            notes = changed_notes(log[FIRST_ROWS:MAX_ROWS])
            title = f"Places {FIRST_ROWS + 1} to {len(rows)}" if len(further) > 1 else f"Place {len(rows)}"
            yield Details(title, (table(header, further, right=right, notes=notes), *more_rows(log)))
