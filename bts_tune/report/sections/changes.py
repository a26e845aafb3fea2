"""What changed under a run while it was going on, and how it was extended: what a reader must know of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, Bullets, paragraph
from bts_tune.results.run_folder import TrialRecord
from bts_tune.text import plural


def changes(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[Block]:
    """Yield what `--allow-changed`, `--extend` and lost checkpoints left in the record; nothing for most runs."""
    changed = run.get("changes") or []
    if changed:
        yield paragraph(
            "The run went on (--allow-changed) although something was no longer what it began with. Trials trained "
            "before and after are not strictly comparable:"
        )
        yield Bullets(tuple(f"{one['time']}: {'; '.join(one['changed'])}" for one in changed))
    extended = run.get("extensions") or []
    if extended:
        yield paragraph("The search was extended (--extend), knowing what it had found by then:")
        yield Bullets(tuple(f"{one['time']}: by {plural(one['trials'], 'trial')}" for one in extended))
    lost = [record for record in trials if record.started.get("lost")]
    if lost:
        yield paragraph("Trials that could not go on from their checkpoint; the epochs after it were trained again:")
        yield Bullets(
            tuple(
                f"{record.trial}: {record.started['lost']}; taken up after epoch {record.started.get('kept_epochs')}"
                for record in lost
            )
        )
