"""The section on the trials that failed."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, table
from bts_tune.report.cells import MAX_ROWS, changed_notes, more_rows, role_cell, run_epochs_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING
from bts_tune.results.ranking.leaderboard import is_ranked
from bts_tune.results.ranking.settings import settings
from bts_tune.results.record.status import STATUSES, in_group


@SECTIONS.register("diverged-or-failed")
class DivergedOrFailed(Section):
    """The trials that failed."""

    title = "Diverged or failed"
    after = "not-finished"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the trials that diverged, ran out of memory or failed, and those whose rows are lost."""
        records = [record for record in context.trials if record.status in in_group("failed")]
        lost = [record for record in context.trials if record.status == "complete" and not is_ranked(record)]
        if not records and not lost:
            return
        rows = [
            [
                context.names[record.trial],
                role_cell(record),
                STATUSES[record.status].words,
                record.reason or MISSING,
                run_epochs_cell(record),
                settings(record),
            ]
            for record in records[:MAX_ROWS]
        ]
        rows += [
            [
                context.names[record.trial],
                role_cell(record),
                "complete",
                "its rows are not on record",
                "0",
                settings(record),
            ]
            for record in lost[:MAX_ROWS]
        ]
        notes = changed_notes([*records[:MAX_ROWS], *lost[:MAX_ROWS]])
        yield table(["name", "role", "status", "reason", "epochs run", "settings"], rows, right=(4,), notes=notes)
        yield from more_rows(records)
