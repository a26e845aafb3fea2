"""The section on predicted slices beside their truth, and the file in which a trial leaves them."""

from __future__ import annotations

import base64
import functools
import io
import re
import textwrap
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bts_tune.errors import RunError
from bts_tune.report.blocks import Block, Picture, Plot, Subheading, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.figures.drawing import WARNING, joined, new_figure
from bts_tune.report.figures.outlines import outline
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.results.ranking.leaderboard import best_baselines, ranking
from bts_tune.results.ranking.naming import with_role
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.text import quoted, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


_HIT, _FALSE_ALARM, _MISS = "#009E73", "#E69F00", "#CC79A7"
_MAX_SLICES = 10
_MAX_SHOWN = 384
_LINE = 18
_MAX_SAMPLE_BYTES = 2**28
_ROBOFLOW_SUFFIX = re.compile(r"_(jpe?g|png|bmp|tiff?)\.rf\..*$", re.IGNORECASE)
THRESHOLD = 0.5


@SECTIONS.register("predictions")
class Predictions(Section):
    """Predicted slices of the best trial and of every baseline."""

    title = "Predictions"
    after = "hyperparameters"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield predicted slices of the best trial and of every baseline."""
        best = ranking(context.trials)[:1]
        shown = best + [record for record in best_baselines(context.trials) if record not in best]
        if not shown:
            yield paragraph("No trial has been trained to its full budget, so no predictions are shown.")
            return
        overlays = {record.trial: list(_overlay(context, record, record in best)) for record in shown}
        if any(isinstance(block, Picture) for blocks in overlays.values() for block in blocks):
            yield paragraph(
                "Slices of the validation split, predicted with the weights of the best epoch. Best, median and worst: "
                "by IoU, among the tumours of which something was found. Missed: not one pixel was found; the largest "
                "first. False alarm: a predicted region without any true pixel. A kind that is not shown does not "
                "occur on this split. The slices are chosen to show what can happen, not how often it does."
            )
        for blocks in overlays.values():
            yield from blocks


def _overlay(context: ReportContext, record: TrialRecord, best: bool) -> Iterable[Block]:
    name = with_role(context.names[record.trial], record)
    title = f"Best trial: {name}" if best else name
    yield Subheading(title)
    if not record.test and not context.folder.samples_file(record.trial).is_file():
        yield paragraph("No slices yet: this trial's model has not been evaluated.")
        return
    try:
        samples = read_samples(context.folder.samples_file(record.trial))
    except RunError as error:
        yield paragraph(f"The figure is left out: {error}")
        return
    draw = functools.partial(draw_predictions, samples, f"Predictions of {name}", context.tags)
    gallery = functools.partial(_gallery, samples, record.trial)
    described = f"Validation slices, {title}"
    yield from context.picture(described, f"predictions-{record.trial}", draw, photo=True, plot=gallery)


def _gallery(samples: Samples, trial: str) -> Plot:
    """Return the slices with the outlines of truth and prediction, to be looked at one by one."""
    slices = []
    for place in range(min(len(samples.names), _MAX_SLICES)):
        truth, predicted = samples.truths[place], samples.probabilities[place] > THRESHOLD
        iou = float(samples.iou[place])
        slices.append(
            {
                "name": samples.names[place],
                "kind": samples.kinds[place],
                "iou": round(iou, 4) if np.isfinite(iou) and truth.any() else None,
                "image": _jpeg(samples.images[place]),
                "truth": outline(truth),
                "predicted": outline(predicted),
            }
        )
    return Plot("gallery", {"trial": trial, "size": int(samples.images.shape[1]), "slices": slices})


def _jpeg(image: NDArray[np.uint8]) -> str:
    """Return a slice as JPEG in base 64, no larger than a screen shows it: a page holds dozens."""
    from PIL import Image

    data = io.BytesIO()
    small = Image.fromarray(image)
    small.thumbnail((_MAX_SHOWN, _MAX_SHOWN))
    small.save(data, format="JPEG", quality=88)
    return base64.b64encode(data.getvalue()).decode()


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


def draw_predictions(samples: Samples, title: str, tags: Sequence[str] = ()) -> bytes:
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
    head = 0.36 + 0.21 * len(heading) + (0.16 if tags else 0.0)
    width = left + 4 * cell + 4 * gap
    height = head + rows * cell + (rows - 1) * gap + foot
    with new_figure((width, height), layout=None) as (figure, png):
        # One pair of axes in inches for all slices: a pair for each takes most of the time of a report.
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        columns = [left + column * (cell + gap) for column in range(4)]
        for x, text in zip(columns, ("Image", "Truth", "Predicted probability", "Errors"), strict=True):
            axes.text(x + cell / 2, height - head + 4 / 72, text, ha="center", fontweight="bold")
        drawn = []
        for row in range(rows):
            bottom = height - head - (row + 1) * cell - row * gap
            places = [(x, x + cell, bottom, bottom + cell) for x in columns]
            drawn.append(_draw_slice(axes, samples, row, places))
            axes.text(left - 6 / 72, bottom + cell / 2, _label(samples, row), ha="right", va="center")
        axes.set(xlim=(0, width), ylim=(0, height))  # which images change
        bar_place = (left + 2 * (cell + gap) + 0.1, foot - 0.2, cell - 0.2, 0.1)
        bar_axes = figure.add_axes((bar_place[0] / width, bar_place[1] / height, bar_place[2] / width, 0.1 / height))
        bar = figure.colorbar(drawn[0], cax=bar_axes, orientation="horizontal", ticks=[0.0, THRESHOLD, 1.0])
        bar.outline.set_visible(False)
        bar_axes.tick_params(labelsize=8, length=2)
        _error_legend(figure, left / width, 0.32 / height)
        top = height - 0.1
        if tags:
            figure.text(0.1 / width, top / height, joined(tags), color=WARNING, fontsize=7.5, va="top")
            top -= 0.16
        figure.text(0.1 / width, top / height, "\n".join(heading), fontsize=11, fontweight="bold", va="top")
    return png.getvalue()


def _draw_slice(
    axes: Axes, samples: Samples, row: int, places: Sequence[tuple[float, float, float, float]]
) -> AxesImage:
    """Draw one row of the overlay into four places and return the probability's image, for the colour bar."""
    image, truth, probability = samples.images[row], samples.truths[row], samples.probabilities[row]
    shown: list[tuple[NDArray[Any], dict[str, Any]]] = [
        (image, {"cmap": "gray", "vmin": 0, "vmax": 255}),
        (truth, {"cmap": "gray", "vmin": 0, "vmax": 1}),
        (probability, {"cmap": "inferno", "vmin": 0.0, "vmax": 1.0}),
        (_errors(image, truth, probability > THRESHOLD), {}),
    ]
    drawn = [
        axes.imshow(pixels, extent=place, aspect="auto", interpolation="nearest", **colours)
        for (pixels, colours), place in zip(shown, places, strict=True)
    ]
    return drawn[2]


def _label(samples: Samples, row: int) -> str:
    """Return what stands beside a slice: why it is shown, its name, its IoU."""
    iou = samples.iou[row]
    text = f"IoU {iou:.2f}" if np.isfinite(iou) and samples.truths[row].any() else "no tumour"
    return "\n".join(part for part in (samples.kinds[row], short_name(samples.names[row]), text) if part)


def short_name(name: str) -> str:
    """Return a file's own name on at most two lines; the page has the whole one."""
    own = re.sub(r"\.[A-Za-z0-9]{2,4}$", "", _ROBOFLOW_SUFFIX.sub("", name.replace("\\", "/").rpartition("/")[2]))
    short = shortened(own or name, 2 * _LINE - 6)
    if len(short) <= _LINE:
        return short
    # Behind a sign that parts words, where there is one that leaves no line too long.
    end = max((place for place in range(len(short) - _LINE, _LINE) if not short[place].isalnum()), default=_LINE - 1)
    return f"{short[: end + 1]}\n{short[end + 1 :]}"


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
