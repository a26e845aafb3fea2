"""The section on the ranking: the configurations that were trained to the full budget, best first."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bts_tune.report.blocks import Block, Cell, Code, Details, paragraph, table
from bts_tune.report.cells import (
    MAX_ROWS,
    changed_notes,
    has_intervals,
    interval_cell,
    mean_cell,
    more_rows,
    no_interval_notes,
    order,
    over_trainings,
    own_cells,
    own_header,
    role_cell,
    spread_cell,
)
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import count, duration
from bts_tune.results.fidelity import fidelity_sentence
from bts_tune.results.ranking.configurations import Configuration, configurations, folds_sentence, result_stage
from bts_tune.results.ranking.leaderboard import is_ranked, total_seconds
from bts_tune.results.ranking.settings import setting, settings
from bts_tune.results.record.objective import objective_of
from bts_tune.results.record.run_folder import TrialRecord


@SECTIONS.register("ranking")
class Ranking(Section):
    """The ranked configurations."""

    title = "Ranking"
    after = "answer"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the configurations that were trained to the full budget, best first."""
        ranked = configurations(context.trials)
        if not ranked:
            yield paragraph(
                "Only the final stage is ranked, and none of its trainings is complete yet. 'Search log' has the order "
                "of the search."
                if configurations(context.trials, "search")
                else "No trial has been trained to its full budget, so nothing is ranked."
            )
            return
        compared = context.comparison.splits.get("valid")
        repeated = any(one.planned > 1 for one in ranked)
        objective = objective_of(context.trials)
        header = ["rank", "name", "role", *(["trainings"] if repeated else []), *own_header(objective), "Dice loss"]
        header += [*(["95 % interval"] if has_intervals(compared) else []), "IoU", "best epoch", "time", "model"]
        further = ["name", "Dice per image", "training Dice loss", "parameters", *([] if repeated else ["seed"])]
        rows, more = [], []
        for rank, one in enumerate(ranked[:MAX_ROWS], start=1):
            parameters = one.best.started.get("parameters")
            seconds = statistics.fmean(total_seconds(record) or 0.0 for record in one.trials)
            rows.append(
                [
                    rank,
                    one.name,
                    role_cell(one),
                    *([f"{len(one.trials)} of {one.planned}"] if repeated else []),
                    *own_cells(one),
                    spread_cell(one, "val_dice_loss"),
                    *([interval_cell(context.comparison, one)] if has_intervals(compared) else []),
                    spread_cell(one, "val_iou"),
                    _epochs(one),
                    Cell(duration(seconds), seconds),
                    f"{setting(one.best, 'decoder')} / {setting(one.best, 'encoder')}",
                ]
            )
            more.append(
                [
                    one.name,
                    mean_cell(one, "val_dice_image"),
                    mean_cell(one, "train_dice_loss"),
                    Cell(count(parameters), parameters),
                    *([] if repeated else [setting(one.best, "seed")]),
                    settings(one.best, context.varied),
                ]
            )
        of_search = result_stage(context.trials) == "search"
        notes = [
            f"On the validation split, each training at its best epoch; ordered by {order(objective)}."
            + (" A lower Dice loss is better." if objective.is_ranking_key else "")
            + (" Only the final stage is ranked." if not of_search else ""),
            *([sentence] if of_search and (sentence := fidelity_sentence(context.trials)) else []),
            *([sentence] if (sentence := folds_sentence(ranked)) else []),
            *([f"Shown: {over_trainings(ranked)}."] if repeated else []),
            *no_interval_notes(compared),
            *changed_notes(ranked[:MAX_ROWS]),
        ]
        yield table(header, rows, right=(0, *range(3, len(header) - 1)), notes=notes)
        yield from more_rows(ranked, "configuration", "configurations.csv")
        nowhere = _never_finished(context.trials)
        if nowhere:
            yield paragraph(f"Not ranked, as none of its trainings reached the full budget: {', '.join(nowhere)}.")
        yield Details(
            "More columns of the ranking, and settings",
            (
                table([*further, "settings"], more, right=range(1, len(further))),
                paragraph(
                    "Settings are the model, the learning rate, and what differs both between trials and from the "
                    "defaults. ",
                    Code("configurations.csv"),
                    " and ",
                    Code("leaderboard.csv"),
                    " have every setting and metric, of configurations and of trials; ",
                    Code("epochs.csv"),
                    " has every epoch.",
                ),
            ),
        )


def _never_finished(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the names of the final stage's configurations without a full-budget training."""
    final = [record for record in trials if record.stage == "final"]
    ranked = {(record.name, record.recipe_id) for record in final if is_ranked(record)}
    return list(dict.fromkeys(record.name for record in final if (record.name, record.recipe_id) not in ranked))


def _epochs(one: Configuration) -> str:
    epochs = sorted({int(epoch) for epoch in one.values("epoch")})
    shown = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{shown} of {setting(one.best, 'epochs')}"
