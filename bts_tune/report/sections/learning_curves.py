"""The section on the learning curves. Baselines are told apart by their dashes as well as by their colours."""

from __future__ import annotations

import functools
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bts_tune.report.blocks import Block, Plot, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.figures.drawing import BASELINE_COLORS, COLORS, OTHERS, banner, evenly, new_figure
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import metric
from bts_tune.results.ranking.configurations import result_stage
from bts_tune.results.ranking.leaderboard import is_ranked, ordered
from bts_tune.results.ranking.naming import changed_note, role
from bts_tune.results.record.objective import objective_of
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES
from bts_tune.text import plural, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@SECTIONS.register("learning-curves")
class LearningCurves(Section):
    """The learning curves of the leading trials."""

    title = "Learning curves"
    after = "published-results"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the learning curves."""
        draw = functools.partial(draw_learning_curves, context.trials, context.tags)
        plot = functools.partial(_plot, context.trials)
        shown = list(context.picture("Learning curves of the leading trials", "learning_curves", draw, plot=plot))
        if not shown:
            yield paragraph("No trial has finished an epoch, so there are no curves.")
            return
        yield from shown
        yield paragraph(
            "Left: the metric that ranks the trials. Right: the gap, which is the validation Dice loss minus that of "
            "the training batches of the same epoch. The gap can be negative, as training batches are augmented and "
            "have dropout. A model overfits where its gap grows while its validation loss no longer falls."
        )


MAX_OTHERS = 1000
"""Most trials that are drawn without a name: of more lines, none could be told from the others."""

_DASHES: tuple[Any, ...] = ((0, (6, 2)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)))


@dataclass(frozen=True)
class _Line:
    """One entry of the legend: the seeds of one configuration, best first, drawn alike."""

    trials: tuple[TrialRecord, ...]
    label: str
    style: dict[str, Any]


LEADERS = 4
"""How many searched configurations are named."""


def draw_learning_curves(
    trials: Sequence[TrialRecord], tags: Sequence[str] = (), leaders: int = LEADERS
) -> bytes | None:
    """Draw the objective, and the gap between validation and training Dice loss, over the epochs.

    The first `leaders` searched configurations and up to four baselines are named; all other trials are thin and grey,
    of very many some at even steps from the best to the worst.

    Args:
        trials: the run's trials in any order.
        tags: warnings to print above the figure (`ReportContext.tags`).
        leaders: how many searched configurations to name.

    Returns:
        A PNG, or None where no trial has finished an epoch.
    """
    lines, others = _choose(trials, leaders)
    if not lines:
        return None
    with new_figure((11.4, 4.7), layout="constrained") as (figure, png):
        loss, gap = figure.subplots(1, 2)
        drawn = evenly(others, MAX_OTHERS)
        _draw_others(loss, gap, drawn)
        for line in reversed(lines):
            for seed, record in enumerate(line.trials):
                _draw_trial(loss, gap, record, {**line.style, "zorder": 3, "alpha": 0.45 if seed else 1.0})
            _draw_best(loss, line)
        objective = objective_of(trials)
        loss.set_title(f"Validation {objective.title} ({objective.better} is better)")
        gap.set_title("Gap: validation minus training Dice loss")
        gap.axhline(0.0, color="#999999", linewidth=0.9, zorder=2)
        last = max(row["epoch"] for record in trials for row in record.rows)
        for axes in (loss, gap):
            _epoch_axis(axes, last)
        _legend(figure, lines, len(others), len(drawn))
        note = changed_note(record for line in lines for record in line.trials)
        if note:
            figure.supxlabel(textwrap.fill(note, 150), x=0.01, ha="left", fontsize=8, color="#444444")
        banner(figure, tags)
    return png.getvalue()


def _choose(trials: Sequence[TrialRecord], leaders: int) -> tuple[list[_Line], list[TrialRecord]]:
    """Return the named lines in the order of the ranking, and the trials that stay unnamed."""
    groups: dict[tuple[bool, str, str], list[TrialRecord]] = {}
    planned: Counter[tuple[bool, str, str]] = Counter()
    result = result_stage(trials)
    # Of a final stage that is only planned there is no curve yet: those of the search stand until its first epoch.
    stage = result if any(record.rows for record in trials if record.stage == result) else "search"
    for record in ordered(trials):
        if record.stage == stage:
            key = (record.baseline, record.name, record.recipe_id)
            planned[key] += 1
            if record.rows:
                groups.setdefault(key, []).append(record)
    # Trials stopped early lead nothing, unless there is nothing else to show.
    searched = [key for key in groups if not key[0]]
    leading = ([key for key in searched if is_ranked(groups[key][0])] or searched)[:leaders]
    baselines = [key for key in groups if key[0]][: len(_DASHES)]
    palette = BASELINE_COLORS if leading else COLORS
    styles: dict[tuple[bool, str, str], dict[str, Any]] = {}
    for position, key in enumerate(leading):
        styles[key] = {"color": COLORS[position % len(COLORS)], "linestyle": "solid", "linewidth": 1.7}
    for position, key in enumerate(baselines):
        styles[key] = {"color": palette[position], "linestyle": _DASHES[position], "linewidth": 1.9}
    lines = [
        _Line(tuple(group), _label(group, planned[key]), styles[key]) for key, group in groups.items() if key in styles
    ]
    named = {record.trial for line in lines for record in line.trials}
    return lines, [record for record in ordered(trials) if record.rows and record.trial not in named]


def _label(group: Sequence[TrialRecord], planned: int) -> str:
    first = group[0]
    details = [metric(first.objective.value(first.best_row))] if first.best_row else []
    if first.baseline:
        details.append(role(first))
    complete = sum(map(is_ranked, group))
    noun = "seed" if all(one.fold is None for one in group) else "training"
    if 0 < complete < planned:
        details.append(f"{complete} of {plural(planned, noun)} complete")
    elif len(group) > 1:
        details.append(f"best of {plural(len(group), noun)}")
    if not is_ranked(first):
        details.append(STATUSES[first.status].words)
    return f"{shortened(first.name, 28)}\n{' · '.join(details)}"


def _plot(trials: Sequence[TrialRecord]) -> Plot:
    """Return which trials the plot that can be explored names, each line with its style."""
    lines, _ = _choose(trials, LEADERS)
    named = [
        {
            "trials": [record.trial for record in line.trials],
            "label": line.label.replace("\n", ", "),
            "color": line.style["color"],
            "dashed": line.trials[0].baseline,
        }
        for line in lines
    ]
    return Plot("curves", {"lines": named})


def _draw_others(loss: Axes, gap: Axes, trials: Sequence[TrialRecord]) -> None:
    """Draw all unnamed trials as one collection: a line for each would take minutes in a long run."""
    from matplotlib.collections import LineCollection

    for axes, width, curves in (
        (loss, 0.8, [[(row["epoch"], record.objective.value(row)) for row in record.rows] for record in trials]),
        (gap, 0.64, [_gaps(record) for record in trials]),
    ):
        lines = [curve for curve in curves if len(curve) > 1]
        if lines:
            axes.add_collection(LineCollection(lines, colors=OTHERS, linewidths=width, zorder=1))
        # A single epoch has no line to be seen by.
        points = [curve[0] for curve in curves if len(curve) == 1]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=OTHERS, zorder=1)
        axes.autoscale_view()


def _gaps(record: TrialRecord) -> list[tuple[int, float]]:
    """Return the epochs that have a training Dice loss, with how far the validation's lies above it."""
    return [
        (row["epoch"], row["val_dice_loss"] - row["train_dice_loss"])
        for row in record.rows
        if row.get("train_dice_loss") is not None
    ]


def _draw_trial(loss: Axes, gap: Axes, record: TrialRecord, style: dict[str, Any]) -> None:
    style = {**style, "marker": _marker(record)}
    values = [record.objective.value(row) for row in record.rows]
    loss.plot([row["epoch"] for row in record.rows], values, **style)
    gaps = _gaps(record)
    style["linewidth"] *= 0.8
    gap.plot([epoch for epoch, _ in gaps], [distance for _, distance in gaps], **style)


def _marker(record: TrialRecord) -> str | None:
    """A single epoch has no line to be seen by."""
    return "o" if len(record.rows) == 1 else None


def _draw_best(axes: Axes, line: _Line) -> None:
    best = line.trials[0].best_row
    if best is not None:
        color = line.style["color"]
        value = line.trials[0].objective.value(best)
        axes.plot(best["epoch"], value, "o", color=color, markeredgecolor="white", ms=7.5, zorder=4)


def _epoch_axis(axes: Axes, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Epoch")
    axes.set_xlim(0.5 if last < 12 else 0.0, last + max(0.5, 0.02 * last))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _legend(figure: Figure, lines: Sequence[_Line], others: int, drawn: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **line.style, marker=_marker(line.trials[0])) for line in lines]
    labels = [line.label for line in lines]
    if others:
        handles.append(Line2D([], [], color=OTHERS, linewidth=0.8))
        labels.append(plural(others, "other trial") + (f"\n{drawn} of them drawn" if drawn < others else ""))
    legend = figure.legend(
        handles,
        labels,
        loc="outside right upper",
        fontsize=8.5,
        handlelength=3.4,
        labelspacing=0.8,
        title="Best first; dot: best epoch",
        title_fontsize=8.5,
        alignment="left",
    )
    legend.get_title().set_fontweight("bold")
