"""What all figures of a report share: colours, style, and a new figure that ends as PNG.

Drawn with matplotlib's object interface on the Agg canvas, from its default style: no display, no global state,
nothing taken from a user's `matplotlibrc` or from `MPLBACKEND`. Modules that draw import matplotlib within `new_figure`
alone. The colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_T = TypeVar("_T")

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BASELINE_COLORS = ("#000000", "#4d4d4d", "#7a7a7a", "#2b2b2b")
OTHERS = "#c8c8c8"
WARNING = "#b00020"
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.parse_math": False,
    "figure.constrained_layout.w_pad": 0.1,
}
_DPI = 150


@contextmanager
def new_figure(size: tuple[float, float], layout: Literal["constrained"] | None) -> Iterator[tuple[Figure, io.BytesIO]]:
    """Give a new figure of `size` inches; on leaving, it is drawn into the buffer as PNG."""
    _import_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    png = io.BytesIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name may hold characters that the bundled font lacks; a box in the legend is no reason to warn.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, dpi=_DPI, layout=layout, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        yield figure, png
        # Not `savefig`, which draws a figure with a layout twice.
        canvas.print_png(png, metadata={"Software": None})


def _import_matplotlib() -> None:
    """Import matplotlib, whatever back end the environment names.

    A notebook hands its own, `module://matplotlib_inline.backend_inline`, to every command that is started from it, and
    where that back end is not installed, or the name is of none, the import itself fails.
    """
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named


def banner(figure: Figure, tags: Sequence[str]) -> None:
    """Print warnings (`ReportContext.tags`) small above a figure with a constrained layout.

    The page says them once, at its top; the figure's own file may be shown without it.
    """
    if tags:
        figure.suptitle(joined(tags), x=0.01, ha="left", color=WARNING, fontsize=7.5)


def evenly(ranked: Sequence[_T], count: int) -> list[_T]:
    """Return at most `count` of them at even steps, the first and the last included."""
    if len(ranked) <= count:
        return list(ranked)
    return [ranked[round(step * (len(ranked) - 1) / (count - 1))] for step in range(count)]


def joined(tags: Sequence[str]) -> str:
    """Return the first word of each warning, on one line."""
    return " · ".join(tag.partition(":")[0] for tag in tags)
