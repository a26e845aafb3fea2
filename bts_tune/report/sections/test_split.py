"""The section on the test split, which chose nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bts_tune.report.blocks import Block, Code, paragraph, table
from bts_tune.report.cells import (
    MAX_ROWS,
    changed_notes,
    has_intervals,
    interval_cell,
    mean_cell,
    more_rows,
    no_interval_notes,
    over_trainings,
    role_cell,
    spread_cell,
)
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import gained, interval, metric
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.record.objective import objective_of
from bts_tune.results.statistics.comparison import Comparison


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
        limits = ["95 % interval"] if has_intervals(compared) else []
        header += ["Dice loss", *limits, "IoU", *limits, *titles]
        rows = []
        for place, one in shown[:MAX_ROWS]:
            rows.append(
                [
                    place + 1,
                    one.name,
                    "; ".join(title for title in ("best" if place == 0 else "", role_cell(one)) if title),
                    *([len(one.values("test_dice_loss"))] if repeated else []),
                    spread_cell(one, "test_dice_loss"),
                    *([interval_cell(context.comparison, one, "test")] if limits else []),
                    spread_cell(one, "test_iou"),
                    *([interval_cell(context.comparison, one, "test", "iou")] if limits else []),
                    *(mean_cell(one, f"test_{key}") for key in keys),
                ]
            )
        yield paragraph(
            "Computed once for each training, with the weights of the epoch that was best on the validation split. The "
            "test split was never used to choose anything. 'Rank' is that of the validation split."
            + (f" Where there are several trainings: {over_trainings([one for _, one in shown])}." if repeated else "")
        )
        notes = [*no_interval_notes(compared), *changed_notes(one for _, one in shown[:MAX_ROWS])]
        yield table(header, rows, right=(0, *range(3, len(header))), notes=notes)
        yield from more_rows([one for _, one in shown], "configuration", "configurations.csv")
        yield from clean_blocks(context.comparison, shown[:MAX_ROWS])


def clean_blocks(comparison: Comparison, shown: Sequence[tuple[int, Configuration]]) -> Iterable[Block]:
    """Yield the metrics of the test images without a copy in training; nothing where these are not on record."""
    clean, whole = comparison.clean, comparison.splits.get("test")
    if clean is None or whole is None:
        return
    kept = clean.compared
    if kept is None:
        yield paragraph(
            f"All {whole.images} test images have an identical or same-scan image in training, so the report cannot "
            "tell how the models do on other images."
            if clean.left_out
            else "No test image has an identical or same-scan image in training, as far as their looks tell: the "
            "metrics above are those of clean images."
        )
        return
    yield paragraph(
        f"{clean.left_out} of the {whole.images} test images {'has' if clean.left_out == 1 else 'have'} an identical "
        f"({clean.identical}) or a same-scan ({clean.left_out - clean.identical}) image in training; ",
        Code("leaks.csv"),
        f" in the run's folder names them. On the {kept.images} others the metrics are those below, and the difference "
        "is by how much they are above those of all test images, for the same trainings. Slices of one "
        "patient that look less alike are among these others.",
    )
    rows = []
    for rank, one in shown:
        place, all_place = kept.place(one), whole.place(one)
        if place is None or all_place is None:
            continue
        row: list[Any] = [rank + 1, one.name, kept.images]
        for here, there in (
            (kept.resampled.dice_loss[place], whole.resampled.dice_loss[all_place]),
            (kept.resampled.iou[place], whole.resampled.iou[all_place]),
        ):
            row += [metric(here.value), interval(here), gained(here.value - there.value)]
        rows.append(row)
    header = ["rank", "name", "images"]
    for title in ("Dice loss", "IoU"):
        header += [f"{title}, clean", "95 % interval", "difference"]
    yield table(header, rows, right=(0, *range(2, len(header))))
