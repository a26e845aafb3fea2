"""The section on what changed under a run while it was going on, and how it was extended."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, Bullets, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.text import plural


@SECTIONS.register("changes")
class Changes(Section):
    """What a reader must know of how the run went on."""

    title = "Changes during the run"
    after = "masks"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield what `--allow-changed`, `--extend` and lost checkpoints left in the record; nothing for most runs."""
        changed = context.run.get("changes") or []
        if changed:
            yield paragraph(
                "The run went on (--allow-changed) although something was no longer what it began with. Trials trained "
                "before and after are not strictly comparable:"
            )
            yield Bullets(tuple(f"{one['time']}: {'; '.join(one['changed'])}" for one in changed))
        extended = context.run.get("extensions") or []
        if extended:
            yield paragraph("The search was extended (--extend), knowing what it had found by then:")
            yield Bullets(tuple(f"{one['time']}: by {plural(one['trials'], 'trial')}" for one in extended))
        lost = [record for record in context.trials if record.started.get("lost")]
        if lost:
            yield paragraph(
                "Trials that could not go on from their checkpoint; the epochs after it were trained again:"
            )
            yield Bullets(
                tuple(
                    f"{record.trial}: {record.started['lost']}; taken up after epoch "
                    f"{record.started.get('kept_epochs')}"
                    for record in lost
                )
            )
