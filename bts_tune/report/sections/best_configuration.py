"""The section on the best configuration: all its settings, to be copied."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from bts_tune.report.blocks import Block, Bullets, CodeBlock, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.ranking.leaderboard import best_baselines, ranking
from bts_tune.results.ranking.naming import with_role
from bts_tune.results.ranking.settings import setting, varied_fields
from bts_tune.results.record.run_folder import TrialRecord


@SECTIONS.register("best-configuration")
class BestConfiguration(Section):
    """The settings of the best configuration."""

    title = "Best configuration"
    after = "boundaries-and-boxes"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield every setting of the best trial, and how the baselines differ from it."""
        ranked = ranking(context.trials)
        if not ranked:
            return
        best = ranked[0]
        yield paragraph(f"{with_role(context.names[best.trial], best)}, config_id {best.config_id}:")
        text = yaml.safe_dump(dict(best.config), sort_keys=False, allow_unicode=True)
        yield CodeBlock(text, "yaml")
        others = [record for record in best_baselines(context.trials) if record.trial != best.trial]
        if others:
            yield paragraph("How the baselines differ from it:")
            yield Bullets(
                tuple(
                    f"{with_role(context.names[record.trial], record)}: {_differences(record, best)}"
                    for record in others
                )
            )


def _differences(record: TrialRecord, best: TrialRecord) -> str:
    fields = varied_fields([record, best])
    return ", ".join(f"{name} {setting(record, name)}" for name in fields) or "in nothing"
