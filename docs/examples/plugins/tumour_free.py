"""A section of one's own in the report: what each configuration predicts on images without a tumour.

    bts-tune report RUN --plugin tumour_free.py      # the section stands behind the test split

A section is a class with a heading, a place and the blocks that it is made of: paragraphs, tables, lists, figures. The
classes of `bts_tune.testing.sections` check one: `class TestTumourFree(SectionContract): name = "tumour-free"`.
"""

import statistics
from collections.abc import Iterable

from bts_tune.report.blocks import paragraph, table
from bts_tune.report.sections.base import SECTIONS, Block, ReportContext, Section
from bts_tune.results.ranking.configurations import Configuration, configurations
from bts_tune.results.record.scores import SUMS, has_tumour


@SECTIONS.register("tumour-free")
class TumourFree(Section):
    """A table of false positives, a row for each configuration whose images are scored."""

    title = "Images without a tumour"
    after = "test-split"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        rows = [row for one in configurations(context.trials) if (row := self._row(one, context))]
        if rows:
            yield paragraph("Predictions on the test images that hold no tumour; means over the trainings.")
            header = ["name", "trainings", "images", "with a false positive", "pixels of one, mean"]
            yield table(header, rows, right=range(1, 5))

    def _row(self, configuration: Configuration, context: ReportContext) -> list[object] | None:
        images, wrong, pixels = 0, [], []
        for record in configuration.trials:
            scores = context.comparison.scores.get(record.trial)
            if scores is None or "test" not in scores.splits:
                continue
            sums = scores.splits["test"].sums
            false_positives = sums[~has_tumour(sums), SUMS.index("false_positives")]
            images = len(false_positives)
            if images:
                wrong.append(float((false_positives > 0).mean()))
                pixels.append(float(false_positives.mean()))
        if not wrong:
            return None
        share, area = statistics.fmean(wrong), statistics.fmean(pixels)
        return [configuration.name, len(wrong), images, f"{share:.0%}", f"{area:.1f}"]
