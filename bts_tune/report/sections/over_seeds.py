"""The section on the spread over seeds and folds."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.cells import (
    MAX_ROWS,
    changed_notes,
    epoch_cell,
    more_rows,
    over_trainings,
    own_cells,
    own_header,
    role_cell,
    spread_cell,
    time_cell,
)
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, metric
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.ranking.settings import setting
from bts_tune.results.record.objective import objective_of


@SECTIONS.register("over-seeds")
class OverSeeds(Section):
    """Every training of the configurations that have more than one."""

    title = "Over seeds"
    after = "comparison"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield every training of the configurations that have more than one, with mean and spread."""
        several = [one for one in configurations(context.trials) if len(one.trials) > 1]
        if not several:
            return
        folds = any(one.folds for one in several)
        tested = any(one.values("test_dice_loss") for one in several)
        objective = objective_of(context.trials)
        own = own_header(objective)
        header = ["name", "role", "seed", *(["fold"] if folds else []), *own, "validation Dice loss", "IoU"]
        header += [*(["test Dice loss", "test IoU"] if tested else []), "best epoch", "time"]
        rows = []
        for one in several[:MAX_ROWS]:
            trainings = [
                [
                    one.name,
                    role_cell(one),
                    setting(record, "seed"),
                    *([record.fold or MISSING] if folds else []),
                    *own_cells(record),
                    metric((record.best_row or {}).get("val_dice_loss")),
                    metric((record.best_row or {}).get("val_iou")),
                    *(
                        [metric(record.test.get("test_dice_loss")), metric(record.test.get("test_iou"))]
                        if tested
                        else []
                    ),
                    epoch_cell(record),
                    time_cell(record),
                ]
                for record in one.trials
            ]
            summary = [f"mean of {len(one.trials)}", *([MISSING] if folds else [])]
            shown = [*([objective.column] if own else []), "val_dice_loss", "val_iou"]
            shown += ["test_dice_loss", "test_iou"] if tested else []
            rows += trainings
            rows.append(
                [one.name, role_cell(one), *summary, *(spread_cell(one, name) for name in shown), MISSING, MISSING]
            )
        yield paragraph(
            "Every training of the configurations that have more than one"
            + (", seed by seed and fold by fold" if folds else ", seed by seed")
            + f", at its own best epoch; {over_trainings(several)}."
        )
        yield table(header, rows, right=range(2, len(header)), notes=changed_notes(several[:MAX_ROWS]))
        if len(several) > MAX_ROWS:
            yield from more_rows(several, "configuration", "leaderboard.csv")
