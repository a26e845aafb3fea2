"""The section on the optimism of the search: what it promised, and what the final stage came to."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.cells import MAX_ROWS, changed_notes, role_cell, spread_cell
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, gained, metric
from bts_tune.results.fidelity import search_fidelity
from bts_tune.results.ranking.configurations import result_stage
from bts_tune.results.statistics.optimism import mean_excess, optimism
from bts_tune.text import plural


@SECTIONS.register("search-optimism")
class SearchOptimism(Section):
    """How much the search promised too much."""

    title = "Optimism of the search"
    after = "ways-of-prediction"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield what the search promised of the configurations of the final stage, beside what they came to."""
        if result_stage(context.trials) == "final" and (lower := search_fidelity(context.trials)):
            yield paragraph(
                f"Not measured: the search ran at a lower fidelity ({lower}), so that what its figures differ by from "
                "the final stage's is no optimism."
            )
            return
        found = optimism(context.trials)
        if not found:
            return
        # A trial that the search stopped early shows how far it had come, not what the search promised.
        full = [one for one in found if one.origin.full_budget]
        chosen = [one for one in full if not one.configuration.baseline]
        told = []
        for one in found:
            if one.first:
                told.append(
                    f"The search ranked {one.configuration.name} first, with a {one.configuration.objective.title} of "
                    f"{metric(one.searched)}; the mean of its final stage is {metric(one.configuration.value)}, which "
                    f"differs by {gained(one.excess)}"
                )
        for group, text in (
            (chosen, "that the search chose"),
            ([one for one in full if one not in chosen], "not chosen"),
        ):
            mean = mean_excess(group)
            if mean is not None:
                noun = "configuration" if group is chosen else "baseline"
                told.append(f"over the {plural(len(group), noun)} {text}, the mean difference is {gained(mean)}")
        if len(full) < len(found):
            told.append(
                f"left out of the means: {plural(len(found) - len(full), 'trial')} of the search, stopped early"
            )
        sentence = "; ".join(told)
        yield paragraph(
            f"{sentence[:1].upper()}{sentence[1:]}. Above zero, the search promised too much: its value is the best "
            "epoch of one seed, and the search chose the configurations by this value. Baselines are not chosen, so "
            "their difference comes from the single seed alone."
        )
        rows = [
            [
                one.configuration.name,
                "; ".join(
                    text for text in ("first in the search" if one.first else "", role_cell(one.configuration)) if text
                ),
                metric(one.searched) + ("" if one.origin.full_budget else f" (stopped after {len(one.origin.rows)})"),
                spread_cell(one.configuration, one.configuration.objective.column),
                gained(one.excess) if one.origin.full_budget else MISSING,
            ]
            for one in found[:MAX_ROWS]
        ]
        header = ["name", "role", "in the search", "in the final stage", "difference"]
        notes = changed_notes(one.configuration for one in found[:MAX_ROWS])
        yield table(header, rows, right=(2, 3, 4), notes=notes)
