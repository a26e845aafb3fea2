"""The section on the trials that are not trained to the end, and those that have not begun."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, paragraph
from bts_tune.report.cells import MAX_ROWS, unranked_table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.ranking.naming import with_role
from bts_tune.results.record.status import in_group
from bts_tune.text import plural


@SECTIONS.register("not-finished")
class NotFinished(Section):
    """The trials that are not finished."""

    title = "Not finished"
    after = "stopped-early"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the trials that are not trained to the end, and those that have not begun."""
        begun = [record for record in context.trials if record.status in in_group("unfinished")]
        waiting = [record for record in context.trials if record.status in in_group("waiting")]
        if begun:
            yield paragraph("Not ranked: not trained to the end.")
            yield from unranked_table(context, begun, status=True)
        if waiting:
            shown = ", ".join(with_role(context.names[record.trial], record) for record in waiting[:MAX_ROWS])
            more = f" and {len(waiting) - MAX_ROWS} more" if len(waiting) > MAX_ROWS else ""
            yield paragraph(f"Waiting: {plural(len(waiting), 'trial')} ({shown}{more}).")
