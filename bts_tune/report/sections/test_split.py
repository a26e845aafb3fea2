"""The section on the test split, which chose nothing."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.cells import MAX_ROWS, interval_cell, mean_cell, more_rows, over_trainings, spread_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.configurations import configurations, result_stage
from bts_tune.results.naming import role
from bts_tune.results.objective import objective_of


@SECTIONS.register("test-split")
class TestSplit(Section):
    """The metrics of the test split."""

    title = "Test split"
    after = "over-seeds"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the metrics of the test split: of a final stage, or of the best and the baselines."""
        ranked = configurations(context.trials)
        shown = [
            (place, one)
            for place, one in enumerate(ranked)
            if one.values("test_dice_loss") and (place == 0 or one.baseline or result_stage(context.trials) == "final")
        ]
        if not shown:
            yield paragraph("No trial has been evaluated on the test split.")
            return
        compared = context.comparison.splits.get("test")
        keys = ["dice_image", "iou_image", "empty_false_positive_rate"]
        titles = ["Dice per image", "IoU per image", "empty false-positive rate"]
        objective = objective_of(context.trials)
        if not objective.is_ranking_key and objective.metric not in keys:
            keys, titles = [objective.metric, *keys], [objective.title, *titles]
        repeated = any(len(one.values("test_dice_loss")) > 1 for _, one in shown)
        header = ["rank", "name", "role", *(["trainings"] if repeated else [])]
        header += ["Dice loss", *(["95 % interval"] if compared else []), "IoU"]
        header += titles
        rows = []
        for place, one in shown[:MAX_ROWS]:
            rows.append(
                [
                    place + 1,
                    one.name,
                    "; ".join(title for title in ("best" if place == 0 else "", role(one)) if title),
                    *([len(one.values("test_dice_loss"))] if repeated else []),
                    spread_cell(one, "test_dice_loss"),
                    *([interval_cell(context.comparison, one, "test")] if compared else []),
                    spread_cell(one, "test_iou"),
                    *(mean_cell(one, f"test_{key}") for key in keys),
                ]
            )
        yield paragraph(
            "Each training computed once, with the weights of the epoch that was best on the validation split. These "
            "metrics were never used to choose anything; rank is that of the validation split."
            + (f" Where there are several trainings: {over_trainings([one for _, one in shown])}." if repeated else "")
        )
        yield table(header, rows, right=(0, *range(3, len(header))))
        yield from more_rows([one for _, one in shown], "configuration", "configurations.csv")
