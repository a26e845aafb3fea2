"""The report's figures as PNG bytes: learning curves, and predicted slices beside their truth.

Baselines are told apart by their dashes as well as by their colours.
"""

from __future__ import annotations

import re
import textwrap
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.errors import RunError, quoted
from bts_tune.report.canvas import BASELINE_COLORS, COLORS, OTHERS, WARNING, banner, canvas, joined
from bts_tune.report.configurations import result_stage
from bts_tune.report.leaderboard import is_ranked, ordered
from bts_tune.report.words import STATUS_WORDS, changed_note, metric, plural, shortened
from bts_tune.store import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_DASHES: tuple[Any, ...] = ((0, (6, 2)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)))
_HIT, _FALSE_ALARM, _MISS = "#009E73", "#E69F00", "#CC79A7"
_MAX_SLICES = 10
_MAX_SAMPLE_BYTES = 2**28
_ROBOFLOW_SUFFIX = re.compile(r"_(jpe?g|png|bmp|tiff?)\.rf\..*$", re.IGNORECASE)
THRESHOLD = 0.5


@dataclass(frozen=True)
class Samples:
    """Validation slices of one trial with their predictions.

    Attributes:
        images: uint8 [k, S, S], as the network saw them but not standardised.
        truths: bool [k, S, S].
        probabilities: float32 [k, S, S], in 0..1.
        names: what each slice is called.
        iou: float [k], at the threshold of 0.5; NaN where truth and prediction are empty.
        kinds: why each slice is shown, such as `best` or `missed`; empty texts in a file of an earlier version.
    """

    images: NDArray[np.uint8]
    truths: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    names: tuple[str, ...]
    iou: NDArray[np.float64]
    kinds: tuple[str, ...]


def read_samples(path: Path) -> Samples:
    """Read the slices that a trial left for the report.

    Raises:
        RunError: the file is missing, is not an NPZ archive, or its arrays do not fit together.
    """
    if not path.is_file():
        raise RunError(f"samples/{path.name} is missing.")
    try:
        with zipfile.ZipFile(path) as archive_file:
            unpacked = sum(member.file_size for member in archive_file.infolist())
        if unpacked > _MAX_SAMPLE_BYTES:
            raise RunError(f"samples/{path.name} cannot be used: it unpacks to {unpacked} bytes.")
        with np.load(path, allow_pickle=False) as archive:
            samples = Samples(
                images=archive["images"].astype(np.uint8),
                truths=archive["truths"].astype(bool),
                probabilities=archive["probabilities"].astype(np.float32),
                names=tuple(str(name) for name in archive["names"]),
                iou=archive["iou"].astype(np.float64),
                kinds=tuple(str(kind) for kind in archive["kind"])
                if "kind" in archive
                else ("",) * len(archive["names"]),
            )
    except RunError:
        raise
    except Exception as error:  # damaged archives raise what zip, zlib, NumPy's header reader and struct stumble on
        raise RunError(f"samples/{path.name} cannot be read: {quoted(str(error))}.") from None
    shape = samples.images.shape
    same = samples.truths.shape == shape == samples.probabilities.shape
    lengths = {len(samples.names), len(samples.iou), len(samples.kinds)}
    if len(shape) != 3 or 0 in shape or not same or lengths != {shape[0]}:
        raise RunError(f"samples/{path.name} cannot be used: its arrays are empty or differ in shape.")
    return samples


@dataclass(frozen=True)
class _Line:
    """One entry of the legend: the seeds of one configuration, best first, drawn alike."""

    trials: tuple[TrialRecord, ...]
    label: str
    style: dict[str, Any]


def learning_curves(trials: Sequence[TrialRecord], tags: Sequence[str] = (), leaders: int = 4) -> bytes | None:
    """Draw validation Dice loss, and its distance from the training Dice loss, over the epochs.

    The first `leaders` searched configurations and up to four baselines are named; all other trials are thin and grey.

    Args:
        trials: the run's trials in any order.
        tags: warnings to print above the figure (`words.tags`).
        leaders: how many searched configurations to name.

    Returns:
        A PNG, or None where no trial has finished an epoch.
    """
    lines, others = _choose(trials, leaders)
    if not lines:
        return None
    with canvas((11.4, 4.7), layout="constrained") as (figure, png):
        loss, gap = figure.subplots(1, 2)
        _draw_others(loss, gap, others)
        for line in reversed(lines):
            for seed, record in enumerate(line.trials):
                _draw_trial(loss, gap, record, {**line.style, "zorder": 3, "alpha": 0.45 if seed else 1.0})
            _draw_best(loss, line)
        loss.set_title("Validation Dice loss (lower is better)")
        gap.set_title("Gap: validation minus training Dice loss")
        gap.axhline(0.0, color="#999999", linewidth=0.9, zorder=2)
        last = max(row["epoch"] for record in trials for row in record.rows)
        for axes in (loss, gap):
            _epoch_axis(axes, last)
        _legend(figure, lines, len(others))
        note = changed_note(record for line in lines for record in line.trials)
        if note:
            figure.supxlabel(textwrap.fill(note, 150), x=0.01, ha="left", fontsize=8, color="#444444")
        banner(figure, tags)
    return png.getvalue()


def overlay(samples: Samples, title: str, tags: Sequence[str] = ()) -> bytes:
    """Draw one row a slice (at most ten): image, truth, predicted probability, and a map of the errors.

    Args:
        samples: the slices and their predictions.
        title: whose predictions they are.
        tags: warnings to print above the figure.

    Returns:
        A PNG.
    """
    rows, cell, gap, left, foot = min(len(samples.names), _MAX_SLICES), 1.75, 0.07, 1.5, 0.8
    heading = textwrap.wrap(title, 84)
    head = 0.36 + 0.21 * len(heading) + (0.26 if tags else 0.0)
    width = left + 4 * cell + 4 * gap
    height = head + rows * cell + (rows - 1) * gap + foot
    with canvas((width, height), layout=None) as (figure, png):
        drawn = []
        for row in range(rows):
            bottom = height - head - (row + 1) * cell - row * gap
            places = [(left + column * (cell + gap), bottom) for column in range(4)]
            axes = [figure.add_axes((x / width, y / height, cell / width, cell / height)) for x, y in places]
            drawn.append(_draw_slice(axes, samples, row))
            if row == 0:
                for one, text in zip(axes, ("Image", "Truth", "Predicted probability", "Errors"), strict=True):
                    one.set_title(text, loc="center", fontsize=9.5, pad=4)
        bar_place = (left + 2 * (cell + gap) + 0.1, foot - 0.2, cell - 0.2, 0.1)
        bar_axes = figure.add_axes((bar_place[0] / width, bar_place[1] / height, bar_place[2] / width, 0.1 / height))
        bar = figure.colorbar(drawn[0], cax=bar_axes, orientation="horizontal", ticks=[0.0, THRESHOLD, 1.0])
        bar.outline.set_visible(False)
        bar_axes.tick_params(labelsize=8, length=2)
        _error_legend(figure, left / width, 0.32 / height)
        top = height - 0.1
        for text, color in [*([(joined(tags), WARNING)] if tags else []), ("\n".join(heading), "black")]:
            figure.text(0.1 / width, top / height, text, color=color, fontsize=11, fontweight="bold", va="top")
            top -= 0.26
    return png.getvalue()


def _choose(trials: Sequence[TrialRecord], leaders: int) -> tuple[list[_Line], list[TrialRecord]]:
    """Return the named lines in the order of the ranking, and the trials that stay unnamed."""
    groups: dict[tuple[bool, str, str], list[TrialRecord]] = {}
    result = result_stage(trials)
    for record in ordered(trials):
        if record.rows and record.stage == result:
            groups.setdefault((record.baseline, record.name, record.recipe_id), []).append(record)
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
    lines = [_Line(tuple(group), _label(group), styles[key]) for key, group in groups.items() if key in styles]
    named = {record.trial for line in lines for record in line.trials}
    return lines, [record for record in ordered(trials) if record.rows and record.trial not in named]


def _label(group: Sequence[TrialRecord]) -> str:
    first = group[0]
    details = [metric(first.best_row["val_dice_loss"])] if first.best_row else []
    if first.baseline:
        details.append("baseline, changed" if first.changed else "baseline")
    if len(group) > 1:
        details.append(f"best of {plural(len(group), 'seed')}")
    if not is_ranked(first):
        details.append(STATUS_WORDS[first.status])
    return f"{shortened(first.name, 28)}\n{' · '.join(details)}"


def _draw_others(loss: Axes, gap: Axes, trials: Sequence[TrialRecord]) -> None:
    """Draw all unnamed trials as one collection: a line for each would take minutes in a long run."""
    from matplotlib.collections import LineCollection

    for axes, width, curves in (
        (loss, 0.8, [[(row["epoch"], row["val_dice_loss"]) for row in record.rows] for record in trials]),
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
    loss.plot([row["epoch"] for row in record.rows], [row["val_dice_loss"] for row in record.rows], **style)
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
        axes.plot(best["epoch"], best["val_dice_loss"], "o", color=color, markeredgecolor="white", ms=7.5, zorder=4)


def _epoch_axis(axes: Axes, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Epoch")
    axes.set_xlim(0.5 if last < 12 else 0.0, last + max(0.5, 0.02 * last))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _legend(figure: Figure, lines: Sequence[_Line], others: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **line.style, marker=_marker(line.trials[0])) for line in lines]
    labels = [line.label for line in lines]
    if others:
        handles.append(Line2D([], [], color=OTHERS, linewidth=0.8))
        labels.append(plural(others, "other trial"))
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


def _draw_slice(axes: Sequence[Axes], samples: Samples, row: int) -> AxesImage:
    """Draw one row of the overlay and return the probability's image, for the colour bar."""
    image, truth, probability = samples.images[row], samples.truths[row], samples.probabilities[row]
    grey: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest"}
    axes[0].imshow(image, vmin=0, vmax=255, **grey)
    axes[1].imshow(truth, vmin=0, vmax=1, **grey)
    shown = axes[2].imshow(probability, cmap="inferno", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes[3].imshow(_errors(image, truth, probability > THRESHOLD), interpolation="nearest")
    iou = samples.iou[row]
    text = f"IoU {iou:.2f}" if np.isfinite(iou) and truth.any() else "no tumour"
    name = shortened(_ROBOFLOW_SUFFIX.sub("", samples.names[row]), 18)
    label = "\n".join(part for part in (samples.kinds[row], name, text) if part)
    axes[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    for one in axes:
        one.set_xticks([])
        one.set_yticks([])
        one.grid(False)
        one.spines[:].set_visible(False)
    return shown


def _errors(image: NDArray[np.uint8], truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the image in grey, [S, S, 3] in 0..1, with every pixel of truth or prediction tinted by what it is."""
    from matplotlib.colors import to_rgb

    tinted = np.repeat(image[..., np.newaxis] / 255, 3, axis=2)
    for mask, color in ((truth & predicted, _HIT), (predicted & ~truth, _FALSE_ALARM), (truth & ~predicted, _MISS)):
        tinted[mask] = 0.35 * tinted[mask] + 0.65 * np.array(to_rgb(color))
    return tinted


def _error_legend(figure: Figure, x: float, y: float) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=color) for color in (_HIT, _FALSE_ALARM, _MISS)]
    labels = [f"found (above {THRESHOLD:g})", "false alarm", "missed"]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (x, y), "borderaxespad": 0.0, "borderpad": 0.0}
    figure.legend(handles, labels, ncols=3, handlelength=1.2, **place)
