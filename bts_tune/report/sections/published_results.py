"""The section on what was published of the baselines, beside what they came to here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import metric
from bts_tune.results.leaderboard import is_ranked
from bts_tune.results.warnings import is_demo

_FIGURES: Mapping[str, str] = {"dice_loss": "Dice loss", "iou": "IoU"}


@SECTIONS.register("published-results")
class PublishedResults(Section):
    """What was published of the baselines."""

    title = "Published results"
    after = "diverged-or-failed"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics that were published for the baselines, beside those that they reached here."""
        told = [record for record in context.trials if record.published]
        if not told or is_demo(context.run):
            return
        rows = []
        sources: set[str] = set()
        for record in told:
            if record.changed or not is_ranked(record):
                continue
            best = record.best_row or {}
            # Beside the figures stands their source, which is text.
            for name, figure in (record.published or {}).items():
                if isinstance(figure, int | float):
                    here = metric(best.get(f"val_{name}"))
                    rows.append([context.names[record.trial], _FIGURES.get(name, name), here, metric(figure)])
                else:
                    sources.add(str(figure))
        if rows:
            yield paragraph(
                "As published by the model's authors. How they defined and averaged their figures, and on which split, "
                "is not known, so the two columns stand beside each other without being comparable."
            )
            yield table(["name", "figure", "here (validation)", "published by its authors"], rows, right=(2, 3))
            yield from (paragraph(f"Source: {source}") for source in sorted(sources))
        changed = {record.name: ", ".join(record.changed) for record in told if record.changed}
        for name, fields in changed.items():
            yield paragraph(
                f"{name} ran changed ({fields}), so the figures that its authors published are not set beside it."
            )
        if not rows and not changed:
            yield paragraph(
                "Figures were published for a baseline, but it has not been trained to the full budget, so there is "
                "nothing to set beside them."
            )
