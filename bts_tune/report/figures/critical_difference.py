"""The diagram of critical differences: mean ranks on a line, and bars over those that cannot be told apart.

As in Demšar, 'Statistical comparisons of classifiers over multiple data sets', JMLR 2006, with the best on the left.
"""

from __future__ import annotations

from collections.abc import Sequence

from bts_tune.report.figures.drawing import BASELINE_COLORS, COLORS, new_figure
from bts_tune.results.statistics.rank_tests import not_told_apart

_LINE = 4.5
"""Length of the line of ranks, in inches."""


def critical_difference_diagram(names: Sequence[str], mean_ranks: Sequence[float], critical: float) -> bytes:
    """Return the diagram as PNG.

    Args:
        names: of the configurations, by mean rank.
        mean_ranks: in that order.
        critical: the critical difference.
    """
    bars = not_told_apart(mean_ranks, critical)
    count = len(names)
    rows = (count + 1) // 2
    top = 1.4 + 0.35 * len(bars)
    beside = 0.9 + 0.08 * max(map(len, names))  # inches for a name and its rank on either side of the line
    with new_figure((_LINE + 2 * beside, 1.0 + 0.28 * (rows + top)), None) as (figure, png):
        axes = figure.add_axes((0, 0.02, 1, 0.96))
        axes.axis("off")
        margin = (count - 1) / _LINE * beside
        axes.set_xlim(1 - margin, count + margin)
        axes.set_ylim(rows + top, -2.6)
        axes.plot([1, count], [0, 0], color=BASELINE_COLORS[0], linewidth=1.2)
        for tick in range(1, count + 1):
            axes.plot([tick, tick], [0, -0.25], color=BASELINE_COLORS[0], linewidth=1.2)
            axes.text(tick, -0.45, str(tick), ha="center", va="bottom")
        length = min(critical, count - 1)
        axes.plot([1, 1 + length], [-1.7, -1.7], color=COLORS[1], linewidth=2)
        longer = ", longer than the line" if critical > count - 1 else ""
        axes.text(1, -1.85, f"critical difference {critical:.2f}{longer}", ha="left", va="bottom", color=COLORS[1])
        hair = 0.03 * (count - 1) / _LINE
        for number, (first, last) in enumerate(bars):
            depth = 0.5 + 0.35 * number
            ends = [mean_ranks[first] - hair, mean_ranks[last] + hair]
            axes.plot(ends, [depth, depth], color=COLORS[0], linewidth=4, solid_capstyle="butt")
        for place, (name, rank) in enumerate(zip(names, mean_ranks, strict=True)):
            left = place < rows
            depth = top + (place if left else count - 1 - place)
            side, align = (1 - 2 * hair, "right") if left else (count + 2 * hair, "left")
            axes.plot([rank, rank, side], [0, depth, depth], color=BASELINE_COLORS[1], linewidth=0.9)
            axes.text(side + (-hair if left else hair), depth, f"{name}  {rank:.2f}", ha=align, va="center")
    return png.getvalue()
