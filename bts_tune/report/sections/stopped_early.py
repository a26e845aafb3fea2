"""The section on the trials that were stopped early, by the scheduler or as the search was closed."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, paragraph
from bts_tune.report.cells import unranked_table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.record.status import in_group


@SECTIONS.register("stopped-early")
class StoppedEarly(Section):
    """The trials that were stopped early."""

    title = "Stopped early"
    after = "search-log"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the trials that were stopped early, and why."""
        records = [record for record in context.trials if record.status in in_group("stopped")]
        if records:
            yield paragraph(
                "Not ranked: these trials were stopped before their full budget, so they cannot be compared with the "
                "trials above."
            )
            yield from unranked_table(context, records, reason=True)
