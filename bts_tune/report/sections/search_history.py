"""The section on the course of the search: the lowest loss so far, trial by trial and over device time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bts_tune.report.blocks import Block, Plot, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.figures.drawing import COLORS, OTHERS, banner, new_figure
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.ranking.leaderboard import is_ranked, total_seconds
from bts_tune.results.ranking.settings import gpus_per_trial, others_word
from bts_tune.results.record.objective import objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import FINISHED

_DEVICE_TIME: Mapping[str, str] = {
    "GPU": "times the GPUs that each takes",
    "CPU-trial": "each on its share of the CPU's cores",
    "Trial": "not weighed by device",
}


@SECTIONS.register("search-history")
class SearchHistory(Section):
    """The course of the search."""

    title = "Search history"
    after = "learning-curves"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the course of the search: the best so far."""
        others, gpus = others_word(context.run), gpus_per_trial(context.run)
        draw = functools.partial(draw_search_history, context.trials, context.tags, gpus, others)
        objective = objective_of(context.trials)
        best = f"{objective.best_word} validation {objective.title}"
        plot = functools.partial(_plot, context.trials, gpus, others)
        shown = list(context.picture(f"The {best} so far", "search_history", draw, plot=plot))
        yield from shown
        course = _course(context.trials, gpus)
        if course is None:
            return
        yield paragraph(
            f"The line is the {best} so far of the trials trained to the full budget. Left: trial by trial, in the "
            "order in which they ended. Right: over device time, which adds up the time of all trials, also of those "
            f"that ran at the same time, {_DEVICE_TIME[course.device]}."
        )


def draw_search_history(
    trials: Sequence[TrialRecord], tags: Sequence[str] = (), gpus_per_trial: float = 1.0, others: str = "searched"
) -> bytes | None:
    """Draw the search's best value of the objective so far against trials ended and against device time.

    Args:
        trials: the run's trials in any order.
        gpus_per_trial: GPUs, or the fraction of one, that a trial on a GPU takes; on CPUs, trials are counted.
        tags: warnings to print above the figure (`ReportContext.tags`).
        others: what trials are called that are no baselines.

    Returns:
        A PNG, or None while the trials that have ended with rows are of one configuration.
    """
    course = _course(trials, gpus_per_trial)
    if course is None:
        return None
    objective, ended, values, best = objective_of(trials), course.ended, course.values, course.best
    seconds, device, unit, size = course.seconds, course.device, course.unit, course.unit_seconds
    with new_figure((11.4, 3.9), layout="constrained") as (figure, png):
        panels = figure.subplots(1, 2, sharey=True)
        steps = ([float(number) for number in range(1, len(ended) + 1)], [second / size for second in seconds])
        for axes, places, label in zip(panels, steps, ("Trials ended", f"{device}-{unit}"), strict=True):
            marks: tuple[tuple[Callable[[TrialRecord], bool], dict[str, Any], str], ...] = (
                (lambda record: record.baseline, {"marker": "s", "color": "black"}, "baseline"),
                (lambda record: not record.baseline and is_ranked(record), {"color": COLORS[0]}, others),
                (lambda record: not is_ranked(record), {"color": OTHERS}, "ended before the full budget"),
            )
            for wanted, style, text in marks:
                chosen = [place for place, record in enumerate(ended) if wanted(record)]
                if chosen:
                    x, y = [places[place] for place in chosen], [values[place] for place in chosen]
                    axes.scatter(x, y, s=26, zorder=3, label=text, **style)
            finite = [place for place, value in enumerate(best) if np.isfinite(value)]
            if finite:
                x, y = [places[place] for place in finite], [best[place] for place in finite]
                axes.step(x, y, where="post", color=COLORS[1], linewidth=1.9, label="best so far", zorder=2)
            axes.set_xlabel(label)
        panels[0].xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel(f"Validation {objective.title}")
        panels[0].set_title("Best so far, trial by trial")
        panels[1].set_title("Best so far, over device time")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8.5)
        banner(figure, tags)
    return png.getvalue()


@dataclass(frozen=True)
class _Course:
    """The trials of the search in the order in which they ended, what each came to, and the best so far.

    `seconds` are of device time until then, shown in `unit` of `unit_seconds`; `best` is infinite until a trial was
    trained to its full budget.
    """

    ended: Sequence[TrialRecord]
    values: Sequence[float]
    best: Sequence[float]
    seconds: Sequence[float]
    device: str
    unit: str
    unit_seconds: float


def _course(trials: Sequence[TrialRecord], gpus_per_trial: float) -> _Course | None:
    """Return the course of the search; None while the trials that have ended with rows are of one configuration."""
    ended = [record for record in trials if record.stage == "search" and record.status in FINISHED and record.rows]
    ended.sort(key=lambda record: (record.rows[-1].get("time") or 0.0, record.index))
    if len({record.recipe_id for record in ended}) < 2:
        return None
    objective = objective_of(trials)
    values = [objective.value(record.best_row) for record in ended if record.best_row]
    ranked = [is_ranked(record) for record in ended]
    costs = (objective.cost(value) if full else np.inf for value, full in zip(values, ranked, strict=True))
    best = [objective.cost(cost) for cost in itertools.accumulate(costs, min)]
    device, share = device_time(ended, gpus_per_trial)
    seconds = list(itertools.accumulate(share * (total_seconds(record) or 0.0) for record in ended))
    unit, size = next(
        (u, s) for u, s in (("hours", 3600), ("minutes", 60), ("seconds", 1)) if seconds[-1] >= 2 * s or s == 1
    )
    return _Course(ended, values, best, seconds, device, unit, size)


def _plot(trials: Sequence[TrialRecord], gpus_per_trial: float, others: str) -> Plot | None:
    """Return the course of the search for the plot that can be explored."""
    course = _course(trials, gpus_per_trial)
    if course is None:
        return None
    return Plot(
        "history",
        {
            "unit": f"{course.device}-{course.unit}",
            "others": others,
            "ended": [record.trial for record in course.ended],
            "spent": [float(f"{seconds / course.unit_seconds:.5g}") for seconds in course.seconds],
            "best": [float(f"{value:.5g}") if np.isfinite(value) else None for value in course.best],
        },
    )


def device_time(trials: Sequence[TrialRecord], gpus_per_trial: float) -> tuple[str, float]:
    """Return what the seconds of trials are counted in, and how many of it a trial's second is.

    `GPU` where every trial ran on one, with the GPUs that a trial takes; else `CPU-trial`, or `Trial` where trials ran
    on both or on what is not on record, each with 1.
    """
    devices = {record.started.get("device") for record in trials}
    if devices == {"cpu"}:
        return "CPU-trial", 1.0
    if devices and not devices & {"cpu", None}:
        return "GPU", gpus_per_trial
    return "Trial", 1.0
