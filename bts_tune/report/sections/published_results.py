"""The section on what was published of the baselines, beside what they came to here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import metric
from bts_tune.results.ranking.leaderboard import is_ranked
from bts_tune.results.warnings import is_demo

_TITLES: Mapping[str, str] = {"dice_loss": "Dice loss", "iou": "IoU"}


@SECTIONS.register("published-results")
class PublishedResults(Section):
    """What was published of the baselines."""

    title = "Published results"
    after = "diverged-or-failed"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics that were published for the baselines, beside those that they reached here."""
        with_published = [record for record in context.trials if record.published]
        if not with_published or is_demo(context.run):
            return
        rows = []
        sources: set[str] = set()
        for record in with_published:
            if record.changed or not is_ranked(record):
                continue
            best = record.best_row or {}
            # Beside the numbers stands their source, which is text.
            for name, published in (record.published or {}).items():
                if isinstance(published, int | float):
                    here = metric(best.get(f"val_{name}"))
                    rows.append([context.names[record.trial], _TITLES.get(name, name), here, metric(published)])
                else:
                    sources.add(str(published))
        if rows:
            yield paragraph(
                "As published by the model's authors. It is not known how they defined and averaged their metrics, nor "
                "on which split, so the two columns are not strictly comparable."
            )
            yield table(["name", "metric", "here (validation)", "published by its authors"], rows, right=(2, 3))
            yield from (paragraph(f"Source: {source}") for source in sorted(sources))
        changed = {record.name: ", ".join(record.changed) for record in with_published if record.changed}
        for name, fields in changed.items():
            yield paragraph(
                f"{name} ran changed ({fields}), so its authors' published metrics cannot be compared with it."
            )
        if not rows and not changed:
            yield paragraph(
                "Metrics were published for a baseline, but it has not been trained to the full budget here, so there "
                "is nothing to compare."
            )
