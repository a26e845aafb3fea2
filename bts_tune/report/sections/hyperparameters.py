"""The section on the hyperparameters: how important each was, and what it does."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from bts_tune.report.blocks import Block, Plot, Subheading, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.figures.drawing import COLORS, OTHERS, banner, evenly, new_figure
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, share
from bts_tune.results.ranking.memo import memoized
from bts_tune.results.ranking.settings import has_search, others_word, setting, value
from bts_tune.results.record.objective import objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.statistics.importance import (
    MAX_TRIALS,
    MIN_TRIALS,
    Measured,
    conditions,
    has_effect,
    hyperparameters,
    importances,
    in_all,
    is_numeric,
    logarithmic,
    measured,
)
from bts_tune.text import plural, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LINES = 1000
"""Most trials that the parallel coordinates show: of more lines, nobody could follow one."""

MIN_DRAWN = 8
"""Fewest trials that are worth a plot."""

_MAX_PANELS = 12
_MAX_AXES = 9


@SECTIONS.register("hyperparameters")
class Hyperparameters(Section):
    """Which hyperparameters mattered."""

    title = "Hyperparameters"
    after = "search-history"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the importance of the hyperparameters and the plots of their effect."""
        found = measured(context.trials)
        searched = has_search(context.run)
        if all(record.baseline for record in found.trials) or not (searched or hyperparameters(found.trials)):
            return
        yield paragraph(f"Compared here: {_sentence(found, searched)}")
        if len(found.trials) < MIN_TRIALS:
            yield paragraph(
                f"The importance of hyperparameters needs at least {MIN_TRIALS} trials; of fewer, chance would decide "
                "the order."
            )
        else:
            told = importances(found, context.run)
            if not told:
                yield paragraph("No importance can be computed: no parameter, or no loss, differs between the trials.")
            for one in told:
                if one.where:
                    yield Subheading(f"Among the {plural(one.trials, 'trial')} in which {one.where}")
                rows = [
                    [name, share(part), share(one.among_best[name]) if name in one.among_best else MISSING]
                    for name, part in sorted(one.fanova.items(), key=lambda pair: (-pair[1], pair[0]))
                ]
                yield table(["parameter", "share of the variance", "among the best"], rows, right=(1, 2))
            yield paragraph(
                "Share of the variance: how much of the differences between trials a parameter explains, alone and "
                "with others (fANOVA, Hutter et al., ICML 2014). Among the best: how much a parameter sets the best "
                "tenth of the trials apart from all (PED-ANOVA, Watanabe et al., IJCAI 2023). Both by Optuna; each "
                "column adds up to 100 %. The search tries promising values more often, and neither method corrects "
                "for that fully. A parameter that only some trials have is judged among those. Of more than "
                f"{MAX_TRIALS} trials, that many at even steps in the order of planning are used."
            )
        title = objective_of(context.trials).title
        marginals = functools.partial(draw_marginal_plots, context.trials, context.run, context.tags)
        plot = functools.partial(_plot, "marginals", found, context.run)
        shown = list(
            context.picture(f"Validation {title} against each hyperparameter", "marginals", marginals, plot=plot)
        )
        if shown:
            yield from shown
            yield paragraph(
                "Each dot is a trial, each square a baseline; bars are the median of a category. A panel shows the "
                "trials in which its parameter has an effect. All other parameters vary too, so a slope alone proves "
                "nothing."
            )
        coordinates = functools.partial(draw_parallel_coordinates, context.trials, context.run, context.tags)
        plot = functools.partial(_plot, "parallel", found, context.run)
        shown = list(
            context.picture("Parallel coordinates of the trials", "parallel_coordinates", coordinates, plot=plot)
        )
        if shown:
            yield from shown
            yield paragraph(
                f"A line is a trial: from its values, left, to its validation {title}, right. The better a trial, the "
                "more its line stands out from the page. Parameters that only some trials have are left out. Of more "
                f"than {MAX_LINES} trials, that many at even steps from the worst to the best are in the picture."
            )


def _plot(kind: str, found: Measured, run: Mapping[str, Any]) -> Plot:
    """Return the trials and the axes of a plot that can be explored; the strongest hyperparameters come first."""
    when, logs = conditions(run), logarithmic(run)
    fields = _strongest(found, run)
    if kind == "parallel":
        fields = [field for field in fields if in_all(found.trials, field, when)][:_MAX_AXES]
    axes = []
    for field in fields:
        own = [record for record in found.trials if has_effect(record, field, when)]
        axes.append(
            {
                "field": field,
                "numeric": is_numeric([setting(record, field) for record in own]),
                "log": field in logs,
                "trials": None if in_all(found.trials, field, when) else [record.trial for record in own],
            }
        )
    return Plot(
        kind,
        {
            "axes": axes,
            "others": others_word(run),
            "values": {
                record.trial: float(f"{reached:.5g}")
                for record, reached in zip(found.trials, found.values, strict=True)
                if math.isfinite(reached)
            },
        },
    )


def _sentence(found: Measured, searched: bool) -> str:
    """Return what is compared with what."""
    trials = f"{plural(len(found.trials), 'trial')}{' of the search' if searched else ''}"
    what = (
        f"{trials}, all trained to the full budget, each at its best epoch"
        if found.epoch is None
        else f"{trials}, each at its best up to epoch {found.epoch}, the last one that all of them reached. Later "
        "epochs are left out, as only the better trials have them"
    )
    left = f"; {found.left_out} that diverged, failed or are not done are left out" if found.left_out else ""
    return f"{what}{left}."


def draw_marginal_plots(
    trials: Sequence[TrialRecord], run: Mapping[str, Any], tags: Sequence[str] = ()
) -> bytes | None:
    """Draw the objective against every hyperparameter that varies, the first twelve by the strength of the link.

    Args:
        trials: the run's trials in any order.
        run: the content of `run.json`; its space says which axes are logarithmic and what is drawn when.
        tags: warnings to print above the figure (`ReportContext.tags`).

    Returns:
        A PNG, or None with too few trials or where nothing varies.
    """
    found = measured(trials)
    fields = _strongest(found, run)[:_MAX_PANELS]
    if len(found.trials) < MIN_DRAWN or not fields or all(record.baseline for record in found.trials):
        return None
    columns = min(4, len(fields))
    rows = math.ceil(len(fields) / columns)
    when, logs = conditions(run), logarithmic(run)
    with new_figure((11.4, 0.5 + 2.6 * rows), layout="constrained") as (figure, png):
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes in panels.flat[len(fields) :]:
            axes.set_visible(False)
        for axes, field in zip(panels.flat, fields, strict=False):
            places = [place for place, record in enumerate(found.trials) if has_effect(record, field, when)]
            _draw_marginal(axes, found, field, places, field in logs)
        for row in panels:
            row[0].set_ylabel(f"Validation {found.objective.title}")
        banner(figure, tags)
    return png.getvalue()


def draw_parallel_coordinates(
    trials: Sequence[TrialRecord], run: Mapping[str, Any], tags: Sequence[str] = ()
) -> bytes | None:
    """Draw trials as lines through their hyperparameters to the objective; of many, some at even ranks.

    Args:
        trials: the run's trials in any order.
        run: the content of `run.json`.
        tags: warnings to print above the figure (`ReportContext.tags`).

    Returns:
        A PNG, or None with too few trials or where fewer than two hyperparameters vary.
    """
    found = measured(trials)
    when, logs = conditions(run), logarithmic(run)
    # An axis that most trials have no place on would break most lines.
    fields = [field for field in _strongest(found, run) if in_all(found.trials, field, when)][:_MAX_AXES]
    if len(found.trials) < MIN_DRAWN or len(fields) < 2 or all(record.baseline for record in found.trials):
        return None
    places = [_axis(found, field, field in logs) for field in fields]
    reached, costs = np.array(found.values), np.array(found.costs)
    low, high = float(reached.min()), float(reached.max())
    heights = (reached - low) / (high - low) if high > low else np.full(len(reached), 0.5)
    # By rank: one failure far off would give all others the same colour.
    shades = np.argsort(np.argsort(costs, kind="stable")) / max(1, len(costs) - 1)
    table_of = np.column_stack([*(one.heights for one in places), heights])
    with new_figure((11.4, 4.6), layout="constrained") as (figure, png):
        from matplotlib import colormaps
        from matplotlib.collections import LineCollection

        axes = figure.subplots()
        x = np.arange(len(fields) + 1)
        # All but the best as one collection, better ones above: a line for each takes far longer.
        *others, best = evenly(np.argsort(-costs, kind="stable").tolist(), MAX_LINES)
        colors = colormaps["cividis"](0.95 * shades[others])
        lines = [np.column_stack([x, table_of[place]]) for place in others]
        axes.add_collection(LineCollection(lines, colors=colors, linewidths=0.9, alpha=0.6, zorder=3))
        dots = {"marker": ".", "s": 9, "linewidths": 0, "alpha": 0.6, "zorder": 3}
        dotted = np.tile(x, len(others)), table_of[others].ravel()
        axes.scatter(*dotted, c=np.repeat(colors, len(x), axis=0), **dots)  # type: ignore[arg-type]
        axes.plot(x, table_of[best], color="black", lw=2.0, alpha=0.9, zorder=5, marker=".", ms=3)
        for number, one in enumerate(places):
            axes.axvline(number, color="#999999", lw=0.8, zorder=1)
            for height, text in one.ticks:
                axes.text(number + 0.03, height, text, fontsize=7, va="center", zorder=6, bbox=_LABEL)
        axes.axvline(len(fields), color="#999999", lw=0.8, zorder=1)
        for height, end in ((0.0, low), (1.0, high)):
            axes.text(len(fields) + 0.03, height, f"{end:.3f}", fontsize=7, va="center", zorder=6, bbox=_LABEL)
        last = f"validation\n{found.objective.title}"
        axes.set_xticks(x, [*(field.replace("_", "\n", 1) for field in fields), last], fontsize=8)
        axes.set_yticks([])
        axes.set_xlim(-0.15, len(fields) + 0.45)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        banner(figure, tags)
    return png.getvalue()


_LABEL = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


@dataclass(frozen=True)
class _Axis:
    """One axis of the parallel coordinates: the height of each trial in 0..1, and labelled heights."""

    heights: np.ndarray
    ticks: tuple[tuple[float, str], ...]


_ABOVE_ZERO = 0.15
"""Where the smallest value above 0 stands on a logarithmic axis that has a 0 at its foot."""


def _axis(found: Measured, field: str, log: bool) -> _Axis:
    values = [setting(record, field) for record in found.trials]
    if not is_numeric(values):
        categories = sorted({str(one) for one in values})
        step = 1 / max(1, len(categories) - 1)
        heights = np.array([categories.index(str(one)) * step for one in values])
        return _Axis(heights, tuple((n * step, shortened(category, 16)) for n, category in enumerate(categories)))
    numbers = np.array(values, dtype=np.float64)
    positive = numbers[numbers > 0]
    middle: tuple[tuple[float, str], ...] = ()
    if log and numbers.min() == 0 and len(positive):
        # A logarithmic axis has no place for 0: it stands below the others.
        low, high = np.log(positive.min()), np.log(positive.max())
        least = _ABOVE_ZERO if high > low else 1.0
        steps = np.log(np.maximum(numbers, positive.min())) - low
        heights = np.where(numbers > 0, least + (1 - least) * steps / (high - low if high > low else 1.0), 0.0)
        if high > low:
            middle = ((least, value(float(positive.min()))),)
    else:
        numbers = np.log(numbers) if log and numbers.min() > 0 else numbers
        low, high = numbers.min(), numbers.max()
        heights = (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)
    return _Axis(heights, ((0.0, value(min(values))), *middle, (1.0, value(max(values)))))


def _draw_marginal(axes: Axes, found: Measured, field: str, places: Sequence[int], log: bool) -> None:
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
    )

    values = [setting(found.trials[place], field) for place in places]
    reached = [found.values[place] for place in places]
    searched = [not found.trials[place].baseline for place in places]
    axes.set_title(field, fontsize=9)
    if is_numeric(values):
        x = [float(one) for one in values]
        positive = [one for one in x if one > 0]
        if log and min(x) >= 0 and positive:
            short = FuncFormatter(lambda place, _: f"{place:.0e}".replace("e-0", "e-") if place else "0")
            if len(positive) == len(x):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(numticks=5))
            else:  # 0 has no place on a logarithmic axis: it stands a decade below the others
                least = 10.0 ** math.floor(math.log10(min(positive)))
                axes.set_xscale("symlog", linthresh=least, linscale=0.9)
                ends = math.floor(math.log10(least)), math.ceil(math.log10(max(positive)))
                powers = range(ends[0], ends[1] + 1, max(1, (ends[1] - ends[0]) // 3))
                axes.xaxis.set_major_locator(FixedLocator([0.0, *(10.0**power for power in powers)]))
                axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(short)
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif all(isinstance(one, int) for one in values):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    else:
        categories = sorted({str(one) for one in values})
        # Spread sideways by their place in the order of planning: chance would draw a different figure each time.
        side = [0.5 * ((number * 0.618034) % 1.0 - 0.5) for number in range(len(places))]
        x = [categories.index(str(one)) + shift for one, shift in zip(values, side, strict=True)]
        for number, category in enumerate(categories):
            middle = float(np.median([y for one, y in zip(values, reached, strict=True) if str(one) == category]))
            axes.plot([number - 0.35, number + 0.35], [middle, middle], color=COLORS[1], lw=2, zorder=4)
        slanted: dict[str, Any] = (
            {"rotation": 25, "ha": "right"} if len(categories) > 2 or max(map(len, categories)) > 10 else {}
        )
        axes.set_xticks(
            range(len(categories)), [shortened(category, 18) for category in categories], fontsize=7.5, **slanted
        )
        axes.set_xlim(-0.6, len(categories) - 0.4)
    for of_search, color, marker in ((True, COLORS[0], "o"), (False, "black", "s")):
        chosen = [number for number, one in enumerate(searched) if one == of_search]
        dots = {"color": color, "marker": marker, "s": 16, "alpha": 0.7, "linewidths": 0, "zorder": 3}
        # Lists would be looked through for masked values one by one.
        axes.scatter(np.array([x[n] for n in chosen]), np.array([reached[n] for n in chosen]), **dots)  # type: ignore[arg-type]
    axes.grid(True, color=OTHERS, alpha=0.4)


def _strongest(found: Measured, run: Mapping[str, Any]) -> list[str]:
    """Return the fields by how much of the objective's variance the groups of their values explain, most first.

    A quick measure that needs few trials and only chooses what is drawn; ties keep the order of `TrialConfig`.
    """
    return list(_by_strength(found.trials, found.values, json.dumps(conditions(run))))


@memoized
def _by_strength(trials: Sequence[TrialRecord], measured_values: Sequence[float], given: str) -> tuple[str, ...]:
    when = json.loads(given)  # as text, so that an answer can be found again
    strengths = {}
    for field in hyperparameters(trials):
        places = [place for place, record in enumerate(trials) if has_effect(record, field, when)]
        values = [setting(trials[place], field) for place in places]
        reached = np.array([measured_values[place] for place in places])
        if len({repr(one) for one in values}) < 2:
            continue
        if is_numeric(values):
            linked = float(stats.spearmanr(values, reached).statistic) if len(set(reached.tolist())) > 1 else 0.0
            strengths[field] = linked**2
        else:
            texts = np.array([str(one) for one in values])
            within = sum(((reached[texts == one] - reached[texts == one].mean()) ** 2).sum() for one in set(texts))
            total = ((reached - reached.mean()) ** 2).sum()
            strengths[field] = float(1 - within / total) if total else 0.0
    return tuple(sorted(strengths, key=lambda field: -strengths[field]))
